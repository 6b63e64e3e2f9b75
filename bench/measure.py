"""One run of a command, measured from outside: wall, processor time of its process tree, memory, sessions that sshd opened."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bench.spawn import LATE

_SPAWN = Path(__file__).with_name("spawn.py")


@dataclass(frozen=True)
class Run:
    """What one run took.

    Attributes:
        wall, cpu: seconds; cpu is user + system of the command and all of its descendants that were waited for.
        peak: MiB, of the largest process among them.
        sessions: commands and subsystems that the hosts' sshd started for it; None where nobody counted.
        connections: logins at the hosts' sshd.
        host_cpu: seconds of processor time below the hosts' sshd.
    """

    wall: float
    cpu: float
    peak: float
    sessions: int | None = None
    connections: int | None = None
    host_cpu: float | None = None


class RunFailed(RuntimeError):
    """A command of the benchmark did not do what its row is about, so its time means nothing."""


def run(
    argv: list[str],
    *,
    cwd: Path,
    env: Mapping[str, str] | None = None,
    timeout: float = 900,
    codes: tuple[int, ...] = (0,),
) -> tuple[Run, str]:
    """Run a command to its end; gives the figures and its standard output.

    Args:
        timeout: seconds until it is killed.
        codes: exit codes that are a success.

    Raises:
        RunFailed: another exit code, or the time-out; with the end of its standard error.
    """
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", str(_SPAWN), str(timeout), *argv],
            cwd=cwd, env={**os.environ, **(env or {})}, stdin=subprocess.DEVNULL, stdout=out, stderr=err,
        )  # fmt: skip
        try:
            code = process.wait()
        except BaseException:  # Ctrl-C, or the end of the benchmark: the command is not left behind
            process.terminate()
            process.wait(10)
            raise
        out.seek(0)
        err.seek(0)
        text, said = out.read().decode(errors="replace"), err.read().decode(errors="replace")
    said, _, figures = said.rstrip("\n").rpartition("\n")
    if code not in codes:
        ended = f"did not end within {timeout:.0f} s" if code == LATE else f"ended with {code}"
        raise RunFailed(f"`{' '.join(argv)}` {ended}:\n{(said + text).strip()[-3000:]}")
    wall, cpu, peak = map(float, figures.split())
    return Run(wall, cpu, peak), text
