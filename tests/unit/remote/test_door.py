"""remote.door: the line that goes to the host, and where the sudo password goes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pyinfra.api import QuoteString, StringCommand
from pyinfra.api.hiddenvalue import HiddenValue
from pyinfra.connectors.util import make_unix_command

from difyfleet.remote import door, journal
from difyfleet.remote.door import DoorConnector
from difyfleet.secrets import Secret

PASSWORD = "sudo-canary-8841"


class Channel:
    """What was sent through a channel."""

    def __init__(self) -> None:
        self.line = ""
        self.sent = b""
        self.combined = False

    def set_combine_stderr(self, combine: bool) -> None:
        self.combined = combine

    def exec_command(self, line: str) -> None:
        self.line = line

    def sendall(self, data: bytes) -> None:
        self.sent += data


class Door(DoorConnector):
    """The door with a transport that opens these channels."""

    def __init__(self, sudo: bool, password: str | None) -> None:
        self.host = self  # type: ignore[assignment]
        self.client = self  # type: ignore[assignment]
        self.name = "llm"
        self.data: dict[str, Any] = {"_sudo": sudo}  # type: ignore[assignment]
        self.sudo_password = Secret(password) if password else None
        self.channel = Channel()

    def get_transport(self) -> Any:
        return self

    def open_session(self, timeout: float) -> Channel:
        return self.channel


@pytest.mark.parametrize(
    ("sudo", "password", "line", "sent"),
    [
        (False, None, "bash -c 'id -u'", b""),
        (False, PASSWORD, "bash -c 'id -u'", b""),
        (True, None, "sudo -H -n bash -c 'id -u'", b""),
        (True, PASSWORD, "sudo -H -k -S -p '' bash -c 'id -u'", f"{PASSWORD}\n".encode()),
    ],
)
def test_start(
    sudo: bool,
    password: str | None,
    line: str,
    sent: bytes,
    tmp_path: Path,
) -> None:
    book = journal.use(tmp_path / "journal.jsonl")
    door = Door(sudo, password)
    door.start(StringCommand("id -u"), journal.LEASE, "lease take")
    assert (door.channel.line, door.channel.sent, door.channel.combined) == (line, sent, True)
    (entry,) = book.entries()
    assert (entry["kind"], entry["via"], entry["what"]) == ("lease", "exec", "lease take")
    assert book.count("llm", journal.CHANGE) == 0


@pytest.mark.parametrize(
    "command",
    [
        StringCommand("echo", QuoteString("a b"), HiddenValue("hidden-value")),
        StringCommand("cat", StringCommand("a", "b", _separator="=")),
        "plain 'text'",
    ],
)
@pytest.mark.parametrize("before", ["", "x && "])
@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"_sudo": True, "_env": {}},
        {"_env": {"A": "b c"}},
        {"_su_user": "u", "_chdir": "/x y", "_shell_executable": "bash"},
    ],
)
def test_a_line_is_the_one_that_pyinfra_makes(command: Any, before: str, arguments: dict[str, Any]) -> None:
    whole = StringCommand(before, command) if before else command
    made = make_unix_command(whole, **arguments).get_raw_value(), str(make_unix_command(command, **arguments))
    assert [door._built(command, before, arguments) for _ in range(2)] == [made, made]
