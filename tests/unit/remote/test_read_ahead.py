"""remote.read_ahead: many reads in one exec give what each gives by itself, or nothing."""

from __future__ import annotations

import io
import json
import stat
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from paramiko import ChannelException, SSHException
from paramiko.file import BufferedFile
from pyinfra.api import HiddenValue, QuoteString, StringCommand
from pyinfra.connectors.util import CommandOutput, read_output_buffers

from difyfleet.remote import journal, read_ahead
from difyfleet.remote.changes import about_to_change
from difyfleet.remote.door import READ_TIMEOUT, DoorConnector
from difyfleet.remote.learned_reads import Learned, Read
from difyfleet.remote.read_ahead import ReadAhead
from difyfleet.remote.reading import reading
from difyfleet.secrets import MASK, Secret
from tests.unit.remote.channel import Channel

PHASE = "converge"
ENVIRONMENT = {"SHELL": "/bin/bash", "PATH": "/usr/bin:/bin", "HOME": "/"}


class File(BufferedFile):
    """What a command said, read the way paramiko reads a channel."""

    def __init__(self, said: bytes) -> None:
        super().__init__()
        self._said = io.BytesIO(said)
        self._set_mode("r", -1)

    def _read(self, size: int) -> bytes:
        return self._said.read(size)


def by_itself(line: str) -> tuple[int, CommandOutput]:
    """What an exec of its own gives, with paramiko's and pyinfra's own ways of making lines."""
    pipe = subprocess.PIPE
    with subprocess.Popen(
        ["bash", "-c", line],  # sshd's argv[0] is the shell's name without its folder
        executable="/bin/bash",
        stdin=subprocess.DEVNULL,
        stdout=pipe,
        stderr=pipe,
        env=ENVIRONMENT,
    ) as process:
        files = map(File, process.communicate())
        output = read_output_buffers(*files, timeout=10, print_output=False, print_prefix="")
    return max(process.returncode, -1), output


class Host:
    """A machine whose sshd is a local bash; counts the channels that were opened."""

    def __init__(self, folder: Path, shell: str = "/bin/bash") -> None:
        self.opened = 0
        self.environment = {**ENVIRONMENT, "SHELL": shell}
        self.learned = Learned(folder / "read-ahead" / "llm.json", "digest")
        self.ahead = ReadAhead("llm", self.open, self.learned)

    def open(self, line: str) -> Channel:
        self.opened += 1
        return Channel(line, self.environment, apart=True)

    def begin(self, *reads: Read) -> None:
        """A phase for which these reads were learned."""
        self.learned.save(PHASE, Counter(reads))
        self.ahead.begin(PHASE)

    def ask(self, line: str, timeout: int = 10) -> tuple[int, list[str], list[str]] | None:
        found = self.ahead.answer(Read(line, timeout))
        return None if found is None else plain(found)


def plain(found: tuple[int, CommandOutput]) -> tuple[int, list[str], list[str]]:
    return found[0], found[1].stdout_lines, found[1].stderr_lines


@pytest.fixture(autouse=True)
def _own_journal(tmp_path: Path) -> None:
    journal.use(tmp_path / "journal.jsonl")


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    host = Host(tmp_path)
    yield host
    host.ahead.end(learn=False)


AWKWARD = (
    "printf 'no newline at the end'",
    "printf '\\n\\n  blank lines \\n\\n'",
    "printf 'a\\r\\nb\\rc\\n'",
    "true",
    "false",
    "echo out; echo err >&2; exit 3",
    "printf err >&2",
    "no-such-program --version",
    "cat; echo read nothing",
    "exec 2>&1; echo both in one >&2",
    "export A='x y'\\''z' && printf '%s\\n' \"$A\"",
    "cd /usr && pwd",
    "echo 'ümlaut 漢字 🦆'",
    "printf 'a\\0b\\n'",
    "kill -9 $$",
    "kill -15 $$",
    "(sleep 0.1; echo a child that ends later) & echo its parent",
    'echo "quo\'tes" \'"and" more\' \\$HOME',
    "seq 20000",
    "echo '0123 end'; printf 'x\\n%s 0 0 0.1 5 5\\n' aaaa",
    "if command -v surely-not >/dev/null 2>&1; then ( surely-not ); else echo '##PYINFRA_NOCMD##'; fi",
    "umask; echo $0; ulimit -c",
    "env | grep -v '^_=' | sort",
    "pwd; ls -l /proc/self/fd | wc -l",
    "exit 255",
)


def test_each_answer_is_what_the_command_gives_by_itself(host: Host) -> None:
    host.begin(*(Read(line, 10) for line in AWKWARD))
    for line in AWKWARD:
        assert host.ask(line) == plain(by_itself(line)), line
    assert host.opened == 1


TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=40)


@given(said=st.lists(st.tuples(TEXTS, TEXTS, st.integers(0, 255)), min_size=1, max_size=6))
@settings(max_examples=12, derandomize=True, deadline=None, database=None)
def test_any_text_comes_back_as_it_was_said(said: list[tuple[str, str, int]]) -> None:
    lines = [
        StringCommand("printf", "%s", QuoteString(out), "; printf %s", QuoteString(err), f">&2; exit {code}")
        for out, err, code in said
    ]
    reads = [Read(line.get_raw_value(), 10) for line in lines]
    with tempfile.TemporaryDirectory() as folder:
        host = Host(Path(folder))
        host.begin(*reads)
        for read in reads:
            assert host.ask(read.line) == plain(by_itself(read.line))
        assert host.opened == 1
        host.ahead.end(learn=False)


def test_what_was_not_foreseen_is_run_and_learned(host: Host) -> None:
    host.begin(Read("echo one", 10))
    assert host.ask("echo two") is None
    assert host.opened == 0, "nothing was asked that the batch could answer"
    assert host.ask("echo one") == (0, ["one"], [])
    assert host.ask("echo two") is None
    host.ahead.end(learn=True)
    assert host.learned.load(PHASE) == Counter({Read("echo two", 10): 2, Read("echo one", 10): 1})


def test_an_answer_is_given_as_often_as_the_last_run_asked_for_it(host: Host) -> None:
    host.begin(Read("date +%N", 10), Read("date +%N", 10))
    first, second, third = (host.ask("date +%N") for _ in range(3))
    assert first is not None
    assert first == second
    assert third is None


def test_the_same_line_with_another_time_out_is_another_read(host: Host) -> None:
    host.begin(Read("echo one", 10))
    assert host.ask("echo one", timeout=11) is None


def test_no_answer_outlives_a_change(host: Host) -> None:
    host.begin(Read("echo one", 10), Read("echo two", 10))
    assert host.ask("echo one") is not None
    about_to_change(host)
    assert host.ask("echo two") is None
    assert host.opened == 1, "and nothing is read ahead again in this phase"


def test_no_answer_outlives_its_phase(host: Host) -> None:
    host.begin(Read("echo one", 10), Read("echo one", 10))
    assert host.ask("echo one") is not None
    host.ahead.end(learn=True)
    assert host.ask("echo one") is None
    host.ahead.begin("checks")
    assert host.ask("echo one") is None


def test_no_answer_gets_old(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(read_ahead, "FRESH", 0.0)
    host.begin(Read("echo one", 10))
    assert host.ask("echo one") is None


def test_a_loop_that_waits_is_not_fed_with_the_past_for_long(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(read_ahead, "AGAIN", 0.05)
    host.begin(*[Read("echo one", 10)] * 3)
    assert host.ask("echo one") == (0, ["one"], [])
    time.sleep(0.1)
    assert host.ask("echo one") is None


def test_binary_and_very_large_output_is_left_to_an_exec(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(read_ahead, "MOST", 50_000)
    lines = ["printf '\\377\\376'", "seq 100000", "yes", "echo fine"]
    host.begin(*(Read(line, 10) for line in lines))
    assert [host.ask(line) for line in lines] == [None, None, None, (0, ["fine"], [])]
    assert host.opened == 1


def test_ten_megabytes_arrive_where_they_are_allowed(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(read_ahead, "MOST", 20 << 20)
    line = "head -c 10000000 /dev/zero | tr '\\0' x; echo; echo end"
    host.begin(Read(line, 10))
    assert host.ask(line) == (0, ["x" * 10_000_000, "end"], [])


def test_those_that_take_long_keep_nobody_waiting(
    host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(read_ahead, "AT_ONCE", 2)
    monkeypatch.setattr(read_ahead, "YOUNG", 0.02)
    mark = tmp_path / "mark"
    long = [f"while [ ! -e {mark} ]; do sleep 0.01; done; echo long {number}" for number in range(3)]
    host.begin(*(Read(line, 10) for line in [*long, "echo one", "echo two"]))
    assert host.ask("echo one") == (0, ["one"], [])
    assert host.ask("echo two") == (0, ["two"], [])
    mark.touch()
    assert [host.ask(line) for line in long] == [(0, [f"long {number}"], []) for number in range(3)]
    assert host.opened == 1


def test_one_that_hangs_fails_alone(host: Host) -> None:
    hanging = Read("echo something; sleep 20", 0.1)
    host.begin(hanging, Read("echo one", 10))
    with pytest.raises(TimeoutError, match=r"no answer within 0\.1 s"):
        host.ahead.answer(hanging)
    assert host.ask("echo one") == (0, ["one"], [])


def test_the_controller_gives_up_too(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """A host that says nothing any more (the network is gone): the read fails as it would by itself."""
    host.begin(Read("sleep 20", 0), Read("echo one", 10))
    with pytest.raises(TimeoutError, match="no answer within 0 s"):
        host.ahead.answer(Read("sleep 20", 0))
    assert host.ask("echo one") == (0, ["one"], []), "what comes in pieces is put together later"


def test_nothing_goes_on_running_when_the_answers_are_void(host: Host, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    slow = f"echo $$ > {mark}; sleep 20"
    host.begin(Read(slow, 10), Read("echo one", 10))
    assert host.ask("echo one") is not None
    while not (mark.exists() and mark.read_text()):
        time.sleep(0.01)
    host.ahead.drop()
    pid = int(mark.read_text())
    for _ in range(100):
        try:
            if "Z" in Path(f"/proc/{pid}/stat").read_text():
                return
        except (FileNotFoundError, ProcessLookupError):
            return
        time.sleep(0.01)
    pytest.fail("the read goes on")


def test_words_of_a_login_script_are_passed_over(tmp_path: Path) -> None:
    host = Host(tmp_path)
    host.open = lambda line: Channel(f"echo Welcome; echo; {line}", host.environment, apart=True)  # type: ignore[method-assign]
    host.ahead = ReadAhead("llm", host.open, host.learned)
    host.begin(Read("echo one", 10))
    assert host.ask("echo one") == (0, ["one"], [])
    host.ahead.end(learn=False)


@pytest.mark.parametrize(
    "line", ["echo no python3 here >&2; exit 127", "cat >/dev/null", "head -c 99 /dev/urandom"]
)
def test_a_host_that_cannot_do_it_goes_on_without(tmp_path: Path, line: str) -> None:
    host = Host(tmp_path)
    host.ahead = ReadAhead(
        "llm", lambda _: Channel(line if "cat" not in line else "exit 0", apart=True), host.learned
    )
    host.begin(Read("echo one", 10), Read("echo two", 10))
    assert host.ask("echo one") is None
    assert host.ask("echo two") is None
    host.ahead.end(learn=True)
    assert set(host.learned.load(PHASE)) == {Read("echo one", 10), Read("echo two", 10)}


def test_no_channel_to_be_had(tmp_path: Path) -> None:
    def refused(_: str) -> Any:
        raise SSHException("administratively prohibited")

    host = Host(tmp_path)
    host.ahead = ReadAhead("llm", refused, host.learned)
    host.begin(Read("echo one", 10))
    assert host.ask("echo one") is None


# -- what is kept -----------------------------------------------------------------------------------------------------


def test_what_is_learned_is_for_the_owner_only(host: Host) -> None:
    host.learned.save(PHASE, Counter({Read("echo one", 10, True): 2}))
    assert host.learned.load(PHASE) == {Read("echo one", 10, True): 2}
    assert stat.S_IMODE(host.learned.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(host.learned.path.parent.stat().st_mode) == 0o700
    assert host.learned.load("checks") == Counter()
    assert Learned(host.learned.path, "another").load(PHASE) == Counter()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        '{"version": 2, "phases": {}}',
        '{"version": 1, "phases": {"converge": {"digest": "digest"}}}',
        '{"version": 1, "phases": {"converge": {"digest": "digest", "reads": [["echo"]]}}}',
    ],
)
def test_a_broken_file_has_no_reads(host: Host, text: str) -> None:
    host.learned.path.parent.mkdir(parents=True)
    host.learned.path.write_text(text)
    assert host.learned.load(PHASE) == Counter()
    host.learned.save(PHASE, Counter({Read("echo one", 10): 1}))
    assert host.learned.load(PHASE) == {Read("echo one", 10): 1}


def test_answers_are_not_kept(host: Host) -> None:
    host.begin(Read("echo $((40 + 2))-canary", 10))
    assert host.ask("echo $((40 + 2))-canary") == (0, ["42-canary"], [])
    host.ahead.end(learn=True)
    assert "42-canary" not in host.learned.path.read_text()
    assert "42-canary" not in journal.current().path.read_text()


# -- the door ---------------------------------------------------------------------------------------------------------


class Door(DoorConnector):
    """The door to such a host: an exec is a local bash."""

    def __init__(self, host: Host, password: str | None = None) -> None:
        self.host = self  # type: ignore[assignment]
        self.name = "llm"
        self.data: dict[str, Any] = {}  # type: ignore[assignment]
        self.executing_op_hash = self.current_op_hash = None
        self.sudo_password = Secret(password) if password else None
        self.ahead = host.ahead
        self.execs: list[str] = []
        self.one_session = False

    def _exec(self, line: str, stdin: str, timeout: int) -> tuple[int, CommandOutput]:
        if self.one_session and self.ahead is not None and self.ahead.busy:
            raise ChannelException(1, "administratively prohibited")
        self.execs.append(line)
        return by_itself(line)


def kinds() -> list[tuple[str, str, str]]:
    return [(entry["kind"], entry["via"], entry["what"]) for entry in journal.current().entries()]


def test_the_journal_counts_one_exec_and_shows_its_commands(host: Host) -> None:
    door = Door(host)
    command = StringCommand("echo one")
    for _ in range(2):
        host.ahead.begin(PHASE)
        with reading():
            assert door.run_shell_command(command, _chdir="/usr")[1].stdout_lines == ["one"]
            assert door.run_shell_command(command)[1].stdout_lines == ["one"]
        host.ahead.end(learn=True)
    asked = ["sh -c 'cd /usr && echo one'", "sh -c 'echo one'"]
    assert door.execs == asked, "only the first time"
    assert kinds() == [
        *(("read", "exec", line) for line in asked),
        ("read", "exec", "channel for reads and requests"),
        *(("read", "ahead", line) for line in asked),
    ]
    assert journal.current().count("llm", None, "exec") == 3


def test_what_carries_input_or_changes_is_never_read_ahead(host: Host) -> None:
    door = Door(host)
    host.begin(Read("sh -c 'echo one'", READ_TIMEOUT))
    with reading():
        door.run_shell_command(StringCommand("echo one"), _stdin="something")
    assert door.execs == ["sh -c 'echo one'"]
    assert host.opened == 0
    door.run_shell_command(StringCommand("echo one"))
    assert len(door.execs) == 2
    with reading():
        door.run_shell_command(StringCommand("echo one"))
    assert len(door.execs) == 3, "after a change everything is read again"
    assert host.opened == 0


@pytest.mark.parametrize(
    "command", [StringCommand("echo", HiddenValue("hidden")), StringCommand("echo canary-9914-known")]
)
def test_a_command_with_a_secret_is_not_kept(host: Host, command: StringCommand) -> None:
    Secret("canary-9914-known")
    door = Door(host)
    host.ahead.begin(PHASE)
    with reading():
        door.run_shell_command(command)
        door.run_shell_command(StringCommand("echo fine"))
    host.ahead.end(learn=True)
    assert [read.line for read in host.learned.load(PHASE)] == ["sh -c 'echo fine'"]
    assert MASK not in host.learned.path.read_text()


def test_exit_codes_that_count_as_success(host: Host) -> None:
    door = Door(host)
    host.begin(*[Read("sh -c 'exit 3'", READ_TIMEOUT)] * 2)
    with reading():
        assert door.run_shell_command(StringCommand("exit 3"), _success_exit_codes=[0, 3])[0]
        assert not door.run_shell_command(StringCommand("exit 3"))[0]
    assert door.execs == []


def test_sudo_reads_its_password_from_standard_input(host: Host, tmp_path: Path) -> None:
    """A stand-in for sudo that takes one line, as -S does, and shows what it got. The password stands in no argument and in no file."""
    sudo = tmp_path / "sudo"
    sudo.write_text(
        '#!/bin/sh\nIFS= read -r p; shift 5; printf "%s|%s|" "${#p}" "$(cat | wc -c)"; exec "$@"\n'
    )
    sudo.chmod(0o755)
    host.environment["PATH"] = f"{tmp_path}:/usr/bin:/bin"
    door = Door(host, "sudo-canary-8841")
    host.begin(Read("sudo -H -k -S -p '' sh -c 'echo one'", READ_TIMEOUT, True))
    with reading():
        assert door.run_shell_command(StringCommand("echo one"), _sudo=True)[1].stdout_lines == ["16|0|one"]
    host.ahead.end(learn=True)
    assert door.execs == []
    assert "sudo-canary-8841" not in host.learned.path.read_text() + journal.current().path.read_text()


def test_a_host_with_one_session_at_a_time(host: Host) -> None:
    """What was not foreseen goes through the channel that is open; for a change it makes room."""
    door = Door(host)
    door.one_session = True
    host.begin(Read("sh -c 'echo one'", READ_TIMEOUT), Read("sh -c 'sleep 20'", READ_TIMEOUT))
    with reading():
        assert door.run_shell_command(StringCommand("echo one"))[1].stdout_lines == ["one"]
        assert door.run_shell_command(StringCommand("echo unforeseen"))[1].stdout_lines == ["unforeseen"]
    assert host.ahead.busy
    assert door.execs == []
    assert door.run_shell_command(StringCommand("echo changed"))[1].stdout_lines == ["changed"]
    assert not host.ahead.busy
    with reading():
        assert door.run_shell_command(StringCommand("echo one"))[1].stdout_lines == ["one"]
    assert len(door.execs) == 2


def test_the_request_is_bounded(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(read_ahead, "MOST_ASKED", 20)
    host.begin(Read("echo one", 10), Read("echo two", 10), Read("echo three", 10))
    assert host.ask("echo one") == (0, ["one"], [])
    assert host.ask("echo three") is None
    assert json.loads(host.learned.path.read_text())["version"] == 2
