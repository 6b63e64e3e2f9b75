"""Import this before anything that opens sockets: pyinfra runs on gevent."""

from __future__ import annotations

import contextlib
import functools
import sys
from collections.abc import Iterator
from importlib import metadata
from typing import Any

from gevent import monkey


@contextlib.contextmanager
def _plugins_looked_up_once() -> Iterator[None]:
    """gevent goes through all installed packages, 4 ms, for each of the 25 modules that it patches."""
    original = metadata.entry_points
    everything = functools.lru_cache(maxsize=1)(original)

    def entry_points(**which: Any) -> Any:
        return everything().select(**which)

    metadata.entry_points = entry_points
    try:
        yield
    finally:
        metadata.entry_points = original


if not monkey.is_module_patched("socket"):
    # ssl imported earlier (by requests in another program) only matters for programs that then use TLS from both worlds
    with _plugins_looked_up_once():
        monkey.patch_all(ssl="ssl" not in sys.modules)
