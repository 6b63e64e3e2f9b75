"""Pure functions of an inventory's sections, computed once for all hosts that share a section.

The loader gives hosts with the same section the same frozen object, so an object's identity stands for its content; it is kept alive
as long as the answer is. All else counts by its value.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any, ParamSpec, TypeVar, cast

from pydantic import BaseModel

from difyfleet.secrets import Secret

P = ParamSpec("P")
R = TypeVar("R")
_PLAIN = (
    str,
    int,
    float,
    bytes,
    type(None),
    Secret,
)  # bool is an int, but 1 and True are rendered differently


class _Same:
    """A frozen model or dataclass, equal to itself only."""

    __slots__ = ("model",)

    def __init__(self, model: Any) -> None:
        self.model = model

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and self.model is other.model

    def __hash__(self) -> int:
        return id(self.model)


def once(most: int) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Decorator: the function is asked once for equal arguments. Its answer is shared, so it must not be changed by who gets it.

    Arguments may be plain values, secrets, frozen models and dataclasses, and lists, tuples and dicts of these; with others it is asked each time.

    Args:
        most: answers that are kept.
    """

    def decorator(function: Callable[P, R]) -> Callable[P, R]:
        @functools.lru_cache(maxsize=most)
        def known(key: _Call) -> R:
            args, kwargs = key.taken()
            return function(*args, **kwargs)

        @functools.wraps(function)
        def asked(*args: P.args, **kwargs: P.kwargs) -> R:
            try:
                key = _Call(_key((args, kwargs)), args, kwargs)
            except TypeError:
                return function(*args, **kwargs)
            return known(key)

        return cast(Callable[P, R], asked)

    return decorator


class _Call:
    """The arguments of one call, compared by their key. Once answered, only the key is kept."""

    __slots__ = ("_arguments", "_hash", "_key")

    def __init__(self, key: Any, args: Any, kwargs: Any) -> None:
        self._key, self._hash, self._arguments = key, hash(key), (args, kwargs)

    def taken(self) -> tuple[Any, Any]:
        arguments, self._arguments = self._arguments, ((), {})
        return arguments

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Call) and bool(self._key == other._key)

    def __hash__(self) -> int:
        return self._hash


def _key(value: Any) -> Any:
    """What stands for a value: equal for equal values only.

    Raises:
        TypeError: a kind of value that cannot be told by its content.
    """
    kind = type(value)
    if kind in _PLAIN:
        return value if kind is str else (kind, value)
    if isinstance(value, BaseModel) and value.model_config.get("frozen"):
        return _Same(value)
    if hasattr(kind, "__dataclass_params__") and kind.__dataclass_params__.frozen:
        return _Same(value)
    if isinstance(value, Mapping):
        return dict, *((key, _key(one)) for key, one in value.items())
    if kind in (list, tuple):
        return kind, *map(_key, value)
    if kind is bool:
        return kind, value
    raise TypeError(f"a {kind.__name__} is not told by its content")
