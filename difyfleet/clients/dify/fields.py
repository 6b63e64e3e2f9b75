"""Lenient reading of Dify's answers: unknown fields are ignored, a missing one that we need is a ContractError with URL and field."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar, overload

from difyfleet.clients.dify.errors import ContractError

T = TypeVar("T")
_REQUIRED: Any = object()


class Fields:
    """One JSON object of an answer.

    Every reader takes the field's name and, for fields that may be absent or null, a default.

    Args:
        data: the object.
        where: method and path that answered it, for messages.
        path: where in the answer the object stands (`data[0].model`).

    Raises:
        ContractError: a needed field is missing, or has another type than the contract says.
    """

    def __init__(self, data: object, where: str, path: str = "") -> None:
        self.where = where
        self._path = path
        if not isinstance(data, Mapping):
            raise ContractError(
                f"{path or 'the answer'} is {_kind(data)}, not an object", where=where, field=path
            )
        self.raw: Mapping[str, Any] = data

    def has(self, name: str) -> bool:
        """Whether the field is there and not null."""
        return self.raw.get(name) is not None

    @overload
    def text(self, name: str) -> str: ...
    @overload
    def text(self, name: str, default: T) -> str | T: ...
    def text(self, name: str, default: Any = _REQUIRED) -> Any:
        return self._value(name, str, default)

    @overload
    def integer(self, name: str) -> int: ...
    @overload
    def integer(self, name: str, default: T) -> int | T: ...
    def integer(self, name: str, default: Any = _REQUIRED) -> Any:
        """A whole number. Dify gives some times as 1795417053.0, which is meant."""
        value = self._value(name, (int, float), default)
        return int(value) if isinstance(value, float) else value

    @overload
    def number(self, name: str) -> float: ...
    @overload
    def number(self, name: str, default: T) -> float | T: ...
    def number(self, name: str, default: Any = _REQUIRED) -> Any:
        value = self._value(name, (int, float), default)
        return float(value) if type(value) is int else value

    @overload
    def flag(self, name: str) -> bool: ...
    @overload
    def flag(self, name: str, default: T) -> bool | T: ...
    def flag(self, name: str, default: Any = _REQUIRED) -> Any:
        return self._value(name, bool, default)

    def object(self, name: str) -> Fields:
        return Fields(self._value(name, Mapping, _REQUIRED), self.where, self._at(name))

    def mapping(self, name: str) -> Mapping[str, Any]:
        """The object as it is; empty where it is absent or null."""
        value: Mapping[str, Any] = self._value(name, Mapping, {})
        return value

    def objects(self, name: str, *, optional: bool = False) -> list[Fields]:
        """A list of objects; `optional` reads absent and null as empty."""
        values = self._value(name, list, [] if optional else _REQUIRED)
        return [Fields(value, self.where, f"{self._at(name)}[{index}]") for index, value in enumerate(values)]

    def texts(self, name: str) -> tuple[str, ...]:
        """A list of texts; absent and null read as empty."""
        return tuple(str(value) for value in self._value(name, list, []))

    def _at(self, name: str) -> str:
        return f"{self._path}.{name}" if self._path else name

    def _value(self, name: str, kind: Any, default: Any) -> Any:
        value = self.raw.get(name)
        if value is None:
            if default is _REQUIRED:
                there = "null" if name in self.raw else "missing"
                raise ContractError(
                    f"field {self._at(name)} is {there} in the answer", where=self.where, field=self._at(name)
                )
            return default
        wrong = isinstance(value, bool) and kind is not bool  # bool is an int in Python, not in JSON
        if wrong or not isinstance(value, kind):
            raise ContractError(
                f"field {self._at(name)} is {_kind(value)} in the answer",
                where=self.where,
                field=self._at(name),
            )
        return value


def _kind(value: object) -> str:
    names = {
        dict: "an object",
        list: "a list",
        str: "a text",
        bool: "a truth value",
        int: "a number",
        float: "a number",
    }
    return names.get(type(value), "null" if value is None else type(value).__name__)
