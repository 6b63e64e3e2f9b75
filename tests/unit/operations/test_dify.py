"""operations.dify: secrets before files, refusals, folders, and the texts of the compose project."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from difyfleet.errors import HostError
from difyfleet.facts.compose import ComposeProject, ComposeState
from difyfleet.facts.files import FileState, PathState
from difyfleet.facts.secrets import HostSecrets, KeptSecret
from difyfleet.operations import compose, dify
from difyfleet.operations.dify_settings import SECRETS, settings
from difyfleet.secrets import MASK, Secret
from difyfleet.spec.models import Admin, Dify, Docker, HostSpec
from difyfleet.spec.secret_source import FromEnv
from difyfleet.spec.secret_values import forget
from tests.unit.fakehost import fact, fake_host, run_steps

VALUES = {field: Secret(f"{field}-canary-value") for field in SECRETS}
KEPT = {name: KeptSecret(VALUES[field], "0600", "root:root") for field, name in SECRETS.items()}
PG_VERSION = "/opt/dify/volumes/db/data/pgdata/PG_VERSION"


def spec(**section: Any) -> HostSpec:
    return HostSpec(name="h", address="h", admin=Admin(email="a@example.com"), dify=Dify(**section))


def project(docker: str = "28.5.2", **section: Any) -> compose.Project:
    wanted = Dify(**section)
    return dify.project(wanted, Docker(version=docker), settings(wanted, VALUES))


def services(**section: Any) -> dict[str, Any]:
    return project(**section).services


# --- the compose file ---


def test_nine_services_each_stamped_restarted_with_the_host_and_with_a_health_check() -> None:
    found = services()
    assert set(found) == set(dify.SERVICES) == {name for stage in dify.STAGES for name in stage}
    for name, service in found.items():
        assert service["restart"] == "always", name
        assert re.fullmatch(r"[0-9a-f]{32}", service["labels"][compose.STAMP]), name
        assert service["healthcheck"]["test"], name
        assert service["pull_policy"] == "never", name
        assert service["logging"]["options"] == {"max-size": "20m", "max-file": "5"}, name


def test_only_nginx_is_published_and_sandbox_has_no_way_out() -> None:
    found = services(bind="10.0.0.5", http_port=8088)
    assert {name: service["ports"] for name, service in found.items() if "ports" in service} == {
        "nginx": ["10.0.0.5:8088:80"]
    }
    assert found["sandbox"]["networks"] == ["ssrf_proxy_network"]
    assert (
        found["api"]["networks"] == found["worker"]["networks"] == ["default", "ssrf_proxy_network", "stack"]
    )
    networks = yaml.safe_load(project().text)["networks"]
    assert networks["ssrf_proxy_network"]["internal"] is True
    assert networks["stack"] == {"name": "difyfleet", "external": True}


def test_no_secret_in_the_text_of_the_compose_file() -> None:
    made = project()
    assert "canary" not in made.text
    assert made.env is not None
    assert "canary" in made.env
    assert "canary" not in repr(made)


def test_redis_password_goes_in_on_standard_input() -> None:
    command = services()["redis"]["command"]
    assert command[:2] == ["sh", "-c"]
    assert (
        command[2]
        == "exec docker-entrypoint.sh redis-server - <<END\nrequirepass $$REDISCLI_AUTH\ndir /data\nEND\n"
    )


def test_privileges_are_dropped_where_the_images_bear_it() -> None:
    for name, service in services().items():
        if name == "sandbox":
            assert "cap_drop" not in service
        else:
            assert service["cap_drop"] == ["ALL"], name
            assert service["security_opt"] == ["no-new-privileges:true"], name
        assert "privileged" not in service


def test_old_engines_have_no_start_interval() -> None:
    assert "start_interval" in project("25.0.0").text
    old = yaml.safe_load(project("24.0.9").text)["services"]
    assert all("start_interval" not in service["healthcheck"] for service in old.values())
    assert old["db"]["healthcheck"]["interval"] == "10s"


def test_a_changed_upload_limit_concerns_api_worker_and_nginx_only() -> None:
    def stamps(made: dict[str, Any]) -> dict[str, str]:
        return {name: service["labels"][compose.STAMP] for name, service in made.items()}

    before, after = stamps(services()), stamps(services(upload_limit_mb=200))
    assert {name for name in before if before[name] != after[name]} == {"api", "worker", "nginx"}
    before, after = stamps(services()), stamps(services(env={"POSTGRES_SHARED_BUFFERS": "1GB"}))
    assert {name for name in before if before[name] != after[name]} == {"db"}


def test_env_values_stand_in_single_quotes() -> None:
    made = project(env={"NOTE": 'a $b "c" #d'})
    assert made.env is not None
    assert "\nNOTE='a $b \"c\" #d'\n" in made.env
    assert compose.env_values(made.env)["NOTE"] == 'a $b "c" #d'


# --- nginx and squid ---


def nginx(**section: Any) -> dict[str, str]:
    return {path: file.content for path, file in dify.nginx_files(Dify(**section)).items()}


def tls(tmp_path: Path, **more: Any) -> dict[str, Any]:
    (tmp_path / "c.pem").write_text("CERT")
    (tmp_path / "k.pem").write_text("KEY")
    return {"enabled": True, "certificate": tmp_path / "c.pem", "key": tmp_path / "k.pem", **more}


def test_nginx_finds_recreated_containers_and_blocks_the_holes() -> None:
    files = nginx(upload_limit_mb=300)
    assert "client_max_body_size 330m;" in files["nginx.conf"]
    assert "resolver 127.0.0.11 valid=10s" in files["nginx.conf"]
    server = files["conf.d/default.conf"]
    assert "proxy_pass http" not in server  # a literal name is looked up once, at start
    assert "^/console/api/(forgot-password|reset-password|email-code-login|remote-files)(/|$)" in server
    assert [line.split()[1] for line in server.splitlines() if re.match(r"\s+location /", line)] == [
        "/console/api",
        "/api",
        "/v1",
        "/files",
        "/",
    ]
    assert "443" not in server


def test_https_redirects_and_has_no_old_protocols(tmp_path: Path) -> None:
    section = {"server_name": "d.lan", "https": tls(tmp_path, port=8443)}
    server = nginx(**section)["conf.d/default.conf"]
    plain, secure = server.split("listen 443 ssl;")
    assert "return 308 https://$host:8443$request_uri;" in plain
    assert "proxy_pass" not in plain
    assert "ssl_protocols TLSv1.2 TLSv1.3;" in secure
    files = dify.nginx_files(Dify(**section))
    assert (files["ssl/dify.key"].mode, files["ssl/dify.key"].opaque, files["ssl/dify.crt"].mode) == (
        "0600",
        True,
        "0644",
    )
    assert services(**section)["nginx"]["ports"] == ["0.0.0.0:80:80", "0.0.0.0:8443:443"]
    assert "./nginx/ssl/dify.key:/etc/nginx/ssl/dify.key:ro" in services(**section)["nginx"]["volumes"]


def test_both_schemes_may_serve(tmp_path: Path) -> None:
    plain = nginx(https=tls(tmp_path, redirect=False))["conf.d/default.conf"].split("listen 443 ssl;")[0]
    assert "proxy_pass $api;" in plain
    assert "308" not in plain


def test_https_without_files_is_refused(tmp_path: Path) -> None:
    with pytest.raises(HostError, match=r"no certificate is named"):
        dify.nginx_files(Dify(https={"enabled": True}))
    gone = tls(tmp_path) | {"key": tmp_path / "gone.pem"}
    with pytest.raises(HostError, match="cannot read the key"):
        dify.nginx_files(Dify(https=gone))


def test_squid_says_itself_whom_it_serves() -> None:
    lines = dify.squid_files(Dify())["squid.conf"].content.splitlines()
    rules = [line for line in lines if line.startswith("http_access")]
    assert (
        rules.index("http_access deny metadata") < rules.index("http_access allow localnet") == len(rules) - 2
    )
    assert rules[-1] == "http_access deny all"
    assert not any(line.startswith("include") for line in lines)


# --- secrets ---


@pytest.fixture
def other_password(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("PW", "another-password")
    forget()
    yield {"secrets": {"db_password": FromEnv(env="PW")}}
    forget()


FILE = FileState("file", "0600", "root", "root")


def test_another_database_password_is_refused_once_there_is_data(other_password: dict[str, Any]) -> None:
    with (
        fake_host({fact(HostSecrets): KEPT, fact(PathState, path=PG_VERSION): FILE}),
        pytest.raises(HostError) as caught,
    ):
        run_steps(dify.same_database_password, Dify(**other_password))
    assert "another database password" in str(caught.value)
    assert "canary" not in str(caught.value)
    assert "another-password" not in str(caught.value)


def test_it_is_not_refused_before(other_password: dict[str, Any]) -> None:
    with fake_host({fact(HostSecrets): KEPT, fact(PathState, path=PG_VERSION): None}):
        assert run_steps(dify.same_database_password, Dify(**other_password)) == ([], [])
    with fake_host({fact(HostSecrets): {}}):
        assert run_steps(dify.same_database_password, Dify(**other_password)) == ([], [])
    with fake_host({fact(HostSecrets): KEPT}):
        assert run_steps(dify.same_database_password, Dify()) == ([], [])


def test_init_password_is_short_enough_for_dify(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Secret] = []
    original = dify.generate
    monkeypatch.setattr(dify, "generate", lambda size: made.append(original(size)) or made[-1])
    with fake_host({fact(HostSecrets): {}}):
        changes, commands = run_steps(dify.keep_init_password, Dify())
    assert [change.why for change in changes] == ["/etc/difyfleet/secrets/dify_init_password: absent"]
    assert len(made[0].reveal()) <= 30
    assert made[0].reveal() not in commands[0]
    with fake_host({fact(HostSecrets): KEPT}):
        assert run_steps(dify.keep_init_password, Dify()) == ([], [])


def test_opened_init_password_is_closed_and_kept() -> None:
    opened = KEPT | {"dify_init_password": KeptSecret(VALUES["init_password"], "0644", "root:root")}
    with fake_host({fact(HostSecrets): opened}):
        changes, commands = run_steps(dify.keep_init_password, Dify())
    assert "mode 0644 root:root, wanted 0600 root:root" in changes[0].why
    assert "chmod 0600" in commands[0]


# --- folders ---


def folders(**changed: FileState | None) -> dict[Any, FileState | None]:
    paths = ["", "/volumes", "/volumes/app", "/volumes/db", "/volumes/redis", "/volumes/sandbox"]
    found: dict[str, FileState | None] = {
        path: FileState("directory", "0755", "root", "root") for path in paths
    }
    for path, (mode, by_root) in dify.VOLUMES.items():
        found[f"/volumes/{path}"] = FileState("directory", mode, "root" if by_root else "polkitd", "root")
    found |= {f"/volumes/{path.replace('_', '/')}": state for path, state in changed.items()}
    return {fact(PathState, path=f"/opt/dify{path}"): state for path, state in found.items()}


def test_folders_as_declared() -> None:
    with fake_host(folders()):
        assert run_steps(dify.volumes, Dify()) == ([], [])


def test_folders_absent_or_with_another_mode() -> None:
    with fake_host(folders(weaviate=None, db_data=FileState("directory", "0700", "root", "root"))):
        changes, commands = run_steps(dify.volumes, Dify())
    assert [change.why for change in changes] == [
        "/opt/dify/volumes/db/data: mode 0700, wanted 0755",
        "/opt/dify/volumes/weaviate: absent",
    ]
    assert commands == [
        "set -e; chmod 0755 /opt/dify/volumes/db/data && chown root:root /opt/dify/volumes/db/data; "
        "mkdir -p /opt/dify/volumes/weaviate && chmod 0700 /opt/dify/volumes/weaviate"
    ]


def test_redis_keeps_the_owner_that_its_image_gives() -> None:
    with fake_host(folders(redis_data=FileState("directory", "0700", "polkitd", "root"))):
        assert run_steps(dify.volumes, Dify())[1] == ["set -e; chmod 0755 /opt/dify/volumes/redis/data"]


# --- plan on a fresh host, and files ---


@pytest.mark.parametrize("operation", [dify.env_file, dify.compose_file, dify.containers])
def test_fresh_host_says_known_after_apply(operation: Any) -> None:
    with fake_host({fact(HostSecrets): {}}):
        changes, commands = run_steps(operation, spec())
    assert "known after apply" in changes[0].why
    assert len(commands) == 1


def test_env_file_is_private_and_its_diff_hides_values() -> None:
    wanted = dify.env_text(settings(Dify(), VALUES))
    old = wanted.replace("db_password-canary-value", "old-password-1234").replace("'15'", "'50M'")
    state = FileState("file", "0600", "root", "root", sha256="0" * 64, content=old.encode())
    with fake_host({fact(HostSecrets): KEPT, fact(PathState, path="/opt/dify/.env"): state}):
        changes, commands = run_steps(dify.env_file, spec())
    (change,) = changes
    assert change.diff is not None
    assert "-UPLOAD_FILE_SIZE_LIMIT='50M'" in change.diff
    assert f"-DB_PASSWORD={MASK}" in change.diff
    assert not any(word in change.diff for word in ("canary", "old-password"))
    assert "chmod 0600" in commands[0]
    assert "canary" not in commands[0]


def test_compose_file_is_judged_by_compose() -> None:
    with fake_host({fact(HostSecrets): KEPT, fact(PathState, path="/opt/dify/compose.yml"): None}):
        changes, commands = run_steps(dify.compose_file, spec())
    assert [change.why for change in changes] == ["/opt/dify/compose.yml: absent"]
    assert "docker compose -p dify -f /opt/dify/compose.yml.difyfleet-new config --quiet" in commands[0]


def test_containers_are_compared_with_the_project_of_this_host() -> None:
    wanted = spec()
    arguments = dify.project(wanted.dify, wanted.docker, settings(wanted.dify, VALUES)).fact_arguments()
    assert arguments["views"] == (
        "nginx:/etc/nginx/nginx.conf",
        "nginx:/etc/nginx/proxy.conf",
        "nginx:/etc/nginx/conf.d/default.conf",
        "ssrf_proxy:/etc/squid/squid.conf",
    )
    with fake_host({fact(HostSecrets): KEPT, fact(ComposeProject, **arguments): ComposeState(docker=True)}):
        changes, _ = run_steps(dify.containers, wanted)
    assert [change.why for change in changes] == [f"{name}: absent" for name in dify.SERVICES]
