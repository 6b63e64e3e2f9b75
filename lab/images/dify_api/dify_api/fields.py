"""Fields of a JSON body, checked in order: as in the real server only the first bad one is reported."""

from __future__ import annotations

import re
from collections.abc import Callable
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
