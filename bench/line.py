"""A delay line: two TAP interfaces in two network namespaces, joined by a program that holds every frame back.

``python -m bench.line NAMESPACE INTERFACE NAMESPACE INTERFACE ROUND_TRIP_MS`` prints ``ready`` and then forwards.

It delays frames, not bytes of a connection: both ends' TCP stacks see the distance, with Nagle's algorithm, delayed acknowledgements and
slow start, as over a real one. ``tc netem`` would do the same; kernels without it are common in small VMs.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import select
import struct
import sys
import time
from collections import deque
from collections.abc import Callable

_CLONE_NEWNET = 0x40000000
_TUNSETIFF = 0x400454CA
_IFF_TAP, _IFF_NO_PI = 0x0002, 0x1000
_FRAME = 65536  # bytes; more than any frame
_BURST = 64  # frames taken from one side before the other side's turn


class Direction:
    """Frames on their way from one side to the other.

    Args:
        delay: seconds each frame is held back.
        send: puts one frame out on the other side.
    """

    def __init__(self, delay: float, send: Callable[[bytes], object]) -> None:
        self._delay, self._send = delay, send
        self._held: deque[tuple[float, bytes]] = deque()

    def take(self, frame: bytes, now: float) -> None:
        """A frame has come in."""
        self._held.append((now + self._delay, frame))

    def release(self, now: float) -> None:
        """Send what is due, in the order in which it came."""
        while self._held and self._held[0][0] <= now:
            self._send(self._held.popleft()[1])

    def next_due(self) -> float | None:
        """When the next frame is due, on the clock of `now`; None if nothing is held."""
        return self._held[0][0] if self._held else None


def open_tap(namespace: str, interface: str) -> int:
    """A new TAP interface in a named network namespace, as a file descriptor that gives and takes frames.

    Raises:
        OSError: no such namespace, or TAP devices may not be made here.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    ours = os.open("/proc/self/ns/net", os.O_RDONLY)
    theirs = os.open(f"/run/netns/{namespace}", os.O_RDONLY)
    try:
        if libc.setns(theirs, _CLONE_NEWNET):
            number = ctypes.get_errno()
            raise OSError(number, f"cannot enter network namespace {namespace}: {os.strerror(number)}")
        tap = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
        fcntl.ioctl(tap, _TUNSETIFF, struct.pack("16sH22x", interface.encode(), _IFF_TAP | _IFF_NO_PI))
        return tap
    finally:
        libc.setns(ours, _CLONE_NEWNET)
        os.close(ours)
        os.close(theirs)


def forward(one: int, other: int, delay: float) -> None:
    """Pass frames between two TAP descriptors for ever, each held back by `delay` seconds."""

    def out(tap: int) -> Callable[[bytes], object]:
        def send(frame: bytes) -> None:
            with contextlib.suppress(
                OSError
            ):  # a full queue or an interface that is down loses frames, as a real line does
                os.write(tap, frame)

        return send

    directions = {one: Direction(delay, out(other)), other: Direction(delay, out(one))}
    while True:
        due = min((at for each in directions.values() if (at := each.next_due()) is not None), default=None)
        # select, not epoll: its time-out is not rounded up to a millisecond
        ready, _, _ = select.select(
            list(directions), [], [], None if due is None else max(due - time.monotonic(), 0)
        )
        now = time.monotonic()
        for tap in ready:
            for _ in range(_BURST):
                try:
                    directions[tap].take(os.read(tap, _FRAME), now)
                except BlockingIOError:
                    break
        now = time.monotonic()
        for each in directions.values():
            each.release(now)


def main(argv: list[str]) -> int:
    """Forward until SIGTERM."""
    namespace, interface, other_namespace, other_interface, milliseconds = argv
    with contextlib.suppress(PermissionError):  # on a busy machine frames would wait for a processor as well
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    taps = open_tap(namespace, interface), open_tap(other_namespace, other_interface)
    print("ready", flush=True)
    forward(*taps, float(milliseconds) / 2000)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
