"""facts.compose_script: what it asks an engine, and what of the answers leaves the host."""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from difyfleet.facts import compose_script, engine_socket_script
from difyfleet.facts.compose import ComposeProject

DB, STRANGER = "d" * 64, "e" * 64
ENGINE = """
import socketserver, sys, json
answers = json.load(sys.stdin)
class Answer(socketserver.StreamRequestHandler):
    def handle(self):
        path = self.rfile.readline().decode().split()[1]
        while self.rfile.readline().strip():
            pass
        body = json.dumps(answers.get(path, {"message": "no such thing"})).encode()
        self.wfile.write(b"HTTP/1.0 %d x\\r\\nContent-Type: application/json\\r\\n\\r\\n" % (200 if path in answers else 404) + body)
with socketserver.UnixStreamServer(sys.argv[1], Answer) as server:
    print("up", flush=True)
    server.serve_forever()
"""


def inspected(identity: str, name: str, labels: dict[str, str], **state: Any) -> dict[str, Any]:
    return {
        "Id": identity, "Name": f"/{name}", "Image": "sha256:1", "RestartCount": 2,
        "Config": {"Image": "postgres:15", "Labels": labels, "Env": ["POSTGRES_PASSWORD=never"]},
        "State": {"Status": "running", "ExitCode": 0, "Pid": os.getpid(), "StartedAt": "2026-01-01T00:00:00Z", **state},
        "HostConfig": {"RestartPolicy": {"Name": "always"}, "Memory": 0, "PidsLimit": None, "NanoCpus": 0},
        "NetworkSettings": {"Networks": {"n": {"Aliases": ["db"]}}, "Ports": {}},
    }  # fmt: skip


class Engine:
    """A socket that answers like an engine."""

    def __init__(self) -> None:
        self.answers: dict[str, Any] = {"/version": {"Version": "26.1.5"}}
        self.process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """From now on it answers what stands in `answers`."""
        self.process = subprocess.Popen(
            [sys.executable, "-c", ENGINE, engine_socket_script.SOCKET],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(self.answers))
        self.process.stdin.close()
        assert self.process.stdout.readline() == "up\n"


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    monkeypatch.setattr(engine_socket_script, "SOCKET", str(tmp_path / "engine.sock"))
    made = Engine()
    yield made
    if made.process:
        made.process.kill()
        made.process.wait(10)


def filters(**wanted: list[str]) -> str:
    return "/containers/json?all=1&filters=" + engine_socket_script.quoted(json.dumps(wanted))


def job(folder: Path, **more: Any) -> dict[str, Any]:
    return {"project": "dify", "directory": str(folder), "files": ["compose.yml", ".env", ".record"], "names": ["db"],
            "images": ["a/b:1", "gone:1"], "views": [], "compose": ["sh", "-c", "echo db HASH", "--"]} | more  # fmt: skip


def test_containers_by_project_and_by_name_images_and_files(engine: Engine, tmp_path: Path) -> None:
    ours = {"com.docker.compose.project": "dify", "com.docker.compose.service": "db"}
    engine.answers |= {
        filters(label=["com.docker.compose.project=dify"]): [{"Id": DB}],
        filters(name=["^/db$"]): [{"Id": DB}, {"Id": STRANGER}, {"Id": "f" * 64}],
        f"/containers/{DB}/json": inspected(DB, "db", ours, Health={"Status": "unhealthy", "Log": ["long"]}),
        f"/containers/{STRANGER}/json": inspected(
            STRANGER, "other", {}, Status="exited", Health={"Status": "unhealthy"}
        ),
        "/images/a/b%3A1/json": {"Id": "sha256:5"},
    }
    (tmp_path / "compose.yml").write_text("services")
    (tmp_path / ".record").write_text("db HASH\n")
    (tmp_path / "seen").write_text("as the process sees it")
    engine.start()
    views = [f"db:{tmp_path}/seen", f"db:{tmp_path}/nowhere", "web:/x"]
    answer = compose_script.read(job(tmp_path, views=views))
    db, other = answer["containers"]  # the third of the list has gone meanwhile
    assert (db["name"], db["health"], db["restarts"], db["networks"]) == (
        "/db",
        "unhealthy",
        2,
        {"n": ["db"]},
    )
    assert (other["name"], other["health"]) == ("/other", "")
    assert answer["images"] == {"a/b:1": "sha256:5", "gone:1": None}
    assert answer["files"] == {"compose.yml": hashlib.sha256(b"services").hexdigest(), ".env": None}
    assert (answer["hashes"], answer["error"], answer["recorded"]) == ("db HASH\n", None, "db HASH\n")
    assert list(answer["seen"].values()) == [
        hashlib.sha256(b"as the process sees it").hexdigest(), None, None
    ]  # fmt: skip
    assert "never" not in json.dumps(answer)
    state = ComposeProject().process([json.dumps(answer)])
    assert state.containers["db"].health == "unhealthy"
    assert set(state.foreign) == {"other"}


def test_files_that_compose_refuses(engine: Engine, tmp_path: Path) -> None:
    engine.start()
    (tmp_path / "compose.yml").write_text("services")
    answer = compose_script.read(job(tmp_path, compose=["sh", "-c", "echo no such key >&2; exit 15"]))
    assert (answer["hashes"], answer["error"]) == (None, "no such key\n")
    assert answer["containers"] == []


def test_no_files_are_no_error(engine: Engine, tmp_path: Path) -> None:
    engine.start()
    answer = compose_script.read(job(tmp_path / "nowhere"))
    assert (answer["hashes"], answer["error"], answer["recorded"]) == (None, None, "")


@pytest.mark.parametrize("answering", [False, True])
def test_an_engine_that_does_not_answer_is_none(
    answering: bool,
    engine: Engine,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if answering:
        engine.start()
    (tmp_path / "docker").write_text("")
    (tmp_path / "docker").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(engine_socket_script, "PID", str(tmp_path / "pid"))
    assert compose_script.project(json.dumps(job(tmp_path))) == b"", "a socket of systemd is left alone"
    (tmp_path / "pid").write_text(str(os.getpid()))
    assert bool(compose_script.project(json.dumps(job(tmp_path)))) is answering
    monkeypatch.setenv("PATH", "/nowhere")
    assert compose_script.project(json.dumps(job(tmp_path))) == b""


def test_a_reference_is_one_word_of_a_url() -> None:
    assert engine_socket_script.quoted("a b\r\n%/é") == "a%20b%0D%0A%25%2F%C3%A9"


def test_the_command_is_one_line_of_shell_that_needs_docker_and_python() -> None:
    command = ComposeProject().command(project="ollama", directory="/opt/x y", names=(("ollama", "ollama"),))
    guard, _, program = command.partition(" || exit 0; ")
    assert guard == "command -v python3 >/dev/null"
    words = shlex.split(program)
    assert words[:5] == ["LC_ALL=C", "python3", "-I", "-S", "-c"]
    assert json.loads(words[6]) | {"compose": 0} == {
        "project": "ollama", "directory": "/opt/x y", "files": ["compose.yml", ".env", ".difyfleet-hashes"],
        "names": ["ollama"], "images": [], "views": [], "compose": 0,
    }  # fmt: skip
