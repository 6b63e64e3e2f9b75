"""remote.mux: the host's side started once through sudo; reads that go through the same sudo run in it, as sudo would have run them."""

from __future__ import annotations

import shlex
import time
from pathlib import Path
from typing import Any

import pytest

from difyfleet import host_calls
from difyfleet.facts.files import PathState
from difyfleet.host_calls import Command
from difyfleet.remote.learned_reads import Read
from difyfleet.remote.mux import Answer, Mux
from tests.unit.remote.channel import Channel

SOON = 20.0  # seconds that something may take on a busy machine
FREE, ASKING = "sudo -H -n sh -c ", "sudo -H -k -S -p '' sh -c "
# Takes sudo's options, the password where they ask for it, refuses what the test forbids, and makes an environment as sudo does.
SUDO = r"""#!/bin/bash
echo "$*" >>"$LOG"
asks=
while [ "${1#-}" != "$1" ]; do case $1 in -S) asks=1;; -p) shift;; esac; shift; done
if [ -n "$asks" ] && [ -z "$FREE" ]; then read -r word; [ "$word" = secret ] || { echo 'Sorry, try again.' >&2; exit 1; }; fi
if [ "$1" = "$FORBIDDEN" ]; then echo "user is not allowed to execute '$1'" >&2; exit 1; fi
exec env -i PATH="$PATH" LOG="$LOG" HOME=/root-of-sudo USER=root SUDO_USER=me SUDO_COMMAND="$(command -v "$1") ${*:2}" "$@"
"""


class Host:
    """A machine with a sudo of its own, seen by a user who needs it."""

    def __init__(self, folder: Path, front: str, **environment: str) -> None:
        (folder / "bin").mkdir()
        (folder / "bin" / "sudo").write_text(SUDO)
        (folder / "bin" / "sudo").chmod(0o755)
        self.log = folder / "log"
        path = f"{folder}/bin:/usr/bin:/bin"
        self.environment = {
            "SHELL": "/bin/bash",
            "PATH": path,
            "LOG": str(self.log),
            "HOME": "/",
            **environment,
        }
        hello = {
            "password": "secret\n" if front == ASKING else "",
            "at_once": 4,
            "young": 1.0,
            "most": 1 << 20,
        }
        self.front, self.said = front, b""
        self.mux = Mux(lambda line: Channel(line, self.environment, apart=True), {**hello, "front": front})

    def ask(self, command: str, front: str | None = None) -> Answer:
        front = self.front if front is None else front
        call: Any = getattr(command, "call", ())
        read = Read(front + shlex.quote(command), 10, front == ASKING, call)
        answer = self.mux.wait(self.mux.ask([read])[read], time.monotonic() + SOON)
        assert answer is not None
        return answer

    def sudos(self) -> list[str]:
        """What sudo was asked to run."""
        lines = [line for line in self.log.read_text().splitlines() if line.startswith("-H")]
        return [next(word for word in line.split() if word in ("python3", "sh", "bash")) for line in lines]


@pytest.fixture(params=[FREE, ASKING], ids=["without a password", "with a password"])
def front(request: pytest.FixtureRequest) -> str:
    return str(request.param)


ENVIRONMENT = 'printf \'%s\\n\' "$HOME $USER $SUDO_USER ${LOST-gone} $0" "$SUDO_COMMAND"; cat; id -u'


@pytest.mark.parametrize(
    "command", [ENVIRONMENT, "echo it\\'s \"'\"; exit 3", "true", "printf 'a\\0b' >&2", "zwölf"]
)
def test_a_read_runs_as_sudo_would_have_run_it(command: str, front: str, tmp_path: Path) -> None:
    once, each = tmp_path / "once", tmp_path / "each"
    once.mkdir()
    each.mkdir()
    host = Host(once, front, LOST="of the login")
    found = host.ask(command)
    host.mux.close()
    plain = Host(each, front, LOST="of the login", FORBIDDEN="python3")
    expected = plain.ask(command)
    plain.mux.close()
    assert found[:3] == tuple(
        each.replace(b"/each/", b"/once/") if isinstance(each, bytes) else each for each in expected[:3]
    )
    assert (host.sudos(), plain.sudos()) == (["python3"], ["python3", "sh"])


def test_many_reads_are_one_sudo_and_its_call_is_made_by_root(front: str, tmp_path: Path) -> None:
    host = Host(tmp_path, front)
    (tmp_path / "file").write_text("text")
    state = PathState().command(str(tmp_path / "file"))
    assert host.ask(state).stdout.startswith(b"regular file|644|")
    assert [host.ask(f"echo {number}").stdout for number in range(3)] == [b"0\n", b"1\n", b"2\n"]
    host.mux.close()
    assert host.sudos() == ["python3"]


@pytest.mark.parametrize(
    "other", ["", "sh -c ", "sudo -H -n -u nobody sh -c ", "sudo -H -n bash -c ", "sudo -H -n sh -c true; "]
)
def test_what_takes_another_way_than_this_sudo_is_left_to_an_exec(
    other: str, front: str, tmp_path: Path
) -> None:
    host = Host(tmp_path, front)
    assert host.ask("echo wrong", other)[:3] == ("other", b"", b"")
    host.mux.close()


def test_a_sudo_that_refuses_python_is_asked_per_read(front: str, tmp_path: Path) -> None:
    host = Host(tmp_path, front, FORBIDDEN="python3")
    assert [host.ask("echo $HOME").stdout for _ in range(2)] == [b"/root-of-sudo\n"] * 2
    assert host.ask(PathState().command("/nowhere")).stdout == b""
    host.mux.close()
    assert host.sudos() == ["python3", "sh", "sh", "sh"]


def test_a_password_that_sudo_did_not_want_goes_nowhere(tmp_path: Path) -> None:
    host = Host(tmp_path, ASKING, FREE="1")
    assert host.ask("cat; echo $HOME").stdout == b"/root-of-sudo\n"
    host.mux.close()


def test_a_wrong_password_ends_in_no_answer_from_root(tmp_path: Path) -> None:
    host = Host(tmp_path, ASKING)
    host.mux.close()
    hello = {"password": "nonsense\n", "at_once": 4, "young": 1.0, "most": 1 << 20, "front": ASKING}
    mux = Mux(lambda line: Channel(line, host.environment, apart=True), hello)
    read = Read(ASKING + "id", 10, True)
    answer = mux.wait(mux.ask([read])[read], time.monotonic() + SOON)
    assert answer is not None
    assert (answer.status, answer.stdout) == (1, b"")
    mux.close()


SCRIPT = b"""
import time
def gives_up():
    raise OSError("not made for this")
def hangs():
    time.sleep(60)
def large():
    return bytes(2 << 20)
"""


def test_calls_that_give_up_or_hang_or_say_too_much(
    front: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = Host(tmp_path, front)
    monkeypatch.setattr(host_calls, "modules", lambda module: (module,))
    monkeypatch.setattr(host_calls, "source", lambda module: SCRIPT)
    script = "difyfleet.facts.odd_script"
    slow = [Read(f"{front}'echo {number}'", 3, front == ASKING, (script, "hangs")) for number in range(5)]
    numbers = host.mux.ask(slow)
    assert host.ask(Command("echo by the shell", script, "gives_up")).stdout == b"by the shell\n"
    assert host.ask(Command("echo by the shell", script, "is not there")).stdout == b"by the shell\n"
    assert host.ask(Command("echo", script, "large")).status == "large"
    answers = [host.mux.wait(number, time.monotonic() + SOON) for number in numbers.values()]
    assert [each and each.status for each in answers] == ["late"] * 5, (
        "and none of them kept the others waiting"
    )
    host.mux.close()
