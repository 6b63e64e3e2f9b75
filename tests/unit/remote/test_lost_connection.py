"""remote.door: what a run is told when its connection is gone, and what goes in front of a change."""

from __future__ import annotations

import subprocess
from types import SimpleNamespace
from typing import Any

import pytest
from paramiko import SSHException
from pyinfra.api import StringCommand
from pyinfra.connectors.util import CommandOutput, OutputLine

from difyfleet.errors import ConnectionLost
from difyfleet.remote import journal
from difyfleet.remote.door import DoorConnector, whole_input
from difyfleet.remote.lease import at_work
from difyfleet.remote.reading import reading


class Door(DoorConnector):
    """The door with a way in that is told what happens there."""

    def __init__(self, happens: Any, *, active: bool) -> None:
        self.host = SimpleNamespace(name="llm", executing_op_hash=None, current_op_hash=None)  # type: ignore[assignment]
        transport = SimpleNamespace(is_active=lambda: active)
        self.client = SimpleNamespace(get_transport=lambda: transport)  # type: ignore[assignment]
        self.happens = happens
        self.lines: list[str] = []

    def _exec_in_channel(self, line: str, stdin: str, timeout: int) -> tuple[int, CommandOutput]:
        self.lines.append(line)
        if isinstance(self.happens, Exception):
            raise self.happens
        return self.happens, CommandOutput([OutputLine("stdout", "x")])


@pytest.fixture(autouse=True)
def state(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIFYFLEET_STATE_DIR", str(tmp_path))
    journal.use(None)


@pytest.mark.parametrize(
    "happens", [-1, SSHException("SSH session not active"), EOFError(), OSError("Socket is closed")]
)
def test_a_lost_connection_says_so_and_what_to_type(happens: Any) -> None:
    with pytest.raises(ConnectionLost) as caught:
        Door(happens, active=False).run_shell_command(StringCommand("true"))
    text = str(caught.value)
    assert text.startswith("llm: the SSH connection was lost")
    assert "may still run to its end" in text
    assert "next: run the same command again" in text


def test_the_reason_is_told_where_it_is_known() -> None:
    door = Door(-1, active=False)
    door.lease = SimpleNamespace(require=lambda: None, ended="nothing was heard from the host for 60 s")  # type: ignore[assignment]
    with pytest.raises(ConnectionLost, match=r"lost \(nothing was heard from the host for 60 s\)"):
        door.run_shell_command(StringCommand("true"))


def test_a_command_that_a_signal_ended_is_a_failed_command() -> None:
    ok, output = Door(-1, active=True).run_shell_command(StringCommand("kill -9 $$"))
    assert not ok
    assert output.stdout_lines == ["x"]


def test_other_errors_of_a_living_connection_stay_as_they_are() -> None:
    with pytest.raises(SSHException, match="no more sessions"):
        Door(SSHException("no more sessions"), active=True).run_shell_command(StringCommand("true"))


@pytest.mark.parametrize("shell", ["sh", "bash"])
@pytest.mark.parametrize("sent", [0, 1, 999, 1000])
def test_a_change_starts_when_its_input_is_whole(sent: int, shell: str, tmp_path: Any) -> None:
    folder = tmp_path / "host"
    folder.mkdir()
    content = "x" * 999 + "\n"
    script = f"{whole_input(1000)} umask 077; cat >{folder}/file && mv {folder}/file {folder}/target"
    environment = {"PATH": "/usr/bin:/bin", "TMPDIR": str(folder)}
    done = subprocess.run(
        [shell, "-c", script], input=content[:sent], capture_output=True, text=True, timeout=10, check=False, env=environment
    )  # fmt: skip
    if sent == 1000:
        assert done.returncode == 0
        assert (folder / "target").read_text() == content
        assert [path.name for path in folder.iterdir()] == ["target"]
    else:
        assert (done.returncode, done.stderr) == (75, "the input did not arrive whole\n")
        assert list(folder.iterdir()) == []


def test_what_reads_no_input_or_changes_nothing_starts_as_it_is() -> None:
    door = Door(0, active=True)
    door.run_shell_command(StringCommand("touch /a"))
    with reading():
        door.run_shell_command(StringCommand("python3 -"), _stdin="print(1)")
    door.run_shell_command(StringCommand("cat >/a"), _stdin="é")
    assert ["mktemp" in line for line in door.lines] == [False, False, True]
    assert "= 2 ]" in door.lines[-1]


def test_a_change_under_a_lease_holds_it_on_the_host_and_the_journal_shows_the_change_alone() -> None:
    door = Door(0, active=True)
    door.run_shell_command(StringCommand("touch /a"))
    door.lease = SimpleNamespace(require=lambda: None, ended=None)  # type: ignore[assignment]
    with reading():
        door.run_shell_command(StringCommand("cat /a"))
    door.run_shell_command(StringCommand("touch /a"))
    assert [at_work().split(";")[0] in line for line in door.lines] == [False, False, True]
    assert [entry["what"] for entry in journal.current().entries()] == [
        "sh -c 'touch /a'",
        "sh -c 'cat /a'",
        "sh -c 'touch /a'",
    ]
