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
def plugins_looked_up_once(module: Any = metadata) -> Iterator[None]:
    """Inside, a module that asks for plugins again and again goes through all installed packages once, 4 ms. gevent does so for each of
    25 modules that it patches, pyinfra for each host of an inventory.

    Args:
        module: the one that has `entry_points`.
    """
    original = module.entry_points
    everything = functools.lru_cache(maxsize=1)(original)

    def entry_points(**which: Any) -> Any:
        return everything().select(**which)

    module.entry_points = entry_points
    try:
        yield
    finally:
        module.entry_points = original


if not monkey.is_module_patched("socket"):
    # ssl imported earlier (by requests in another program) only matters for programs that then use TLS from both worlds
    with plugins_looked_up_once():
        monkey.patch_all(ssl="ssl" not in sys.modules)
