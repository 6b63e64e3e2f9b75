"""The static archive: what makes it be installed, and the script that installs it."""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import sys
import tarfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from difyfleet.errors import HostError
from difyfleet.facts.engine import FileHashes, StaticEngine
from difyfleet.operations import engine, engine_source
from difyfleet.spec.models import Docker
from tests.unit.fakehost import fact, fake_host, run_steps
from tests.unit.operations.docker_facts import SUMS, docker, facts, recorded_engine

DOCKERD = "/usr/bin/dockerd"


def whys(section: Any, static: StaticEngine, **hashes: str) -> list[str]:
    answers = {**facts(static=static), fact(FileHashes, paths=tuple(hashes)): hashes}
    with fake_host(answers):
        return [change.why for change in run_steps(engine.static, section)[0]]


def test_as_installed_nothing_happens() -> None:
    with fake_host(facts()):
        assert run_steps(engine.static, docker()) == ([], [])


def test_a_fresh_host() -> None:
    with fake_host(facts(static=StaticEngine())):
        changes, commands = run_steps(engine.static, docker())
    assert [change.why for change in changes] == ["docker: not installed, wanted 26.1.5"]
    assert commands[0] == (
        "umask 022; mkdir -p /var/lib/difyfleet/downloads /etc/difyfleet"
        " && chmod 0755 /var/lib/difyfleet /var/lib/difyfleet/downloads /etc/difyfleet"
    )
    assert [command.split("(")[1].split(",")[0] for command in commands[1:]] == ["bring", "bring", "install"]


def test_somebody_elses_engine_is_replaced_and_said() -> None:
    stranger = replace(StaticEngine(), files={DOCKERD: recorded_engine().files[DOCKERD]}, group=True)
    assert whys(docker(), stranger) == ["docker: there, but not installed by difyfleet, wanted 26.1.5"]


def test_a_packages_engine_is_not_touched() -> None:
    with (
        fake_host(facts(static=replace(recorded_engine(), owner="docker-ce"))),
        pytest.raises(HostError, match="docker-ce"),
    ):
        run_steps(engine.static, docker())


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (
            {"version": "28.5.2", "bundle": {**SUMS, "sha256": "0" * 64}},
            "docker: version 26.1.5, wanted 28.5.2",
        ),
        (
            {"bundle": {**SUMS, "sha256": "0" * 64}},
            "docker 26.1.5: installed from another archive (6862a89c74e6)",
        ),
        ({"compose_version": "2.40.3"}, "compose plugin: version 2.26.1, wanted 2.40.3"),
        (
            {"bundle": {**SUMS, "compose_sha256": "0" * 64}},
            "compose plugin 2.26.1: another file (c0ef2e286ba1)",
        ),
    ],
)
def test_another_version_or_hash(change: dict[str, Any], why: str) -> None:
    assert whys(docker(**change), recorded_engine()) == [why]


def test_files_that_changed() -> None:
    good = recorded_engine()
    files = {path: state for path, state in good.files.items() if path != "/usr/bin/ctr"}
    files["/usr/bin/runc"] = replace(files["/usr/bin/runc"], mode="0777")
    files["/usr/bin/docker-proxy"] = replace(files["/usr/bin/docker-proxy"], ctime=1)
    files[DOCKERD] = replace(files[DOCKERD], ctime=1)
    same = dict(good.manifest or {})["files"][DOCKERD]["sha256"]
    was = dict(good.manifest or {})["files"]["/usr/bin/docker-proxy"]["sha256"]
    found = whys(
        docker(),
        replace(good, files=files, group=False),
        **{"/usr/bin/docker-proxy": "f" * 64, DOCKERD: same},
    )
    assert found == [
        "group docker: absent",
        "/usr/bin/ctr: absent",
        "/usr/bin/runc: mode 0777 root:root, wanted 0755 root:root",
        f"/usr/bin/docker-proxy: another program than the one installed (SHA-256 ffffffffffff, wanted {was[:12]})",
    ]


def test_what_wants_a_restart() -> None:
    good = recorded_engine()
    files = dict(good.files)
    del files[engine.PLUGIN]
    files["/usr/bin/runc"] = replace(files["/usr/bin/runc"], mode="0777")
    with fake_host(facts(static=replace(good, files=files))):
        assert engine.restart_reasons(docker()) == []
    del files["/usr/bin/runc"]
    with fake_host(facts(static=replace(good, files=files))):
        assert engine.restart_reasons(docker()) == ["/usr/bin/runc: absent"]


def test_hashes_come_from_the_sums_file_by_name(tmp_path: Path) -> None:
    sums = tmp_path / "SHA256SUMS"
    sums.write_text(
        f"{'a' * 64}  docker-26.1.5.tgz\n{'b' * 64} *dist/docker-compose-linux-x86_64\nnonsense\n"
    )
    bundle = {
        "url": "http://repo/docker-26.1.5.tgz",
        "compose_url": "http://repo/docker-compose-linux-x86_64",
        "sha256sums": sums,
    }
    archive, compose = engine_source.sources(docker(bundle=bundle))
    assert (archive.sha256, compose.sha256) == ("a" * 64, "b" * 64)
    assert (archive.target, compose.target) == ("docker-26.1.5.tgz", "docker-compose-2.26.1")


def test_http_without_a_hash_is_refused_unless_one_is_recorded() -> None:
    section = docker(bundle={**SUMS, "sha256": None, "url": "http://repo/docker-26.1.5.tgz"})
    with pytest.raises(HostError, match="http cannot be trusted"):
        engine_source.sources(section)
    recorded = {"version": "26.1.5", "archive_sha256": "c" * 64}
    assert engine_source.sources(section, recorded)[0].sha256 == "c" * 64
    with pytest.raises(HostError):
        engine_source.sources(section, {**recorded, "version": "26.1.4"})


def test_https_without_a_hash_is_trusted_once_and_says_so() -> None:
    section = docker(bundle={})
    with fake_host(facts(static=StaticEngine())):
        said = [change.why for change in run_steps(engine.static, section)[0]]
    assert said[1].startswith(
        "docker-26.1.5.tgz: no hash given; trusted on first use of https://download.docker.com/"
    )
    with fake_host(facts()):  # held to what the manifest recorded
        assert run_steps(engine.static, section) == ([], [])


def test_upstreams_addresses_are_the_default() -> None:
    archive, compose = engine_source.sources(docker(version="28.5.2", compose_version="2.40.3", bundle={}))
    assert archive.url == "https://download.docker.com/linux/static/stable/x86_64/docker-28.5.2.tgz"
    assert (
        compose.url
        == "https://github.com/docker/compose/releases/download/v2.40.3/docker-compose-linux-x86_64"
    )


def test_download_command() -> None:
    source = engine_source.Source("https://x/docker-1.tgz?a=b c", None, "d" * 64, "docker-1.tgz")
    path = "/var/lib/difyfleet/downloads/docker-1.tgz"
    command = engine_source.download_command(source)
    assert command.startswith(
        f'umask 022; if [ "$(sha256sum {path} 2>/dev/null | cut -c1-64)" = "{"d" * 64}" ]; then exit 0; fi; '
    )
    curl = f"curl -fsSL --retry 3 --retry-delay 2 --connect-timeout 20 --speed-limit 1024 --speed-time 60 -o {path}.part"
    assert (
        f"{curl} -C - 'https://x/docker-1.tgz?a=b c' || {{ rm -f {path}.part; {curl} 'https://x/docker-1.tgz?a=b c'; }}"
        in command
    )
    assert command.endswith(f"&& mv -fT {path}.part {path}")


# -- the script that runs on the host, here against folders of our own -------------------------------------------

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="the script gives files to root")


def _archive(path: Path, version: str = "26.1.5", without: str = "") -> str:
    programs = [name for name in engine.PROGRAMS if name != without]
    with tarfile.open(path, "w:gz") as archive:
        for name in [*programs, "../../evil"]:
            content = f"#!/bin/sh\necho 'Docker version {version}, build x'\n".encode()
            entry = tarfile.TarInfo(f"docker/{name}")
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _job(tmp_path: Path, **changes: Any) -> dict[str, Any]:
    for folder in ("bin", "downloads", "stubs"):
        (tmp_path / folder).mkdir(exist_ok=True)
    groupadd = tmp_path / "stubs" / "groupadd"
    groupadd.write_text("#!/bin/sh\nexit 0\n")
    groupadd.chmod(0o755)
    (tmp_path / "downloads" / "docker-0.tgz").write_text("old")
    compose = tmp_path / "downloads" / "docker-compose-1"
    compose.write_text("plugin")
    archive = tmp_path / "downloads" / "docker-1.tgz"
    job = {
        "version": "26.1.5",
        "compose_version": "1",
        "archive": str(archive),
        "archive_sha256": _archive(archive),
        "compose": str(compose),
        "compose_sha256": None,
        "bin": str(tmp_path / "bin"),
        "plugin": str(tmp_path / "plugins" / "docker-compose"),
        "manifest": str(tmp_path / "engine.json"),
        "source": {},
        "restart": "other programs",
        "pending": str(tmp_path / "run" / "docker.restart"),
        "pinned": False,
    }
    return {**job, **changes}


def _install(tmp_path: Path, job: dict[str, Any]) -> subprocess.CompletedProcess[str]:
    script = Path(engine.__file__).with_name("install_engine_script.py").read_text()
    path = f"{tmp_path / 'stubs'}:{os.environ['PATH']}"
    argv = [sys.executable, "-", json.dumps(job)]
    return subprocess.run(
        argv, input=script, capture_output=True, text=True, timeout=60, env={"PATH": path}, check=False
    )


@root_only
def test_the_script_installs_and_records(tmp_path: Path) -> None:
    job = _job(tmp_path)
    done = _install(tmp_path, job)
    assert (done.returncode, done.stderr) == (0, "")
    manifest = json.loads((tmp_path / "engine.json").read_text())
    dockerd = tmp_path / "bin" / "dockerd"
    assert dockerd.stat().st_mode & 0o777 == 0o755
    assert manifest["files"][str(dockerd)]["sha256"] == hashlib.sha256(dockerd.read_bytes()).hexdigest()
    assert manifest["compose_sha256"] == hashlib.sha256(b"plugin").hexdigest()
    assert manifest["hashes"] == "trusted on first use"
    assert (tmp_path / "run" / "docker.restart").read_text() == "other programs\n"
    assert sorted(path.name for path in (tmp_path / "downloads").iterdir()) == [
        "docker-1.tgz",
        "docker-compose-1",
    ]
    assert not list(tmp_path.glob("**/*.difyfleet-new"))
    # only the engine's own programs are taken from the archive
    assert sorted(path.name for path in (tmp_path / "bin").iterdir()) == sorted(engine.PROGRAMS)
    assert not (tmp_path / "evil").exists()


@root_only
@pytest.mark.parametrize("damage", ["hash", "program", "version"])
def test_the_script_refuses_before_it_leaves_a_trace(tmp_path: Path, damage: str) -> None:
    job = _job(tmp_path)
    archive = Path(job["archive"])
    if damage == "hash":
        job["archive_sha256"] = "0" * 64
    elif damage == "program":
        job["archive_sha256"] = _archive(archive, without="runc")
    else:
        job["archive_sha256"] = _archive(archive, version="26.1.4")
    done = _install(tmp_path, job)
    assert done.returncode == 1
    said = {
        "hash": "nothing was unpacked",
        "program": "lacks runc",
        "version": "another version than wanted (26.1.5)",
    }
    assert said[damage] in done.stderr
    assert not (tmp_path / "engine.json").exists()
    if damage != "version":
        assert list((tmp_path / "bin").iterdir()) == []
        assert not (tmp_path / "run").exists()


def test_upstreams_compose_plugin_is_pinned_without_a_word_in_the_inventory() -> None:
    assert (
        engine_source.sources(Docker())[1].sha256
        == "dba9d98e1ba5bfe11d88c99b9bd32fc4a0624a30fafe68eea34d61a3e42fd372"
    )
    assert engine_source.sources(Docker(compose_version="2.39.0"))[1].sha256 is None
    given = Docker.model_validate({"bundle": {"compose_sha256": "a" * 64}})
    assert engine_source.sources(given)[1].sha256 == "a" * 64
