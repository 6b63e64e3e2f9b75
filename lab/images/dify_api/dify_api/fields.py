"""Fields of a JSON body, checked in order: as in the real server only the first bad one is reported."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from .commands import PASSWORD
from .http import FieldError, MissingField, Request

_EMAIL = re.compile(r"^[\w\.!#$%&'*+\-/=?^_`{|}~]+@([\w-]+\.)+[\w-]{2,}$")
Check = Callable[[str], str]


def email(value: str) -> str:
    """An e-mail address."""
    if not _EMAIL.match(value):
        raise ValueError(f"{value} is not a valid email.")
    return value


def password(value: str) -> str:
    """At least 8 characters with a letter and a digit; login applies the rule too."""
    if not PASSWORD.match(value):
        raise ValueError("Password must contain letters and numbers, and the length must be greater than 8.")
    return value


def text(longest: int) -> Check:
    """A string of at most so many characters."""

    def check(value: str) -> str:
        if len(value) > longest:
            raise ValueError(f"Invalid argument: {value}. argument cannot exceed length {longest}")
        return value

    return check


def parse(request: Request, **checks: Check) -> dict[str, str]:
    """Required fields of the JSON body.

    :raises ApiError: as :meth:`Request.json`, and 400 for the first field that is missing or refused.
    """
    body: Any = request.json()
    values = {}
    for name, check in checks.items():
        value = body.get(name) if isinstance(body, dict) else None
        if value is None:
            raise MissingField(name)
        try:
            values[name] = check(str(value))
        except ValueError as error:
            raise FieldError(name, str(error)) from None
    return values


@dataclass(frozen=True)
class Argument:
    """One argument of a call.

    :param convert: turns the given value into what the handler gets; a ValueError's text becomes the answer's message.
    :param required: a missing or null value is refused.
    """

    convert: Callable[[Any], Any] = lambda value: value
    required: bool = False
    default: Any = None


def string(value: Any) -> str:
    """Any text; numbers become text."""
    if isinstance(value, dict | list | bool):
        raise ValueError("Missing required parameter in the JSON body")
    return str(value)


def mapping(value: Any) -> dict[str, Any]:
    """A JSON object."""
    if not isinstance(value, dict):
        raise ValueError(f"could not convert {value!r} to a dict")
    return value


def array(value: Any) -> list[Any]:
    """A JSON list; a single value counts as a list of one."""
    return value if isinstance(value, list) else [value]


def boolean(value: Any) -> bool:
    """true, false, or such a word."""
    if isinstance(value, bool):
        return value
    words = {"true": True, "1": True, "false": False, "0": False}
    if str(value).lower() not in words:
        raise ValueError(f"Invalid literal for boolean(): {value}")
    return words[str(value).lower()]


def number(low: int, high: int) -> Callable[[Any], int]:
    """An integer in a range, both ends included."""

    def convert(value: Any) -> int:
        try:
            count = int(value)
        except (TypeError, ValueError):
            raise ValueError(f"{value} is not a valid integer") from None
        if not low <= count <= high:
            raise ValueError(f"Invalid argument: {value}. argument must be within the range {low} - {high}")
        return count

    return convert


def choice(*words: str) -> Callable[[Any], str]:
    """One of some words."""

    def convert(value: Any) -> str:
        if value not in words:
            raise ValueError(f"{value} is not a valid choice")
        return str(value)

    return convert


def identifier(value: Any) -> str:
    """A UUID; an empty text passes, as where it means "a new one"."""
    if value == "":
        return ""
    try:
        return str(uuid.UUID(str(value)))
    except ValueError:
        raise ValueError(f"{value} is not a valid uuid.") from None


def read(source: Mapping[str, Any], where: str, arguments: Mapping[str, Argument]) -> dict[str, Any]:
    """Convert the arguments of one source, in order.

    :raises FieldError: for the first that is missing or wrong.
    """
    values = {}
    for name, argument in arguments.items():
        given = source.get(name)
        if given is None:
            if argument.required:
                raise MissingField(name, where)
            values[name] = argument.default
            continue
        try:
            values[name] = argument.convert(given)
        except ValueError as error:
            raise FieldError(name, str(error)) from None
    return values


def body(request: Request, **arguments: Argument) -> dict[str, Any]:
    """Arguments of the JSON body; see :func:`read`."""
    given = request.json()
    return read(given if isinstance(given, dict) else {}, "JSON body", arguments)


def query(request: Request, **arguments: Argument) -> dict[str, Any]:
    """Arguments of the query string; see :func:`read`."""
    return read(request.query, "query string", arguments)
