"""facts.compose: a real host's answer (Compose 2.26.1, Docker 26.1.5), and the ways it can be cut short."""

from __future__ import annotations

from pathlib import Path

from difyfleet.facts.compose import ComposeProject, ComposeState, ContainerLog, parse_health

RECORDED = (Path(__file__).parent / "recorded" / "compose_dify.txt").read_text().splitlines()
NGINX_CONF = "a88e17136a28cb1a45b2549602f051cad06725a53c626f389d2add4562fda107"


def read(*replacements: tuple[str, str]) -> ComposeState:
    lines = "\n".join(RECORDED)
    for old, new in replacements:
        assert old in lines
        lines = lines.replace(old, new)
    return ComposeProject().process(lines.splitlines())


def test_a_real_host() -> None:
    state = read()
    assert state.docker
    assert state.error is None
    assert state.files[".env"] == "51d9cdf0e1378f2cc7372235bb59577108e949bcd9972ae9141a089ef2823640"
    assert state.hashes == state.recorded
    assert state.hashes == {
        "db": "7f097399e21478205c92f02bac2e243bcae4cf5d4513088291f4e6be89a03c0a",
        "nginx": "10feeec200271c94d1322afa1846876e7791405faf9082d5b4a2df5f6700f03e",
    }
    assert (state.orphans, state.foreign) == ((), {})
    assert state.images["nginx:1.27.3"] == state.containers["nginx"].image_id
    assert state.seen == {"nginx:/etc/nginx/nginx.conf": NGINX_CONF}
    nginx, db = state.containers["nginx"], state.containers["db"]
    assert (nginx.name, nginx.status, nginx.health, nginx.restarts) == (
        "dify-nginx-1",
        "running",
        "healthy",
        0,
    )
    assert nginx.published == ("0.0.0.0:80->80/tcp",)
    assert db.published == ()
    assert db.networks == {"dify_default"}
    assert db.aliases == {"dify_default": {"dify-db-1", "db"}}
    assert db.restart_policy == "always"
    assert db.config_hash == state.hashes["db"]
    assert nginx.settled


def test_one_container_with_two_status_texts_is_one_container() -> None:
    """Two `docker ps` a second apart: "Up 4 seconds" and "Up 5 seconds" once made the second look like a surplus copy to remove."""
    lines = list(RECORDED)
    (nginx,) = [line for line in lines if line.startswith("{") and "dify-nginx-1" in line]
    lines.insert(lines.index(nginx), nginx)
    state = ComposeProject().process(lines)
    assert state.orphans == ()
    assert set(state.containers) == {"db", "nginx"}


def test_container_of_somebody_else_under_our_name() -> None:
    state = read(
        ('"com.docker.compose.project":"dify","com.docker.compose.project.config_files"', '"x":"y","z"')
    )
    assert set(state.foreign) == {"dify-db-1", "dify-nginx-1"}
    assert state.containers == {}


def test_second_copy_of_a_service_is_surplus_and_one_off_runs_are_not_counted() -> None:
    lines = list(RECORDED)
    (nginx,) = [line for line in lines if line.startswith("{") and "dify-nginx-1" in line]
    copy = nginx.replace('"id":"76940d', '"id":"ffffff').replace(
        'container-number":"1"', 'container-number":"2"'
    )
    once = nginx.replace('"id":"76940d', '"id":"eeeeee').replace('oneoff":"False"', 'oneoff":"True"')
    state = ComposeProject().process([*lines[: lines.index(nginx)], copy, once, *lines[lines.index(nginx) :]])
    assert [container.id[:6] for container in state.orphans] == ["ffffff"]
    assert state.containers["nginx"].id.startswith("76940d")


def test_files_that_do_not_load_give_the_error_and_no_hashes() -> None:
    state = read(
        (
            "@hashes\ndb 7f097399e21478205c92f02bac2e243bcae4cf5d4513088291f4e6be89a03c0a",
            "@error\nno such key",
        )
    )
    assert state.hashes is None
    assert state.error is not None
    assert state.error.startswith("no such key")


def test_warnings_among_the_hashes_are_passed_over() -> None:
    state = read(("@hashes\n", '@hashes\ntime="2026" level=warning msg="obsolete"\n'))
    assert state.hashes is not None
    assert set(state.hashes) == {"db", "nginx"}


def test_missing_image_and_unreadable_view_are_not_known() -> None:
    state = read(
        (
            "nginx:1.27.3 sha256:7f0dc9f2f7d563e0a3d30653e3764c560f08399ae27c1da77aad4eb5159fd988\n@seen",
            "nginx:1.27.3 -\n@seen",
        ),
        (f"nginx:/etc/nginx/nginx.conf {NGINX_CONF}", "nginx:/etc/nginx/nginx.conf -"),
    )
    assert set(state.images) == {"postgres:15-alpine"}
    assert state.seen == {}


def test_no_docker() -> None:
    assert ComposeProject().process([]) == ComposeState()
    assert not ComposeProject.default().docker


def test_health_texts() -> None:
    texts = [
        "Up 3 minutes (healthy)",
        "Up 3 minutes (unhealthy)",
        "Up 2 seconds (health: starting)",
        "Up 3 minutes",
        "Exited (1) ago",
    ]
    assert [parse_health(text) for text in texts] == ["healthy", "unhealthy", "starting", "", ""]
    assert parse_health("Up 25 seconds (Paused)") == ""


def test_command_names_every_container_image_and_view() -> None:
    command = ComposeProject().command(
        project="ollama",
        directory="/opt/x y",
        names=(("ollama", "ollama"),),
        images=("a/b:1",),
        views=("web:/etc/a.conf",),
    )
    assert "cd '/opt/x y'" in command
    assert "--filter 'name=^/ollama$'" in command
    assert "docker image inspect --format '{{.Id}}' a/b:1" in command
    assert "| grep . || echo -" in command  # docker prints an empty line for an image that is missing
    assert '"/proc/$d/root"/etc/a.conf' in command
    assert "Config.Env" not in command


def test_log_lines() -> None:
    assert ContainerLog().process(["one  ", "", "two"]) == ["one", "two"]
