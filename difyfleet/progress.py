"""Work under way, in words (a pull at 43 %) and in amounts, from wherever it happens to whoever shows it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Amount:
    """How much of a thing has come to a host.

    Attributes:
        what: `images`, or `model NAME`.
        unit: `bytes`, or `layers`: of an image Docker tells a log no more.
    """

    what: str
    done: int
    total: int
    unit: str = "bytes"


_listeners: list[Callable[[str, str], None]] = []
_counters: list[Callable[[str, Amount], None]] = []


def report(host: str, text: str) -> None:
    """Say what a host is busy with. Nobody listening = nothing happens."""
    for listener in _listeners:
        listener(host, text)


def count(host: str, amount: Amount) -> None:
    """Say how much has come. Nobody listening = nothing happens."""
    for counter in _counters:
        counter(host, amount)


def listen(
    listener: Callable[[str, str], None], counter: Callable[[str, Amount], None] | None = None
) -> Callable[[], None]:
    """Call `listener(host, text)` at every report and `counter(host, amount)` at every count; the returned function ends that."""
    _listeners.append(listener)
    if counter is not None:
        _counters.append(counter)

    def stop() -> None:
        _listeners.remove(listener)
        if counter is not None:
            _counters.remove(counter)

    return stop
