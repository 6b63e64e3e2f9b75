"""Words about work under way (a pull at 43 %), from wherever it happens to whoever shows it."""

from __future__ import annotations

from collections.abc import Callable

_listeners: list[Callable[[str, str], None]] = []


def report(host: str, text: str) -> None:
    """Say what a host is busy with. Nobody listening = nothing happens."""
    for listener in _listeners:
        listener(host, text)


def listen(listener: Callable[[str, str], None]) -> Callable[[], None]:
    """Call `listener(host, text)` at every report; the returned function ends that."""
    _listeners.append(listener)
    return lambda: _listeners.remove(listener)
