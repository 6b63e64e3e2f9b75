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

    def busy(self) -> float | None:
        """Bytes of the window as a share of what the link could have carried in it."""
        first, last = self.window()
        if not self.rate or last <= first:
            return None
        return (self.moved - 2 * _NOISE) / (self.rate * (last - first))

    def seconds_by_load(self) -> tuple[float, float, float]:
        """Seconds of the window with the link at least 90% full, between that and 10%, below 10%."""
        first, last = self.window()
        start = self.samples[0][0] if self.samples else 0.0
        full = some = idle = 0.0
        for (before, earlier), (at, count) in zip(self.samples, self.samples[1:], strict=False):
            if not first < at - start <= last or not self.rate:
                continue
            load = (count - earlier) / (self.rate * (at - before))
            full, some, idle = (
                full + (at - before) * (load >= 0.9),
                some + (at - before) * (0.1 <= load < 0.9),
                idle + (at - before) * (load < 0.1),
            )
        return full, some, idle


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
    full, some, idle = traffic.seconds_by_load()
    limit = f" at {traffic.rate / 1e6:g} MB/s, {share:.0%} busy" if share is not None else ""
    return (
        f"{traffic.moved / 1e6:.0f} MB in {last - first:.1f} s{limit} "
        f"(full {full:.1f} s, partly {some:.1f} s, idle {idle:.1f} s)"
    )
