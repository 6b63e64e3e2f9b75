"""pyinfra's hot spots on the controller, mended from outside: docs/upstream/ holds the same as patches for pyinfra itself.

Each is one function that does the same work again for every host, operation or fact. It is replaced by one that gives the same with
less. If pyinfra is another than the one this was written for, nothing is touched.
"""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable
from importlib.metadata import version
from typing import Any, NamedTuple

import pyinfra.api.arguments
import pyinfra.api.connectors
import pyinfra.api.deploy
import pyinfra.api.facts
import pyinfra.api.inventory
import pyinfra.api.operation
from pyinfra import logger
from pyinfra.api.exceptions import ArgumentTypeError
from pyinfra.api.host import extract_callable_datas
from pyinfra.api.util import raise_if_bad_type
from pyinfra.context import ctx_config

KNOWN = ("3.10.0",)


class Mend(NamedTuple):
    """One function, by name.

    Attributes:
        modules: where it is used, below pyinfra.api, its own first. (As attributes of pyinfra.api, deploy and operation are decorators.)
        parameters: that it has.
        mended: makes its replacement of it.
    """

    name: str
    modules: tuple[str, ...]
    parameters: tuple[str, ...]
    mended: Callable[[Any], Any]

    def places(self) -> list[Any]:
        return [sys.modules[f"pyinfra.api.{module}"] for module in self.modules]


def install() -> bool:
    """Mend what can be mended; once is enough, more does no harm. Whether all of it is mended."""
    done = [_install(mend) for mend in MENDS]  # the rest also where one of them cannot be
    return all(done)


def stock(name: str) -> Any:
    """pyinfra's own function of this name, mended or not."""
    mend = next(mend for mend in MENDS if mend.name == name)
    now = getattr(mend.places()[0], name, None)
    return getattr(now, "_difyfleet", now)


def _install(mend: Mend) -> bool:
    original = getattr(mend.places()[0], mend.name, None)
    if stock(mend.name) is not original:
        return True
    why = _unlike(mend, original)
    if why is not None:
        logger.debug("pyinfra takes more time than it need: %s", why)
        return False
    function = mend.mended(original)
    function._difyfleet = original
    for module in mend.places():
        setattr(module, mend.name, function)
    return True


def _unlike(mend: Mend, original: Any) -> str | None:
    """What is other than in the pyinfra that this was written for."""
    if (found := version("pyinfra")) not in KNOWN:
        return f"pyinfra {found} is not known here"
    if not inspect.isfunction(original) or tuple(inspect.signature(original).parameters) != mend.parameters:
        return f"{mend.name} is not the function it was"
    if any(getattr(module, mend.name, None) is not original for module in mend.places()):
        return f"{mend.name} is not used where it was"
    if mend.name == "all_global_arguments" and original() != original():
        return f"{mend.name} does not give the same twice"
    return None


def _asked_once(original: Callable[[], Any]) -> Callable[[], Any]:
    """For a function whose answer is constant: the type hints of a TypedDict, the connectors among all installed packages."""
    answer: list[Any] = []

    def known() -> Any:
        if not answer:
            answer.append(original())
        return answer[0].copy()

    return known


def _only_what_is_there(original: Any) -> Callable[..., Any]:
    """For pop_global_arguments(), which goes through all of a host's data, and makes the default, for each of its names every time."""
    metas = pyinfra.api.arguments.all_argument_meta
    kinds = dict(pyinfra.api.arguments.all_global_arguments())
    handlers = {key: handler for key in kinds if (handler := metas[key].handler) is not None}
    last: tuple[Any, dict[str, Any], list[str]] = None, {}, []

    def defaults_of(config: Any) -> dict[str, Any]:
        nonlocal last
        before, defaults, fresh = last
        if before != vars(config):
            defaults = {key: metas[key].default(config) for key in kinds}
            fresh = [key for key, value in defaults.items() if isinstance(value, list | dict)]
            last = dict(vars(config)), defaults, fresh
        return {**defaults, **{key: metas[key].default(config) for key in fresh}}

    def pop_global_arguments(state: Any, host: Any, kwargs: dict[str, Any]) -> tuple[Any, list[str]]:
        """As pyinfra's own: from the call, the deploy around it, the host's data, the configuration, in this order."""
        config = (ctx_config.get() if ctx_config.isset() else None) or state.config
        defaults = defaults_of(config)
        for key in {key for part in extract_callable_datas(host.data.datas) for key in part if key in kinds}:
            defaults[key] = getattr(host.data, key)
        around = host.current_deploy_kwargs or {}
        if not around.keys() <= kinds.keys():
            around = {key: value for key, value in around.items() if key in kinds}
        arguments = {**defaults, **around}
        found = [key for key in kinds if key in kwargs]
        for key in found:
            arguments[key] = kwargs.pop(key)
        for key in [key for key in kinds if arguments[key] is not defaults[key] or key in handlers]:
            value, default, kind = arguments[key], defaults[key], kinds[key]
            if key in handlers:
                arguments[key] = value = handlers[key](config, value)
            if type(value) is not kind and value != default:
                raise_if_bad_type(value, kind, ArgumentTypeError, f"Invalid argument `{key}`:")
        return arguments, found

    return pop_global_arguments


def _signatures_kept(original: Any) -> Callable[..., Any]:
    """For getcallargs(), which reads a function's signature anew each time."""

    @functools.lru_cache(maxsize=1024)
    def signature(function: Any) -> inspect.Signature | None:
        found = inspect.signature(function)
        kinds = {parameter.kind for parameter in found.parameters.values()}
        named = {inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY}
        return found if kinds <= named else None

    def getcallargs(function: Any, /, *args: Any, **kwargs: Any) -> dict[str, Any]:
        plain = getattr(function, "__func__", None)
        known = signature(plain) if inspect.isfunction(plain) and not args else None
        if known is None:
            return dict(original(function, *args, **kwargs))
        try:
            bound = known.bind(function.__self__, **kwargs)
        except TypeError:
            return dict(original(function, **kwargs))  # says it in its own words
        bound.apply_defaults()
        return {next(iter(bound.arguments)): function.__self__, **kwargs, **bound.arguments}

    return getcallargs


MENDS = (
    Mend("all_global_arguments", ("arguments", "facts"), (), _asked_once),
    Mend(
        "pop_global_arguments",
        ("arguments", "deploy", "facts", "operation"),
        ("state", "host", "kwargs"),
        _only_what_is_there,
    ),
    Mend("get_all_connectors", ("connectors", "inventory"), (), _asked_once),
    Mend("getcallargs", ("facts",), ("func", "positional", "named"), _signatures_kept),
)
