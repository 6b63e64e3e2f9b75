"""How a transfer goes: what has moved, how fast, how long it will take."""

from __future__ import annotations

import time

from difyfleet.progress import report

_EVERY = 0.5  # seconds between two reports


class Pace:
    """Counts bytes and reports them.

    Args:
        host: whose line it is.
        what: is moved.
        total: bytes; None = nobody knows.
        start: bytes that were there before; they say nothing of the rate.
    """

    def __init__(self, host: str, what: str, total: int | None = None, start: int = 0) -> None:
        self._host, self._what, self._total, self._start = host, what, total, start
        self._done, self._began = start, time.monotonic()
        self._said = self._began

    def moved(self, size: int) -> None:
        """So many bytes more."""
        self._done += size
        now = time.monotonic()
        if now - self._said >= _EVERY:
            self._said = now
            report(self._host, self.words(now - self._began))

    def words(self, seconds: float) -> str:
        """`model qwen2.5:7b: 43 % of 4683 MB, 11.2 MB/s, 4 min left`, so many seconds after the start."""
        rate = (self._done - self._start) / max(seconds, 0.001)
        if self._total is None:
            return f"{self._what}: {self._done / 1e6:.0f} MB, {rate / 1e6:.1f} MB/s"
        left = (self._total - self._done) / max(rate, 1.0)
        time_left = f"{left / 60:.0f} min" if left >= 90 else f"{left:.0f} s"
        percent = self._done * 100 // max(self._total, 1)
        return f"{self._what}: {percent} % of {self._total / 1e6:.0f} MB, {rate / 1e6:.1f} MB/s, {time_left} left"
