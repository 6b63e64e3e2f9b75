"""The lease on a host: while one run holds it, no other run of difyfleet changes that host.

The host's side is lease.sh, a process on an exec channel of the run's own SSH connection. It holds a kernel lock, so the lease is free
at once when the run dies, after SILENCE seconds when the network is cut, and after a reboot. This side sends it a line every BEAT
seconds. No two clocks are compared: the host counts from the last line that came, the run from the last line that was answered.
"""

from __future__ import annotations

import contextlib
import getpass
import json
import os
import shlex
import socket
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from paramiko import Channel, SSHException
from pyinfra.api import StringCommand

from difyfleet.errors import HostError, Locked
from difyfleet.progress import report
from difyfleet.remote import journal
from difyfleet.secrets import mask

FOLDER = "/run/difyfleet"  # on the host; empty after a reboot
SILENCE = 25  # seconds without a line after which the host drops the lease
BEAT = 5.0  # seconds between two lines
SURE = 15.0  # seconds after an answered line during which the lease is held for certain; below SILENCE
ANSWER = 8.0  # seconds that an answer may take
RETRY = 2.0  # seconds between two tries to take a held lease
GIVE_UP = 60.0  # seconds without an answered line after which the connection counts as lost and is closed
PATIENCE = 20  # seconds the host waits for a command that an earlier run left behind
START = 60.0  # seconds until the script has said its first word
_SCRIPT = Path(__file__).with_name("lease.sh")
_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)  # goes on while a laptop sleeps


@dataclass(frozen=True)
class Holder:
    """Who holds a lease, as lease.json on the host says."""

    owner: str = "?"  # user@machine of the controller
    reason: str = "?"  # verb and inventory
    since: str = "?"  # UTC by the host's clock, as is until
    until: str = "?"  # when it will be dropped if the run is not heard of again
    run: str = "?"

    def __str__(self) -> str:
        if self.run == "none":  # what is left of a run, see left_behind in lease.sh
            return f"{self.owner} ({self.reason})"
        return f"{self.owner} ({self.reason}) since {self.since}, until {self.until} unless renewed"


class Lease:
    """A lease that this run holds. It is renewed by a thread (a greenlet, once gevent has patched threading) until release()."""

    def __init__(self, channel: Channel, lines: _Lines, where: str, asked: float) -> None:
        self._channel, self._lines, self._where = channel, lines, where
        self._sure_from = asked  # when the last line went out that the host has answered
        self._beats = 0
        self.ended: str | None = None
        self._talking = threading.Lock()
        self._stop = threading.Event()
        threading.Thread(target=self._renew, name=f"lease of {where}", daemon=True).start()

    def require(self) -> None:
        """Called before every change.

        Raises:
            HostError: the lease is lost, or the host does not confirm it in time.
        """
        if _now() - self._sure_from > SURE:
            self._beat()  # this machine was busy or asleep; the host's word counts
        if self.ended is None and _now() - self._sure_from > SURE:
            self.ended = f"the host has not confirmed it for {SURE:.0f} s"
        if self.ended is not None:
            raise HostError(
                f"lease lost: {self.ended}; another run may change this host now, so nothing more is changed",
                where=self._where,
                hint="run the same command again; difyfleet lock show INVENTORY tells who holds the lease",
            )

    def release(self) -> None:
        """Give it back, and wait shortly until the host has done so. It stays lost."""
        if self._stop.is_set():
            return
        self._stop.set()
        self.ended = "this run has given it back"
        with contextlib.suppress(OSError, EOFError, SSHException):
            self._channel.shutdown_write()
            self._channel.status_event.wait(ANSWER)
        self._channel.close()

    def _renew(self) -> None:
        while not self._stop.wait(BEAT) and self.ended is None:
            self._beat()

    def _beat(self) -> None:
        """One line there and its answer back. No answer in time changes nothing: the next one may come."""
        with self._talking:
            if self.ended is not None or self._stop.is_set():
                return
            sent, self._beats = _now(), self._beats + 1
            try:
                with contextlib.suppress(OSError):  # a script that has ended left its last words to be read
                    self._channel.sendall(f"{self._beats}\n".encode())
                while (said := self._lines.next(sent + ANSWER)) != f"lease kept {self._beats}":
                    if said.startswith("lease ended: "):
                        self.ended = said.removeprefix("lease ended: ")
                        return
                self._sure_from = sent
            except TimeoutError:
                if _now() - self._sure_from > GIVE_UP:
                    # whatever waits for the host, a command or a request, now learns that there is no answer to be had
                    self.ended = f"nothing was heard from the host for {GIVE_UP:.0f} s"
                    self._channel.get_transport().close()
            except (OSError, EOFError, SSHException) as error:
                self.ended = f"its connection is gone ({error or type(error).__name__})"


class _Lines:
    """The lines that come out of a channel."""

    def __init__(self, channel: Channel) -> None:
        self._channel, self._rest = channel, b""

    def next(self, deadline: float) -> str:
        """The next line.

        Raises:
            TimeoutError: none until `deadline`.
            EOFError: there are no more.
        """
        while b"\n" not in self._rest:
            self._channel.settimeout(max(deadline - _now(), 0.01))
            data = self._channel.recv(4096)
            if not data:
                raise EOFError("the host ended it")
            self._rest += data
        line, _, self._rest = self._rest.partition(b"\n")
        return line.decode(errors="replace")


def take(door: Any, reason: str, deadline: float) -> Lease:
    """Take a host's lease.

    Args:
        door: the host's connector.
        reason: verb and inventory, for those who meet a held lease.
        deadline: by time.monotonic(); until then a held lease is waited for. It is tried once at least.

    Raises:
        Locked: another run holds it.
        HostError: it cannot be taken (no channel, no sudo, no flock).
    """
    while True:
        got = _try_to_take(door, reason)
        if isinstance(got, Lease):
            return got
        left = deadline - time.monotonic()
        if left <= 0:
            raise Locked(
                f"is being worked on by {got}",
                where=door.host.name,
                hint="wait for it with --lock-wait SECONDS; difyfleet lock show INVENTORY tells of all hosts",
            )
        report(door.host.name, f"waiting for {got}")
        time.sleep(min(left, RETRY))


def _try_to_take(door: Any, reason: str) -> Lease | Holder:
    name = door.host.name
    facts = {"owner": owner(), "host": name, "reason": mask(reason), "run": run_id()}
    channel = _start(door, ["take", FOLDER, str(SILENCE), str(PATIENCE)])
    lines, asked = _Lines(channel), _now()
    try:
        channel.sendall(json.dumps(facts, separators=(",", ":"))[1:-1].encode() + b"\n")
        said = _answer(lines, channel, name)
    except BaseException:
        channel.close()
        raise
    if said == "lease taken":
        return Lease(channel, lines, name, asked)
    channel.close()
    return _holder(said) or Holder()


def look(door: Any) -> Holder | None:
    """Who holds a host's lease; None = it is free. Changes nothing.

    Raises:
        HostError: it cannot be told.
    """
    return _holder(_ask(door, ["show", FOLDER]))


def release(door: Any, holder: Holder) -> Holder | None:
    """End the process that holds the lease for `holder`; that run then changes nothing more.

    Returns:
        Who holds it now: None, or somebody else who has taken it in between.

    Raises:
        HostError: the process does not end.
    """
    return _holder(_ask(door, ["release", FOLDER, holder.run]))


def require_lease(door: Any) -> None:
    """Called where a change goes out: if the run has a lease on this host, it must still be held. See Lease.require."""
    held: Lease | None = getattr(door, "lease", None)
    if held is not None:
        held.require()


def at_work() -> str:
    """Shell words in front of a changing command. It holds work.lock as long as it runs, also when its run is gone, and the next run
    waits for it. And it does not start once the lease is no more this run's: its packets may have been long under way.
    """
    mine = shlex.quote(f'"run":"{run_id()}"')
    return (
        f"exec 8>>{FOLDER}/work.lock; flock -s 8; grep -qsF {mine} {FOLDER}/lease.json"
        " || { echo 'this run has lost its lease' >&2; exit 75; };"
    )


def owner() -> str:
    """This user on this machine."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}"


def run_id() -> str:
    """This run's name: that of its journal."""
    return journal.current().path.stem


def _start(door: Any, arguments: list[str]) -> Channel:
    script = f"{shlex.join(['set', '--', *arguments])}\n{_SCRIPT.read_text()}"
    try:
        return door.start(StringCommand(script), journal.LEASE, f"lease {arguments[0]}")  # type: ignore[no-any-return]
    except (SSHException, OSError, EOFError) as error:
        raise HostError(
            f"sshd gives no channel for the lease: {error or type(error).__name__}", where=door.host.name
        ) from error


def _ask(door: Any, arguments: list[str]) -> str:
    channel = _start(door, arguments)
    try:
        channel.shutdown_write()
        return _answer(_Lines(channel), channel, door.host.name)
    finally:
        channel.close()


def _answer(lines: _Lines, channel: Channel, name: str) -> str:
    """The script's first word. What comes before it (from sudo, or a login script) is only of interest when no word comes."""
    other: list[str] = []
    try:
        deadline = _now() + START
        while not (said := lines.next(deadline)).startswith("lease "):
            other.append(said)
    except TimeoutError:
        raise HostError(f"the lease script gave no answer within {START:.0f} s", where=name) from None
    except (OSError, EOFError, SSHException) as error:
        raise _no_answer([mask(line) for line in other if line.strip()], error, name) from error
    if said == "lease needs flock":
        raise HostError("there is no flock, which holds the lease", where=name, hint="dnf install util-linux")
    if said == "lease stuck":
        raise HostError(
            "the process that holds the lease does not end",
            where=name,
            hint=f"on the host: fuser -v {FOLDER}/lease.lock",
        )
    return said


def _no_answer(words: list[str], error: Exception, name: str) -> HostError:
    if any(word.strip() == "sudo: a password is required" for word in words):
        return HostError(
            "sudo asks for a password", where=name, hint="set ssh.sudo_password in the inventory"
        )
    return HostError(
        f"the lease cannot be asked for: {'; '.join(words[-4:]) or error}",
        where=name,
        hint=f"is there room and bash on the host? bash -c 'touch {FOLDER}'",
    )


def _holder(said: str) -> Holder | None:
    if said == "lease free":
        return None
    try:
        written = json.loads(said.removeprefix("lease busy "))
        return Holder(**{key: str(written[key]) for key in Holder.__dataclass_fields__ if key in written})
    except (ValueError, TypeError):
        return Holder()


def _now() -> float:
    return time.clock_gettime(_CLOCK)
