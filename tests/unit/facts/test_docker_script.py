"""facts.docker_script: what is asked at the engine's socket, in the words that the facts read."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from difyfleet.facts import docker_script, engine_socket_script, fitness_script
from difyfleet.facts.docker import parse_info
from difyfleet.facts.images import Image, LocalImages
from difyfleet.facts.networks import Network, NetworkState
from difyfleet.known_script import MOMENT, NotPlain
from tests.unit.facts.test_compose_script import DB, Engine, engine, inspected

__all__ = ["engine"]


@pytest.fixture(autouse=True)
def _on_a_host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A `docker` in PATH, a daemon's process, no settings of a client."""
    (tmp_path / "docker").write_text("")
    (tmp_path / "docker").chmod(0o755)
    (tmp_path / "pid").write_text(f"{os.getpid()}\n")
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(engine_socket_script, "PID", str(tmp_path / "pid"))
    monkeypatch.setattr(docker_script, "compose_version", lambda: "2.26.1")


def test_images(engine: Engine) -> None:
    engine.answers["/images/a/b%3A1/json"] = {"Id": "sha256:5", "RepoTags": ["a/b:1", "a/b:<x>&y"], "RepoDigests": None, "Size": 7}  # fmt: skip
    engine.start()
    said = docker_script.images("a/b:1", "gone:1")
    assert said == b'##up\n{"id":"sha256:5","tags":["a/b:1","a/b:<x>&y"],"digests":null,"size":7}\n'
    assert LocalImages().process(said.decode().splitlines()) == (
        Image("sha256:5", frozenset({"a/b:1", "a/b:<x>&y"}), frozenset(), 7),
    )


def test_networks(engine: Engine) -> None:
    engine.answers["/networks/difyfleet"] = {"Name": "difyfleet", "Driver": "bridge", "Internal": False, "Containers": {"1": {}}}  # fmt: skip
    engine.start()
    said = docker_script.network("difyfleet")
    assert NetworkState().process(said.decode().splitlines()) == Network("difyfleet", "bridge", False)
    assert docker_script.network("gone") == b""


def test_the_daemon(engine: Engine) -> None:
    engine.answers["/info"] = {"ServerVersion": "26.1.5", "RegistryConfig": {"Mirrors": ["https://m/"]}, "Plugins": {"Log": ["local"]},
                               "Containers": 3, "SystemTime": "changes", "NGoroutines": 5}  # fmt: skip
    engine.start()
    said = docker_script.info()
    assert "changes" not in said
    found = parse_info(said)
    assert found is not None
    assert (found.version, found.mirrors, found.log_drivers, found.containers, found.compose) == (
        "26.1.5", ("https://m",), frozenset({"local"}), 3, "2.26.1",
    )  # fmt: skip


def test_running_containers_and_images_for_the_preflight(engine: Engine) -> None:
    one = inspected(DB, "db", {"com.docker.compose.project": "dify"})
    one["NetworkSettings"]["Ports"] = {"80/tcp": [{"HostIp": "0.0.0.0", "HostPort": "80"}, {"HostIp": "::", "HostPort": "80"}], "9/udp": None}  # fmt: skip
    engine.answers |= {
        "/containers/json": [{"Id": DB}, {"Id": "f" * 64}],
        f"/containers/{DB}/json": one,
        "/images/json": [{"RepoTags": ["b:1", "a:1"], "RepoDigests": ["b@sha256:1"]}, {"RepoTags": [], "RepoDigests": ["c@sha256:2"]},
                         {"RepoTags": None, "RepoDigests": None}],
    }  # fmt: skip
    engine.start()
    assert fitness_script._containers() == "/db|0.0.0.0:80->80/tcp, :::80->80/tcp, |dify|\n"
    assert fitness_script._images() == "<none>:<none>\na:1\nb:1\nc:<none>\n"


def test_one_moment_has_one_answer(engine: Engine) -> None:
    engine.answers["/networks/n"] = {"Name": "n", "Driver": "bridge", "Internal": False}
    engine.start()
    assert docker_script.network("n")
    assert engine.process is not None
    engine.process.kill()
    engine.process.wait(10)
    assert docker_script.network("n")
    MOMENT[0] += 1
    with pytest.raises(OSError, match="refused"):
        docker_script.network("n")


def test_a_client_that_might_ask_elsewhere_is_asked_itself(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine.start()
    monkeypatch.setenv("DOCKER_HOST", "tcp://elsewhere")
    for ask in (lambda: docker_script.network("n"), lambda: docker_script.images("a"), docker_script.info):
        with pytest.raises(NotPlain):
            ask()


def test_a_daemon_that_does_not_run_is_not_woken(engine: Engine, tmp_path: Path) -> None:
    engine.answers["/networks/n"] = {"Name": "n", "Driver": "bridge", "Internal": False}
    engine.start()
    (tmp_path / "pid").unlink()
    assert (docker_script.network("n"), docker_script.images("a:1")) == (b"", b"")


def test_what_of_a_hosts_fitness_counts_for_a_digest() -> None:
    said = b"##disk\n/d|%d|/|f1\n##addresses\n2: eth0    inet 10.0.0.2/24 scope global eth0\\       valid_lft %dsec preferred_lft 1sec\n"
    said += (
        b'##listeners\nLISTEN 0 0 0.0.0.0:22 0.0.0.0:* users:(("%s",pid=%d,fd=3))\n##time\n%d\n##x\n|||1\n'
    )
    now = said % (5 << 30, 99, b"sshd", 7, 100)
    short = fitness_script.fitness_in_short
    assert short(now) == short(said % ((5 << 30) + 12345, 98, b"sshd", 8, 101))
    assert short(now) != short(said % ((5 << 30) - 1, 99, b"sshd", 7, 100))
    assert short(now) != short(said % (5 << 30, 99, b"nginx", 7, 100))
    assert short(now) != short(now.replace(b"0.0.0.0:22", b"127.0.0.1:22"))
    assert short(now) != short(now.replace(b"10.0.0.2", b"10.0.0.3"))
