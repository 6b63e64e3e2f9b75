"""The one GraphQL query that a vector store is asked: ``{Get{Class(arguments){properties _additional{...}}}}``."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

_TOKEN = re.compile(
    r'\s*(?:,\s*)*("(?:[^"\\]|\\.)*"|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?|[A-Za-z_]\w*|[{}()\[\]:])'
)


class QueryError(ValueError):
    """The query is not of this form."""


@dataclass
class Get:
    """A parsed query."""

    class_name: str
    arguments: dict[str, Any] = field(default_factory=dict)
    properties: list[str] = field(default_factory=list)
    additional: list[str] = field(default_factory=list)


class _Tokens:
    def __init__(self, text: str) -> None:
        self._tokens = []
        place = 0
        text = text.rstrip(" \n\t,")
        while place < len(text):
            match = _TOKEN.match(text, place)
            if match is None:
                raise QueryError(
                    f"Syntax Error GraphQL: unexpected character at {place}: {text[place : place + 20]!r}"
                )
            self._tokens.append(match[1])
            place = match.end()
        self._next = 0

    def peek(self) -> str:
        return self._tokens[self._next] if self._next < len(self._tokens) else ""

    def take(self, wanted: str = "") -> str:
        token = self.peek()
        if not token or (wanted and token != wanted):
            raise QueryError(f"Syntax Error GraphQL: expected {wanted or 'more'}, found {token or 'the end'}")
        self._next += 1
        return token

    def value(self) -> Any:
        """A value: text, number, word, list or object."""
        found = self.take()
        if found == "[":
            items = []
            while self.peek() != "]":
                items.append(self.value())
            self.take("]")
            return items
        if found == "{":
            return self.pairs("}")
        if found[0] == '"':
            return json.loads(found)
        if re.match(r"-?\d", found):
            return float(found) if re.search(r"[.eE]", found) else int(found)
        return {"true": True, "false": False, "null": None}.get(found, found)

    def pairs(self, end: str) -> dict[str, Any]:
        """``name: value`` up to an end, which is taken too."""
        found = {}
        while self.peek() != end:
            name = self.take()
            self.take(":")
            found[name] = self.value()
        self.take(end)
        return found


def parse(query: str) -> Get:
    """:raises ValueError: if it is another query."""
    tokens = _Tokens(query)
    for wanted in ("{", "Get", "{"):
        tokens.take(wanted)
    got = Get(tokens.take())
    if tokens.peek() == "(":
        tokens.take()
        got.arguments = tokens.pairs(")")
    tokens.take("{")
    while tokens.peek() != "}":
        name = tokens.take()
        if tokens.peek() == "{":
            tokens.take()
            while tokens.peek() != "}":
                got.additional.append(tokens.take())
            tokens.take("}")
        else:
            got.properties.append(name)
    for _ in range(3):
        tokens.take("}")
    if tokens.peek():
        raise QueryError(f"Syntax Error GraphQL: more after the end: {tokens.peek()}")
    return got


def matcher(where: dict[str, Any] | None) -> Callable[[dict[str, Any]], bool]:
    """The condition of a ``where`` filter: Equal, And, Or on texts.

    :raises ValueError: for another operator.
    """
    if not where:
        return lambda properties: True
    operator = where["operator"]
    if operator in ("And", "Or"):
        parts = [matcher(operand) for operand in where["operands"]]
        combine = all if operator == "And" else any
        return lambda properties: combine(part(properties) for part in parts)
    path = where["path"]
    name = path[0] if isinstance(path, list) else path
    wanted = next((value for key, value in where.items() if key.startswith("value")), None)
    if operator == "Equal":
        return lambda properties: properties.get(name) == wanted
    raise ValueError(f"operator {operator} is not in the lab's stand-in")
