"""pyinfra's hot spots on the controller, mended from outside: docs/upstream/ holds the same as patches for pyinfra itself.

`all_global_arguments()` evaluates the type hints of a constant TypedDict anew for every operation and every fact: it is replaced by its own
first answer. `pop_global_arguments()` goes through all of a host's data for each of 31 names that are hardly ever there: it is replaced
by one that looks once which are. If pyinfra is another than the one this was written for, nothing is touched.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from importlib.metadata import version
from types import ModuleType
from typing import Any

import pyinfra.api.arguments
import pyinfra.api.deploy
import pyinfra.api.facts
import pyinfra.api.operation
from pyinfra import logger
from pyinfra.api.exceptions import ArgumentTypeError
from pyinfra.api.host import extract_callable_datas
from pyinfra.api.util import raise_if_bad_type
from pyinfra.context import ctx_config

KNOWN = ("3.10.0",)
_ALL, _POP = "all_global_arguments", "pop_global_arguments"
# by name, since pyinfra.api.deploy and pyinfra.api.operation as attributes are the decorators
_USED = {
    _ALL: ("pyinfra.api.arguments", "pyinfra.api.facts"),
    _POP: ("pyinfra.api.arguments", "pyinfra.api.deploy", "pyinfra.api.facts", "pyinfra.api.operation"),
}
_PARAMETERS = {_ALL: [], _POP: ["state", "host", "kwargs"]}


def install() -> bool:
    """Mend what can be mended; once is enough, more does no harm. Whether all of it is mended."""
    return _mend(_ALL, _asked_once) and _mend(_POP, _only_what_is_there)


def stock(name: str) -> Any:
    """pyinfra's own function of this name, mended or not."""
    now = getattr(pyinfra.api.arguments, name, None)
    return getattr(now, "_difyfleet", now)


def _mend(name: str, mended: Callable[[Any], Any]) -> bool:
    modules = [sys.modules[module] for module in _USED[name]]
    original = getattr(modules[0], name, None)
    if stock(name) is not original:
        return True
    why = _unlike(name, original, modules)
    if why is not None:
        logger.debug("pyinfra's global arguments are looked up each time: %s", why)
        return False
    function = mended(original)
    function._difyfleet = original
    for module in modules:
        setattr(module, name, function)
    return True


def _unlike(name: str, original: Any, modules: list[ModuleType]) -> str | None:
    """What is other than in the pyinfra that this was written for."""
    if (found := version("pyinfra")) not in KNOWN:
        return f"pyinfra {found} is not known here"
    if not inspect.isfunction(original) or list(inspect.signature(original).parameters) != _PARAMETERS[name]:
        return f"{name} is not the function it was"
    if any(getattr(module, name, None) is not original for module in modules):
        return f"{name} is not used where it was"
    if name == _ALL and original() != original():
        return f"{name} does not give the same twice"
    return None


def _asked_once(original: Callable[[], list[Any]]) -> Callable[[], list[Any]]:
    arguments = original()

    def all_global_arguments() -> list[Any]:
        return list(arguments)

    return all_global_arguments


def _only_what_is_there(original: Any) -> Callable[..., Any]:
    metas = pyinfra.api.arguments.all_argument_meta
    table = [
        (key, metas[key].default, metas[key].handler, kind)
        for key, kind in pyinfra.api.arguments.all_global_arguments()
    ]
    names = frozenset(key for key, *_ in table)

    def pop_global_arguments(state: Any, host: Any, kwargs: dict[str, Any]) -> tuple[Any, list[str]]:
        """As pyinfra's own: from the call, the deploy around it, the host's data, the configuration, in this order."""
        config = (ctx_config.get() if ctx_config.isset() else None) or state.config
        around = host.current_deploy_kwargs or {}
        data = host.data
        there = {key for part in extract_callable_datas(data.datas) for key in part if key in names}
        arguments: dict[str, Any] = {}
        found: list[str] = []
        for key, default_of, handler, kind in table:
            default = getattr(data, key) if key in there else default_of(config)
            if key in kwargs:
                found.append(key)
                value = kwargs.pop(key)
            else:
                value = around.get(key, default)
            if handler:
                value = handler(config, value)
            if value != default:
                raise_if_bad_type(value, kind, ArgumentTypeError, f"Invalid argument `{key}`:")
            arguments[key] = value
        return arguments, found

    return pop_global_arguments
