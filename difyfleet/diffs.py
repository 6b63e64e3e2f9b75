"""Diffs for people that never show a secret: known values are masked by value, secret-looking keys by name."""

from __future__ import annotations

import difflib
import re

from difyfleet.secrets import MASK, mask

_KEY = re.compile(
    r"^(?P<head>[-+ ]?\s*[\"']?(?P<key>[A-Za-z0-9_.-]*"
    r"(?:password|passwd|secret|token|api_?key|allowed_keys|private_key|broker_url|credential)[A-Za-z0-9_.-]*)[\"']?\s*[=:]\s*)(?P<value>\S.*)$",
    re.IGNORECASE,
)


def mask_line(line: str) -> str:
    """One line of text with known secret values, and the value of any secret-looking key, replaced."""
    line = mask(line)
    match = _KEY.match(line)
    if match and match["value"] not in ("", '""', "''"):
        return f"{match['head']}{MASK}"
    return line


def unified(old: str | None, new: str | None, path: str, *, opaque: bool = False) -> str:
    """A unified diff of two texts, secrets masked.

    Args:
        old: text on the host; None = no such file.
        new: text wanted; None = to be removed.
        path: shown in the header.
        opaque: never show content (keys, binary), only that it differs.
    """
    if opaque:
        return (
            f"{path}: content differs (not shown)"
            if old is not None
            else f"{path}: absent (content not shown)"
        )
    lines = difflib.unified_diff(
        [] if old is None else old.splitlines(),
        [] if new is None else new.splitlines(),
        "/dev/null" if old is None else path,
        "/dev/null" if new is None else path,
        lineterm="",
    )
    return "\n".join(mask_line(line) for line in lines)
