"""pyinfra's hot spots on the controller, mended from outside: docs/upstream/ holds the same as patches for pyinfra itself.

`all_global_arguments()` evaluates the type hints of a constant TypedDict anew for every operation and every fact. It is replaced by its own
first answer. If pyinfra is another than the one this was written for, nothing is touched.
"""

from __future__ import annotations

import inspect
from importlib.metadata import version
from types import ModuleType
from typing import Any

import pyinfra.api.arguments
import pyinfra.api.facts
from pyinfra import logger

KNOWN = ("3.10.0",)
_NAME = "all_global_arguments"


def install() -> bool:
    """Mend what can be mended; once is enough, more does no harm. Whether it is mended."""
    modules = (pyinfra.api.arguments, pyinfra.api.facts)
    original = getattr(modules[0], _NAME, None)
    if getattr(original, "_difyfleet", False):
        return True
    why = _unlike(original, modules)
    if why is not None:
        logger.debug("pyinfra's global arguments are looked up each time: %s", why)
        return False
    arguments: list[Any] = original()  # type: ignore[misc]

    def all_global_arguments() -> list[Any]:
        return list(arguments)

    all_global_arguments._difyfleet = True  # type: ignore[attr-defined]
    for module in modules:
        setattr(module, _NAME, all_global_arguments)
    return True


def _unlike(original: Any, modules: tuple[ModuleType, ...]) -> str | None:
    """What is other than in the pyinfra that this was written for."""
    if (found := version("pyinfra")) not in KNOWN:
        return f"pyinfra {found} is not known here"
    if not inspect.isfunction(original) or inspect.signature(original).parameters:
        return f"{_NAME} is not the function it was"
    if any(getattr(module, _NAME, None) is not original for module in modules):
        return f"{_NAME} is not used where it was"
    return None if original() == original() else f"{_NAME} does not give the same twice"
