"""The ssh program's command line, and what happens where it cannot log in."""

from __future__ import annotations

import hashlib
import io
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from difyfleet.remote import blobs as blobs_module
from difyfleet.remote import pipe
from difyfleet.remote.blobs import Blob
from difyfleet.secrets import Secret


class Transport:
    def get_username(self) -> str:
        return "openeuler"


class Client:
    def get_transport(self) -> Transport:
        return Transport()


class Door:
    """A connected connector of a host with this data."""

    lease = None

    def __init__(self, **data: Any) -> None:
        self.client = Client()
        self.host = type("Host", (), {"data": {"ssh_hostname": "llm", **data}})()


def options(argv: list[str]) -> dict[str, str]:
    return dict(argv[i + 1].split("=", 1) for i, word in enumerate(argv) if word == "-o")


def test_ssh_logs_in_as_the_door_has_done(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: "/usr/bin/ssh")
    argv = pipe.ssh_argv(
        Door(
            ssh_config_file="/c",
            ssh_port=2222,
            ssh_key="/k",
            ssh_known_hosts_file="/h",
            ssh_strict_host_key_checking="accept-new",
        )
    )
    assert argv is not None
    assert argv[:10] == [
        "/usr/bin/ssh", "-T", "-l", "openeuler", "-F", "/c", "-p", "2222", "-i", "/k",
    ]  # fmt: skip
    assert argv[-2:] == ["--", "llm"]
    found = options(argv)
    assert found["StrictHostKeyChecking"] == "yes"  # the door has stored the key
    assert (found["UserKnownHostsFile"], found["IdentitiesOnly"], found["BatchMode"]) == ("/h", "yes", "yes")
    assert found["ClearAllForwardings"] == "yes"


def test_host_keys_are_left_unchecked_only_where_that_is_asked_for() -> None:
    argv = pipe.ssh_argv(Door(ssh_strict_host_key_checking="no"))
    assert argv is None or options(argv)["StrictHostKeyChecking"] == "no"


def test_a_password_is_no_business_of_the_program(monkeypatch: pytest.MonkeyPatch) -> None:
    assert pipe.ssh_argv(Door(difyfleet_ssh_password=Secret("x"))) is None
    monkeypatch.setattr(shutil, "which", lambda _: None)
    assert pipe.ssh_argv(Door()) is None


def test_where_ssh_cannot_log_in_paramiko_carries_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked = []

    def opened(on: Any, script: str, what: str, *, program: bool = True) -> pipe.Pipe:
        asked.append(program)
        refused = "echo 'Permission denied (publickey)' >&2; exit 255"
        script = script.replace("python3", sys.executable, 1)
        return pipe._of_program(["bash", "-c", refused if program else script])

    monkeypatch.setattr(blobs_module, "open_pipe", opened)
    said: list[str] = []
    monkeypatch.setattr(blobs_module, "report", lambda host, text: said.append(text))
    data = b"data"
    blob = Blob(hashlib.sha256(data).hexdigest(), 4, lambda: io.BytesIO(data), "x")
    on = type("Host", (), {"name": "b", "connector": Door()})()
    assert blobs_module.send(on, str(tmp_path / "store"), [blob], ("r", "{}")).sent == 4
    assert asked == [True, False]
    assert said == ["ssh cannot log in by itself (Permission denied (publickey)); going through paramiko"]
