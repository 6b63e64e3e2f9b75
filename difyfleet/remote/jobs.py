"""Long work belongs to the host: a systemd transient unit that the controller only looks at.

A cut SSH connection does not end it; a later run finds the unit and goes on waiting. The unit keeps its result until it is
forgotten (RemainAfterExit), and its words are in a log on the host's /run.
"""

from __future__ import annotations

import hashlib
import re
import shlex
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from paramiko import SSHException
from pyinfra.api import FactBase, StringCommand
from pyinfra.api.exceptions import PyinfraError

from difyfleet.errors import ConnectionLost, HostError
from difyfleet.progress import Amount, count, report

POLL_SECONDS = 2.0
_TAIL = 3000  # bytes of the log that are read at each look
_PLAIN = (
    r"\t\n\r\033\040-\176"  # progress bars are not ASCII, and a tail may begin in the middle of a character
)


def log_of(unit: str) -> str:
    """Where the words of a job's unit go, on the host."""
    return f"/run/difyfleet/{unit}.log"


def forget_command(unit: str, log: str) -> str:
    """The shell command that removes an ended unit and its log."""
    name = shlex.quote(unit)
    return f"systemctl stop {name} 2>/dev/null; systemctl reset-failed {name} 2>/dev/null; rm -f {shlex.quote(log)}; true"


@dataclass(frozen=True)
class Job:
    """One piece of long work.

    Args:
        kind: what it is, part of the unit's name (`model`).
        subject: what it works on (`qwen2.5:7b`).
        argv: the program and its arguments; never a secret.
        timeout: seconds it may take.
    """

    kind: str
    subject: str
    argv: tuple[str, ...]
    timeout: int

    @property
    def unit(self) -> str:
        """The unit's name. What a unit name cannot hold becomes `-`, with a hash so that names stay apart."""
        plain = re.sub(r"[^A-Za-z0-9.:_-]", "-", self.subject)
        if plain != self.subject:
            plain += "-" + hashlib.sha256(self.subject.encode()).hexdigest()[:6]
        return f"difyfleet-{self.kind}-{plain}.service"

    @property
    def log(self) -> str:
        """Where its words go, on the host."""
        return log_of(self.unit)

    def start_command(self, before: str = "") -> str:
        """The shell command that starts it, unless it is running already.

        Args:
            before: a shell command run first, not when the job is running already.
        """
        unit = shlex.quote(self.unit)
        first = f"{before}; " if before else ""
        inner = 'log=$1; limit=$2; shift 2; exec timeout "$limit" "$@" >"$log" 2>&1'
        words = ["systemd-run", "--quiet", f"--unit={self.unit}", "--remain-after-exit"]
        words += [
            f"--description=difyfleet: {self.kind} {self.subject}",
            "sh",
            "-c",
            inner,
            "job",
            self.log,
            str(self.timeout),
        ]
        return (
            f"case $(systemctl show -p SubState --value {unit}) in running|start*) exit 0;; esac; "
            f"systemctl stop {unit} 2>/dev/null; systemctl reset-failed {unit} 2>/dev/null; {first}"
            f"mkdir -p -m 0755 /run/difyfleet; {shlex.join([*words, *self.argv])}"
        )

    def forget_command(self) -> str:
        """The shell command that removes the ended unit and its log. A failed unit left behind would make the host `degraded`."""
        return forget_command(self.unit, self.log)


@dataclass(frozen=True)
class JobState:
    """How a job stands. state: absent, running, done or failed."""

    state: str
    result: str = ""  # systemd's word: success, exit-code, signal, timeout...
    tail: str = ""  # the last of what it wrote


class JobLook(FactBase[JobState]):
    """A job by its unit name and log."""

    def command(self, unit: str, log: str) -> str:
        quoted = shlex.quote(log)
        return (
            f"command -v systemctl >/dev/null || exit 0; systemctl show -p LoadState,SubState,Result {shlex.quote(unit)}; "
            f"echo ---; [ -f {quoted} ] && tail -c {_TAIL} {quoted} | LC_ALL=C tr -cd '{_PLAIN}'; true"
        )

    @staticmethod
    def default() -> JobState:
        return JobState("absent")

    def process(self, output: Iterable[str]) -> JobState:
        lines = list(output)
        end = lines.index("---") if "---" in lines else len(lines)
        unit = dict(line.split("=", 1) for line in lines[:end] if "=" in line)
        return JobState(_state(unit), unit.get("Result", ""), "\n".join(lines[end + 1 :]))


def _state(unit: dict[str, str]) -> str:
    sub, result = unit.get("SubState", ""), unit.get("Result", "")
    if unit.get("LoadState") == "not-found":
        return "absent"
    if sub == "running" or sub.startswith("start"):
        return "running"
    if sub == "exited" and result == "success":
        return "done"
    return (
        "failed" if sub in ("failed", "exited") else "absent"
    )  # loaded but dead: nothing runs and nothing is known


def run_to_end(
    on: Any,
    job: Job,
    *,
    before: str = "",
    describe: Callable[[str], str],
    explain: Callable[[str, str], tuple[str, str]],
    measure: Callable[[str], tuple[int, int] | None] = lambda tail: None,
) -> None:
    """Start a job or find it running, look at it until it has ended, and forget it.

    Args:
        on: pyinfra's host.
        before: see Job.start_command.
        describe: the log's tail -> what to show as progress ("" = nothing new).
        explain: (log's tail, systemd's result) -> what went wrong, and what to do.
        measure: the log's tail -> bytes that have come, and in all; None = not known.

    Raises:
        HostError: it failed, vanished or took too long.
    """
    where, said = f"{job.kind} {job.subject}", ""
    _run(on, job.start_command(before), where)
    deadline = time.monotonic() + job.timeout + 60
    while True:
        look = _look(on, job)
        if look.state == "done":
            _run(on, job.forget_command(), where)
            return
        if look.state == "failed":
            what, hint = explain(look.tail, look.result)
            _run(on, job.forget_command(), where)
            raise HostError(what, where=where, hint=hint)
        if look.state == "absent":
            raise HostError(f"its unit {job.unit} is gone", where=where, hint="run the same command again")
        if time.monotonic() > deadline:
            raise HostError(
                f"not ended after {job.timeout} s",
                where=where,
                hint=f"on the host: systemctl status {job.unit}",
            )
        amount = measure(look.tail)
        if amount is not None:
            count(on.name, Amount(where, *amount))
        now = describe(look.tail)
        if now and now != said:
            said = now
            report(on.name, f"{where}: {said}")
        time.sleep(POLL_SECONDS)


def _look(on: Any, job: Job) -> JobState:
    try:
        look: JobState = on.get_fact(JobLook, unit=job.unit, log=job.log, _sudo=_sudo(on))
    except (ConnectionLost, PyinfraError, SSHException, OSError, EOFError) as error:
        raise HostError(
            f"the connection was lost while it ran ({error or type(error).__name__}); on the host it goes on",
            where=f"{job.kind} {job.subject}",
            hint="run the same command again: it finds the work under way and waits for it",
        ) from error
    return look


def _sudo(on: Any) -> bool:
    return bool(on.data.get("_sudo"))


def _run(on: Any, command: str, where: str) -> None:
    ok, output = on.run_shell_command(StringCommand(command), _sudo=_sudo(on))
    if not ok:
        words = [line for line in output.stderr_lines if line.strip()][-4:]
        raise HostError("; ".join(words) or "the command failed without a word", where=where)
