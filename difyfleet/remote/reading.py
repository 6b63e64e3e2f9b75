"""What is a read: what runs inside a fact, or inside `reading()`. All else counts as a change (docs/decisions/0013)."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import Any

import pyinfra.api.host

_local = threading.local()  # greenlet-local once gevent has patched threading


def is_reading() -> bool:
    """Whether the running code has declared that it only reads."""
    return getattr(_local, "depth", 0) > 0


@contextlib.contextmanager
def reading() -> Iterator[None]:
    """Commands and requests inside are journalled as reads. For POST requests that only ask, and for polling."""
    _local.depth = getattr(_local, "depth", 0) + 1
    try:
        yield
    finally:
        _local.depth -= 1


def _mark_facts_as_reads() -> None:
    """Have pyinfra's Host.get_fact run inside reading(). It looks `get_fact` up in its module, so that is where the wrapper goes."""
    module = pyinfra.api.host
    original = module.get_fact
    if getattr(original, "_difyfleet", False):
        return

    def get_fact(*args: Any, **kwargs: Any) -> Any:
        with reading():
            return original(*args, **kwargs)

    get_fact._difyfleet = True  # type: ignore[attr-defined]
    module.get_fact = get_fact


_mark_facts_as_reads()
