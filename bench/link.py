"""A narrow link to a lab host: the kernel's token bucket on the host's port of the lab's bridge, and what went through it."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from lab.engine import LabError, run
from lab.network import Network
from lab.state import Host

_EVERY = 0.1  # seconds between two looks at the counter
_COMING = 0.1  # of the link; below that nothing is being downloaded
_NOISE = 1_000_000  # bytes at either end that are not the pull: manifests, SSH


def port_of(host: Host) -> str:
    """The host's port on the bridge, as lab/container.py names it."""
    return f"v{host.address.rsplit('.', 1)[1]}"


@dataclass
class Traffic:
    """What went to the host: (seconds, bytes since the start), oldest first.

    Attributes:
        rate: the link's bytes per second; 0 = not limited.
    """

    rate: float
    samples: list[tuple[float, int]] = field(default_factory=list)

    @property
    def moved(self) -> int:
        """Bytes in all."""
        return self.samples[-1][1] - self.samples[0][1] if self.samples else 0

    def window(self) -> tuple[float, float]:
        """When the first and the last megabyte had gone through, in seconds after the start."""
        if self.moved <= 2 * _NOISE:
            return 0.0, 0.0
        start, zero = self.samples[0]
        first = next(at for at, count in self.samples if count - zero >= _NOISE)
        last = next(at for at, count in self.samples if count - zero >= self.moved - _NOISE)
        return first - start, last - start

    def loads(self) -> list[tuple[float, float]]:
        """(seconds, share of the link that was used) of each look within the window; empty without a limit."""
        first, last = self.window()
        start = self.samples[0][0] if self.samples else 0.0
        return [
            (at - before, (count - earlier) / (self.rate * (at - before)))
            for (before, earlier), (at, count) in zip(self.samples, self.samples[1:], strict=False)
            if self.rate and first < at - start <= last
        ]

    def busy(self) -> float | None:
        """How busy the link was while something came: bytes as a share of what it could have carried in the looks in which at least
        a tenth of that passed. The rest of the window is idle(): what is there is unpacked, or containers start.
        """
        coming = [(seconds, load) for seconds, load in self.loads() if load >= _COMING]
        could = sum(seconds for seconds, _ in coming)
        return sum(seconds * load for seconds, load in coming) / could if could else None

    def idle(self) -> float:
        """Seconds of the window in which nothing came, with bytes still to come."""
        return sum(seconds for seconds, load in self.loads() if load < _COMING)


def sent_bytes(table: str, interface: str) -> int:
    """The bytes that an interface has sent, from the text of /proc/net/dev.

    Raises:
        LabError: there is no such interface.
    """
    for line in table.splitlines():
        name, _, figures = line.partition(":")
        if name.strip() == interface:
            return int(figures.split()[8])
    raise LabError(f"no interface {interface} in the lab")


@contextlib.contextmanager
def narrow(lab: Network, host: Host, megabytes: float) -> Iterator[Traffic]:
    """Everything that is sent to the host shares so many MB/s (10^6 bytes); gives what went through. 0 = only counted.

    Raises:
        LabError: the port is not there, or the kernel has no token bucket.
    """
    port, rate = port_of(host), megabytes * 1e6
    if megabytes:
        run([
            "tc", "-n", lab.name, "qdisc", "replace", "dev", port, "root", "tbf",
            "rate", f"{int(rate * 8)}bit", "burst", "256kb", "latency", "50ms",
        ])  # fmt: skip
    inside = next(entry["pid"] for entry in lab.state.processes() if entry["what"] == "services")
    table = Path(f"/proc/{inside}/net/dev")  # the interfaces of that process's namespace
    traffic, stop = Traffic(rate), threading.Event()

    def look() -> None:
        while True:
            traffic.samples.append((time.monotonic(), sent_bytes(table.read_text(), port)))
            if stop.wait(_EVERY):
                return

    watcher = threading.Thread(target=look, daemon=True)
    watcher.start()
    try:
        yield traffic
    finally:
        stop.set()
        watcher.join(5)
        if megabytes:
            run(["tc", "-n", lab.name, "qdisc", "delete", "dev", port, "root"], check=False)


def describe(traffic: Traffic) -> str:
    """One line for people."""
    first, last = traffic.window()
    share = traffic.busy()
    text = f"{traffic.moved / 1e6:.0f} MB in {last - first:.1f} s"
    if share is None:
        return text
    return f"{text} at {traffic.rate / 1e6:g} MB/s, nothing came for {traffic.idle():.1f} s, else {share:.0%} busy"
