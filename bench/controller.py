"""The controller's own network namespace, a given round trip away from the lab's network."""

from __future__ import annotations

import contextlib
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from lab import network
from lab.engine import LabError, run
from lab.network import Network
from lab.state import CHECKOUT

ADDRESS = "10.0.2.250"  # beyond those that lab.hosts gives to hosts
_INSIDE, _PORT = "line0", "bench0"
# the first handshake also asks for the hardware address
_SHAKE = """
import socket, sys, time
for number in range(int(sys.argv[2]) + 1):
    started = time.monotonic()
    socket.create_connection((sys.argv[1], 22), 10).close()
    if number:
        print((time.monotonic() - started) * 1000)
"""


class Controller:
    """A machine on the lab's LAN from which the contenders run, at the end of a line of its own.

    Without a round trip the line is a veth pair, which delays nothing; with one it is bench/line.py.

    Args:
        lab: the lab's network; its namespace must be there.
    """

    def __init__(self, lab: Network) -> None:
        self.lab = lab
        self.name = f"{lab.name}-bench"

    def argv(self, command: list[str]) -> list[str]:
        """The command, to run on the controller. `ip netns exec` ends in the command itself: its figures are the command's."""
        return ["ip", "netns", "exec", self.name, *command]

    @contextlib.contextmanager
    def at(self, milliseconds: float) -> Iterator[None]:
        """The controller exists, and its packets take half of the round trip each way.

        Raises:
            LabError: interfaces cannot be made.
        """
        self._remove()
        run(["ip", "netns", "add", self.name])
        resolver = Path("/etc/netns", self.name, "resolv.conf")
        resolver.parent.mkdir(parents=True, exist_ok=True)
        resolver.write_text(f"nameserver {network.GATEWAY}\noptions timeout:1 attempts:1\n")
        line = None
        try:
            if milliseconds:
                line = self._delayed(milliseconds)
            else:
                self._direct()
            self.lab.ip("link", "set", _PORT, "master", network.BRIDGE, "up")
            for words in (
                ["link", "set", "lo", "up"],
                ["address", "add", f"{ADDRESS}/24", "dev", _INSIDE],
                ["link", "set", _INSIDE, "up", "txqueuelen", "10000"],
            ):
                run(["ip", "-n", self.name, *words], timeout=20)
            yield
        finally:
            if line is not None:
                line.terminate()
                line.wait(10)
            self._remove()

    def _direct(self) -> None:
        self.lab.ip("link", "add", _PORT, "type", "veth", "peer", "name", _INSIDE, "netns", self.name)

    def _delayed(self, milliseconds: float) -> subprocess.Popen[str]:
        argv = [
            sys.executable,
            "-m",
            "bench.line",
            self.name,
            _INSIDE,
            self.lab.name,
            _PORT,
            f"{milliseconds:g}",
        ]
        line = subprocess.Popen(
            argv, cwd=CHECKOUT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True
        )
        assert line.stdout is not None
        if line.stdout.readline() != "ready\n":
            line.wait(10)
            raise LabError(f"the delay line did not start: {' '.join(argv)}")
        return line

    def _remove(self) -> None:
        if Path("/run/netns", self.name).exists():
            run(["ip", "netns", "delete", self.name])
        # a veth pair ends with its namespace a little later; the next one must find the name free
        run(["ip", "-n", self.lab.name, "link", "delete", _PORT], check=False)
        resolver = Path("/etc/netns", self.name)
        (resolver / "resolv.conf").unlink(missing_ok=True)
        if resolver.is_dir():
            resolver.rmdir()


def round_trip(controller: Controller, address: str, count: int = 9) -> float:
    """The measured round trip to a host, in milliseconds: the median of so many TCP handshakes with its sshd.

    Raises:
        LabError: it does not accept.
    """
    shakes = controller.argv([sys.executable, "-I", "-S", "-c", _SHAKE, address, str(count)])
    return statistics.median(map(float, run(shakes, timeout=60).stdout.split()))
