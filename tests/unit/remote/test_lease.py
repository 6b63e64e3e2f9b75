"""remote.lease with its real script: bash on this machine, pipes where SSH would be."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pyinfra.api import StringCommand

from difyfleet.errors import HostError, Locked
from difyfleet.remote import journal, lease
from difyfleet.remote.lease import Holder, Lease
from tests.unit.remote.channel import Channel


class Door:
    """A connector whose host is this machine."""

    def __init__(self, name: str = "llm", environment: dict[str, str] | None = None) -> None:
        self.name = name
        self.host = self
        self.channels: list[Channel] = []
        self.lease: Lease | None = None
        self._environment = environment

    def start(self, command: StringCommand, kind: str, what: str) -> Any:
        assert kind == journal.LEASE
        self.channels.append(Channel(command.get_raw_value(), self._environment))
        return self.channels[-1]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DIFYFLEET_STATE_DIR", str(tmp_path / "state"))
    journal.use(None)
    monkeypatch.setattr(lease, "FOLDER", str(tmp_path / "run"))
    monkeypatch.setattr(lease, "RETRY", 0.05)
    return tmp_path / "run"


@pytest.fixture
def door() -> Iterator[Door]:
    made = Door()
    yield made
    for channel in made.channels:
        channel.process.kill()
        channel.process.wait()


def note(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "lease.json").read_text())
    return found


def until(condition: Any) -> None:
    """Wait for what another process is about to do."""
    deadline = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_lease_names_its_holder_and_is_given_back(folder: Path, door: Door) -> None:
    held = lease.take(door, "apply prod.yml", 0)
    written = note(folder)
    assert written["owner"] == lease.owner()
    assert (written["host"], written["reason"], written["run"]) == ("llm", "apply prod.yml", lease.run_id())
    assert (folder / "lease.json").stat().st_mode & 0o777 == 0o600
    assert (folder / "lease.lock").stat().st_mode & 0o777 == 0o600
    start, end = (time.strptime(written[key], "%Y-%m-%dT%H:%M:%SZ") for key in ("since", "until"))
    assert time.mktime(end) - time.mktime(start) == lease.SILENCE
    held.require()
    held.release()
    held.release()
    assert not (folder / "lease.json").exists()
    assert lease.look(door) is None
    with pytest.raises(HostError, match="lease lost: this run has given it back"):
        held.require()
    lease.take(door, "apply prod.yml", 0).release()


def test_a_held_lease_is_refused_with_its_holder_and_what_to_type(folder: Path, door: Door) -> None:
    held = lease.take(door, "apply prod.yml", 0)
    with pytest.raises(Locked) as caught:
        lease.take(door, "models rm prod.yml", 0)
    text = str(caught.value)
    assert text.startswith(f"llm: is being worked on by {lease.owner()} (apply prod.yml) since 20")
    assert "--lock-wait" in text
    assert "difyfleet lock show" in text
    held.require()
    assert note(folder)["reason"] == "apply prod.yml"


@pytest.mark.usefixtures("folder")
def test_a_held_lease_is_waited_for(door: Door) -> None:
    held = lease.take(door, "apply", 0)
    threading.Timer(0.1, held.release).start()
    lease.take(door, "apply", time.monotonic() + 10).release()


def test_every_line_renews(folder: Path, door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "BEAT", 0.02)
    monkeypatch.setattr(lease, "SILENCE", 1)
    held = lease.take(door, "apply", 0)
    first = note(folder)["until"]
    until(lambda: note(folder)["until"] > first)
    held.require()
    held.release()


def test_silence_frees_it_and_the_run_learns_of_it(
    folder: Path, door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "SILENCE", 0.1)
    monkeypatch.setattr(lease, "BEAT", 1000.0)
    held = lease.take(door, "apply", 0)
    door.channels[-1].process.wait(5)
    assert not (folder / "lease.json").exists()
    assert lease.look(door) is None
    held.require()  # not yet in doubt: well within SURE
    monkeypatch.setattr(lease, "SURE", 0.0)
    with pytest.raises(HostError, match=r"lease lost: nothing was heard for 0.1 s; another run may"):
        held.require()


def test_a_dead_controller_frees_it_at_once(folder: Path, door: Door) -> None:
    """The kernel closes a killed process's connection: the script reads the end of its input."""
    lease.take(door, "apply", 0)
    door.channels[-1].shutdown_write()
    door.channels[-1].process.wait(5)
    assert not (folder / "lease.json").exists()
    assert lease.look(door) is None


def test_a_killed_holder_leaves_a_note_that_means_nothing(folder: Path, door: Door) -> None:
    held = lease.take(door, "apply", 0)
    os.kill(note(folder)["pid"], signal.SIGKILL)
    door.channels[-1].process.wait(5)
    assert (folder / "lease.json").exists()
    assert lease.look(door) is None
    held._beat()
    with pytest.raises(HostError, match="lease lost: its connection is gone"):
        held.require()
    lease.take(door, "apply", 0).release()


@pytest.mark.usefixtures("folder")
def test_a_machine_that_slept_asks_the_host_first(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    held = lease.take(door, "apply", 0)
    held._sure_from -= lease.SURE + 1
    held.require()  # still held, says the host
    process = door.channels[-1].process
    process.send_signal(signal.SIGSTOP)  # a host that does not answer
    held._sure_from -= lease.SURE + 1
    monkeypatch.setattr(lease, "ANSWER", 0.05)
    with pytest.raises(HostError, match="the host has not confirmed it for 15 s"):
        held.require()


@pytest.mark.usefixtures("folder")
def test_a_host_that_is_silent_for_long_loses_its_connection(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a command that waits for it would wait until its own time-out, half an hour."""
    held = lease.take(door, "apply", 0)
    process = door.channels[-1].process
    process.send_signal(signal.SIGSTOP)
    monkeypatch.setattr(lease, "ANSWER", 0.02)
    held._beat()
    assert held.ended is None
    monkeypatch.setattr(lease, "GIVE_UP", 0.01)
    monkeypatch.setattr(door.channels[-1], "close", process.kill)
    held._beat()
    assert held.ended == "nothing was heard from the host for 0 s"
    assert process.wait(5) == -signal.SIGKILL


def work(folder: Path, command: str) -> subprocess.Popen[bytes]:
    """A changing command as the door sends it."""
    return subprocess.Popen(["bash", "-c", f"{lease.at_work()} {command}"])


def test_a_command_that_an_earlier_run_left_behind_is_waited_for(folder: Path, door: Door) -> None:
    lease.take(door, "apply", 0)
    left = work(folder, f"touch {folder}/begun; sleep 0.3; touch {folder}/done")
    until((folder / "begun").exists)
    door.channels[-1].shutdown_write()  # its run dies
    lease.take(door, "apply", time.monotonic() + 5).release()
    assert (folder / "done").exists()
    assert left.wait(5) == 0


def test_a_command_left_behind_that_does_not_end_is_named(
    folder: Path, door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    lease.take(door, "apply", 0)
    left = work(folder, f"touch {folder}/begun; exec sleep 60")
    until((folder / "begun").exists)
    door.channels[-1].shutdown_write()
    door.channels[-1].process.wait(5)
    monkeypatch.setattr(lease, "PATIENCE", 0.01)
    try:
        with pytest.raises(
            Locked, match=f"by a command that an earlier run left behind .sleep, pid {left.pid}."
        ):
            lease.take(door, "apply", 0)
    finally:
        left.kill()
        left.wait()


def test_a_command_that_comes_late_is_not_run(folder: Path, door: Door) -> None:
    """Packets that were under way while the network was cut may arrive when the lease is another run's."""
    lease.take(door, "apply", 0).release()
    assert work(folder, f"touch {folder}/late").wait(5) == 75
    assert not (folder / "late").exists()


@pytest.mark.usefixtures("folder")
def test_an_answer_that_came_late_does_not_count_for_the_next_line(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = lease.take(door, "apply", 0)
    process, sure = door.channels[-1].process, held._sure_from
    process.send_signal(signal.SIGSTOP)
    monkeypatch.setattr(lease, "ANSWER", 0.02)
    held._beat()
    assert held._sure_from == sure
    process.send_signal(signal.SIGCONT)
    monkeypatch.setattr(lease, "ANSWER", 5.0)
    held._beat()
    assert held._beats == 2
    assert held._sure_from > sure


def test_release_by_hand_ends_the_holder_and_its_run_stops(folder: Path, door: Door) -> None:
    held = lease.take(door, "apply", 0)
    seen = lease.look(door)
    assert seen is not None
    assert lease.release(door, seen) is None
    assert not (folder / "lease.json").exists()
    held._beat()
    with pytest.raises(HostError, match="lease lost: it was released by hand"):
        held.require()


@pytest.mark.usefixtures("folder")
def test_only_the_run_that_was_shown_is_ended(door: Door) -> None:
    held = lease.take(door, "apply", 0)
    left = lease.release(door, Holder(run="an-earlier-run"))
    assert left is not None
    assert left.run == lease.run_id()
    held._beat()
    held.require()


def test_a_pid_that_is_somebody_elses_by_now_is_left_alone(folder: Path, door: Door) -> None:
    lease.take(door, "apply", 0)
    bystander = subprocess.Popen(["sleep", "60"])
    try:
        changed = {**note(folder), "pid": bystander.pid}
        (folder / "lease.json").write_text(json.dumps(changed, separators=(",", ":")) + "\n")
        assert lease.release(door, Holder(run=lease.run_id())) is not None
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()


def test_a_holder_that_ignores_its_end_is_killed(folder: Path, door: Door) -> None:
    lease.take(door, "apply", 0)
    process = door.channels[-1].process
    process.send_signal(signal.SIGSTOP)
    script = Path(lease._SCRIPT).read_text().replace("flock -w 3 9", "flock -w 0.1 9")
    command = f"{shlex.join(['set', '--', 'release', str(folder), lease.run_id()])}\n{script}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=10, check=True)
    assert done.stdout == "lease free\n"
    assert process.wait(5) == -signal.SIGKILL


def test_release_of_a_free_lease_tidies_up(folder: Path, door: Door) -> None:
    assert lease.release(door, Holder(run="x")) is None
    folder.mkdir()
    (folder / "lease.lock").touch()
    (folder / "lease.json").write_text("{}")
    assert lease.release(door, Holder(run="x")) is None
    assert not (folder / "lease.json").exists()


@pytest.mark.usefixtures("folder")
def test_show_changes_nothing(folder: Path, door: Door) -> None:
    assert lease.look(door) is None
    assert not folder.exists()


@pytest.mark.usefixtures("folder")
def test_a_host_without_flock(tmp_path: Path) -> None:
    with pytest.raises(HostError, match=r"llm: there is no flock.*\n  next: dnf install util-linux"):
        lease.look(Door(environment={"PATH": str(tmp_path)}))


def test_a_folder_that_cannot_be_made(folder: Path, door: Door) -> None:
    folder.write_text("a file where the folder should be")
    with pytest.raises(HostError, match=r"llm: the lease cannot be asked for: mkdir: .*File exists"):
        lease.take(door, "apply", 0)


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    ("printed", "said"),
    [
        ("sudo: a password is required", "sudo asks for a password\n  next: set ssh.sudo_password"),
        ("ops is not in the sudoers file.", "the lease cannot be asked for: ops is not in the sudoers file."),
    ],
)
def test_what_sudo_says_is_passed_on(door: Door, printed: str, said: str) -> None:
    def start(*_: Any) -> Any:
        door.channels.append(Channel(f"echo {shlex.quote(printed)}; exit 1"))
        return door.channels[-1]

    door.start = start  # type: ignore[method-assign]
    with pytest.raises(HostError) as caught:
        lease.look(door)
    assert said in str(caught.value)


@pytest.mark.parametrize("said", ["lease busy ", "lease busy {", 'lease busy {"owner":1}', "lease busy []"])
def test_a_note_that_cannot_be_read_is_a_holder_all_the_same(said: str) -> None:
    holder = lease._holder(said)
    assert holder is not None
    assert "since ?" in str(holder)


def test_no_lease_means_no_questions() -> None:
    lease.require_lease(object())
