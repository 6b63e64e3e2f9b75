"""What a quick look would go by, asked of a lab host again and again over one connection: a program of its own, since gevent is in it.

A line on standard input is answered by a line on standard output: the digest of what was asked and that of all answers, or `-` where the
host cannot tell one.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from tests.lab.conftest import ROOT, LabHost

STILL = 10  # questions after which a host that is never the same twice is given up


class Digests:
    """The program, seen from a test."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self._reads = ""

    def now(self) -> str:
        """The digest, or `-`."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        found = self._process.stdout.readline().strip()
        assert found, f"no digest: exit {self._process.wait(60)}"
        reads, _, answers = found.partition(" ")
        self._reads = self._reads or reads
        assert reads in (self._reads, "-"), "not of the same reads and requests: a sign-in was refused"
        return answers or "-"

    def still(self) -> str:
        """The digest once it is the same twice in a row: nothing is under way on the host any more.

        Raises:
            AssertionError: it goes on changing, or there is none.
        """
        last = self.now()
        for _ in range(STILL):
            time.sleep(0.3)
            found = self.now()
            if found == last != "-":
                return found
            last = found
        raise AssertionError(f"never the same twice: {last}")


@contextlib.contextmanager
def digests(host: LabHost) -> Iterator[Digests]:
    """The program for a host whose plan has been made at least once."""
    with subprocess.Popen(
        [sys.executable, "-m", "tests.lab.digests", str(host.inventory)],
        cwd=ROOT,
        env={**os.environ, "DIFYFLEET_STATE_DIR": str(host.state), **host.env},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield Digests(process)
        finally:
            process.kill()


def main() -> None:
    from difyfleet import stack
    from difyfleet.fleet.engine import engine
    from difyfleet.spec.loader import load

    with engine(load(Path(sys.argv[1])).hosts) as run:

        def answer(host: object, _: object) -> None:
            while sys.stdin.readline():
                found = run._readers.digest(host, stack.CONVERGE)
                print(f"{found.reads} {found.answers}" if found else "-", flush=True)

        run.each(answer)


if __name__ == "__main__":
    main()
