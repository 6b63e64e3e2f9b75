"""Cutting a running apply at a chosen change, and running it again: what the crash matrix is made of.

A run tells its changes in its journal, a line just before each command or request goes out. So a cut at once after the line meets the
command before or at its start, a cut some 100 ms later in its middle; and what the host is after a command has ended is what it is
when the next line appears.
"""

from __future__ import annotations

import json
import math
import os
import random
import re
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.lab import hoststate
from tests.lab.conftest import DIFYFLEET, LabHost

LATEST = 0.3  # seconds after a journal line within which a cut comes
END = 90.0  # seconds within which a run must have ended after its connection was cut
LOCK = "/run/difyfleet/lease.lock"
LOCK_LIMIT = 30.0  # seconds within which a dead run's lease must be free
_LOOK = 0.003  # seconds between two looks into the journal
_VARYING = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|\b[0-9a-f]{12,64}\b")
_SESSIONS = "^sshd: openeuler"
_SUDO = re.compile(r"^sudo -H -n sh -c ")

Kind = tuple[str, str, str]  # operation, way, command or request without ids
Point = tuple[Kind, int]  # the kind, and how many of it came before in the same run


@dataclass
class Run:
    """An apply under way."""

    process: subprocess.Popen[str]
    journals: Path
    told: Path  # file with what it says
    until: float = math.inf  # by time.monotonic(): when changes() ends at the latest

    def changes(self) -> Iterator[dict[str, Any]]:
        """Its changes as they are written; ends with the process, or at `until`."""
        read: dict[Path, int] = {}
        while True:
            ended = self.process.poll() is not None
            for path in sorted(self.journals.glob(f"*-{self.process.pid}*.jsonl")):
                with path.open("rb") as stream:
                    stream.seek(read.get(path, 0))
                    new = stream.read()
                whole = new[: new.rfind(b"\n") + 1]
                read[path] = read.get(path, 0) + len(whole)
                entries = map(json.loads, whole.splitlines())
                yield from (entry for entry in entries if entry["kind"] == "change")
            if ended or time.monotonic() >= self.until:
                return
            time.sleep(_LOOK)

    def wait(self, seconds: float) -> int | None:
        """Its exit code, or None if it has not ended in time; it is killed then."""
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            return None


def start(host: LabHost, *more: str) -> Run:
    """`difyfleet apply --yes` as an operator's program of its own."""
    told = host.folder / "told.txt"
    environment = {**os.environ, "DIFYFLEET_STATE_DIR": str(host.state)}
    with told.open("w") as stream:
        process = subprocess.Popen(
            [str(DIFYFLEET), "apply", str(host.inventory), "--yes", "--lock-wait", "120", *more],
            cwd=host.folder, env=environment, stdin=subprocess.DEVNULL, stdout=stream, stderr=stream, text=True,
        )  # fmt: skip
    return Run(process, host.state / "journal", told)


def points(entries: Iterator[dict[str, Any]]) -> Iterator[tuple[Point, dict[str, Any]]]:
    """Each change with its place in the run: the same command in two runs has the same place."""
    seen: Counter[Kind] = Counter()
    for entry in entries:
        kind = entry["operation"] or "", entry["via"], without_ids(entry["what"])
        yield (kind, seen[kind]), entry
        seen[kind] += 1


def without_ids(what: str) -> str:
    """A command or request as it is the same on every host and in every run."""
    return _VARYING.sub("<id>", what)


@dataclass
class Cut:
    """One cut and what came of it."""

    way: str  # kill, sshd, drop
    points: list[Point]  # the change that was waited for, and those that had begun by the time of the cut
    operation: str  # of the last of them
    what: str
    after: float  # seconds after the journal line, or less where the next change began before
    code: int | None = None  # of a run that had to end by itself; None = it did not
    ended: float = 0.0  # seconds from the cut until the run had ended
    lock: float | None = None  # seconds from the cut until another run could have the lease
    faults: list[str] = field(default_factory=list)


@dataclass
class Walk:
    """All cuts on the way to one apply that went through."""

    cuts: list[Cut] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)  # what runs said that failed though nobody cut them
    runs: int = 0
    seconds: float = 0.0

    @property
    def faults(self) -> list[str]:
        """Everything that should not have been."""
        return [
            f"{cut.way} at {cut.what[:80]}: {fault}" for cut in self.cuts for fault in cut.faults
        ] + self.failed


Sever = Callable[[LabHost, Run], None]
Choose = Callable[[Point, dict[str, Any]], "tuple[str, Sever] | None"]


def walk(
    host: LabHost,
    choose: Choose,
    seed: int,
    *,
    say: Callable[[str], None] = lambda text: None,
    most: int = 400,
) -> Walk:
    """Apply again and again, cutting each run at the first change that was not cut before, until one goes through.

    A change is cut once, so every run gets further than the one before, whether or not its cut left something done.

    Args:
        choose: says for a change how to cut there, or None = let it pass.
        seed: of the moments.
        most: cuts after which the walk is given up.

    Raises:
        AssertionError: no run goes through.
    """
    moments, done, report, began = random.Random(seed), set[Point](), Walk(), time.monotonic()
    while True:
        run = start(host)
        report.runs += 1
        cut = _cut_at_news(host, run, choose, done, moments)
        if cut is None:
            if run.wait(1800) == 0:
                report.seconds = time.monotonic() - began
                return report
            report.failed.append(f"run {report.runs} failed by itself: {run.told.read_text()[-3000:]}")
            say(report.failed[-1])
            if len(report.failed) > 3:
                raise AssertionError("\n\n".join(report.failed))
            continue
        report.cuts.append(cut)
        say(
            f"cut {len(report.cuts)} (run {report.runs}): {cut.way} after {cut.after:.3f} s, ended {cut.ended:.1f} s, lock free {cut.lock or 0:.1f} s: "
            f"{cut.operation}: {cut.what[:90]} {cut.faults or ''}"
        )
        if len(report.cuts) >= most:
            raise AssertionError(f"no end after {most} cuts")


def _cut_at_news(
    host: LabHost, run: Run, choose: Choose, done: set[Point], moments: random.Random
) -> Cut | None:
    changes = points(run.changes())
    for point, entry in changes:
        chosen = None if point in done else choose(point, entry)
        if chosen is None:
            continue
        done.add(point)
        after = 0.0 if moments.random() < 0.4 else moments.uniform(0, LATEST)
        hit, run.until = [point], time.monotonic() + after
        begun = next(changes, None)  # a command that has ended by then is cut where the next one begins
        if begun is not None:
            hit.append(begun[0])
            entry = begun[1]
        way, sever = chosen
        what = _SUDO.sub("", entry["what"]).replace("\n", " ")
        cut = Cut(way, hit, entry["operation"] or "", what, after)
        _sever(host, run, cut, sever)
        return cut
    return None


def _sever(host: LabHost, run: Run, cut: Cut, sever: Sever) -> None:
    """Cut, and watch what has to follow: the run ends, its lease is free, its last words say what and where."""
    began = time.monotonic()
    sever(host, run)
    if cut.way == "kill":
        run.process.wait(10)
        cut.ended = time.monotonic() - began
        cut.lock = lock_free(host, began)
    else:
        cut.lock = lock_free(host, began)
        cut.code = run.wait(END)
        cut.ended = time.monotonic() - began
        cut.faults += broken_promises(host.name, cut.code, run.told.read_text())
    if cut.way == "drop":
        pass_packets(host)
    if cut.lock is None or cut.lock > LOCK_LIMIT:
        cut.faults.append(f"the lease was not free within {LOCK_LIMIT:.0f} s")


def broken_promises(name: str, code: int | None, told: str) -> list[str]:
    """What a run whose connection was cut owes: an end in time, exit code 1, an error with host and what to type."""
    if code is None:
        return [f"it did not end within {END:.0f} s"]
    faults = [] if code == 1 else [f"exit code {code}"]
    lowered = told.lower()
    if "connection" not in lowered and "lease" not in lowered:
        faults.append(f"no word of the connection: {told[-1500:]}")
    if name not in told:
        faults.append("no word of the host")
    if "next:" not in lowered and "again" not in lowered:
        faults.append(f"no word of what to type: {told[-1500:]}")
    if "traceback" in lowered:
        faults.append(f"a traceback: {told[-1500:]}")
    return faults


def lock_free(host: LabHost, since: float, wait: float = 60.0) -> float | None:
    """Seconds from `since` until somebody else could take the host's lease; None if it stays held."""
    try:
        hoststate.execute(host.name, "flock", "-w", f"{wait:g}", LOCK, "true")
    except AssertionError:
        return None
    return time.monotonic() - since


# -- the ways to cut -------------------------------------------------------------------------------------------


def kill(host: LabHost, run: Run) -> None:
    """SIGKILL to the controller."""
    run.process.kill()


class EndSshd:
    """The host's end of every SSH connection of the login user is killed, and the controller's kernel is told at once. A shell on the host
    waits for the moment, since starting one takes longer than most changes.
    """

    def __init__(self, host: LabHost) -> None:
        self._shell = subprocess.Popen(
            hoststate.shell_of(host.name, f"while read _; do kill -KILL $(pgrep -f '{_SESSIONS}'); echo; done"),
            cwd=hoststate.ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        )  # fmt: skip

    def __call__(self, host: LabHost, run: Run) -> None:
        assert self._shell.stdin
        assert self._shell.stdout
        self._shell.stdin.write("\n")
        self._shell.stdin.flush()
        self._shell.stdout.readline()

    def close(self) -> None:
        """End the shell."""
        self._shell.communicate(timeout=30)


def drop_packets(host: LabHost, run: Run) -> None:
    """From now on no packet of SSH passes between controller and host: nobody is told anything."""
    _filter(host, "-I")


def pass_packets(host: LabHost) -> None:
    """The end of drop_packets."""
    _filter(host, "-D")


def _filter(host: LabHost, change: str) -> None:
    from lab.network import Network
    from lab.state import State

    lab, address = Network(State()), State().host(host.name).address
    for rule in (["OUTPUT", "-d", address, "--dport"], ["INPUT", "-s", address, "--sport"]):
        argv = ["iptables", "-w", change, rule[0], *rule[1:3], "-p", "tcp", rule[3], "22", "-j", "DROP"]
        subprocess.run(lab.argv(argv), check=True, timeout=30)
