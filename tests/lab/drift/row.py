"""A row of the drift matrix, and the usual ways to change a file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.lab.drift.hands import Hands


@dataclass(frozen=True)
class Row:
    """One managed attribute and one way to change it.

    Args:
        id: the attribute, and how it was changed.
        role: the role that must find it.
        round: with which others it is made.
        edit: shell script, run as root, or a function for what is changed through a service's own interface.
        old: words of the line that names what was found.
        new: words that name what is wanted: in the same line, or in a line of the same operation's diff.
        why: why there is no old, or no new value in words.
    """

    id: str
    role: str
    round: int
    edit: str | Callable[[Hands], Any]
    old: str
    new: str
    why: str = ""


# ---- how a file or folder is changed


def mode(number: int, role: str, path: str, wanted: str = "0644", found: str = "0666") -> Row:
    return Row(
        f"{path}: mode", role, number, f"chmod {found} {path}", f"{path}: mode {found}", f"wanted {wanted}"
    )


def owner(number: int, role: str, path: str) -> Row:
    edit = f"chown bin:bin {path}"
    return Row(f"{path}: owner", role, number, edit, f"{path}: owner bin:bin", "wanted root:root")


def gone(number: int, role: str, path: str) -> Row:
    why = "what is not there has no value; the whole new text is in the diff"
    return Row(f"{path}: removed", role, number, f"rm {path}", f"{path}: absent", "", why)


def changed(number: int, role: str, path: str, was: str, now: str) -> Row:
    """One line of a text file (without its indentation) made another; the diff holds both."""
    edit = f"grep -qF -- '{was}' {path} && sed -i 's|{was}|{now}|' {path}"
    return Row(f"{path}: {was}", role, number, edit, f"-{now}", f"+{was}")


def secret_mode(number: int, role: str, name: str) -> Row:
    path = f"/etc/difyfleet/secrets/{name}"
    return Row(
        f"{path}: mode",
        role,
        number,
        f"chmod 0644 {path}",
        f"{path}: mode 0644 root:root",
        "wanted 0600 root:root",
    )


def secret_owner(number: int, role: str, name: str) -> Row:
    path = f"/etc/difyfleet/secrets/{name}"
    return Row(
        f"{path}: owner",
        role,
        number,
        f"chown bin:bin {path}",
        f"{path}: mode 0600 bin:bin",
        "wanted 0600 root",
    )


def json_edit(path: str, statement: str) -> str:
    return f"""python3 - <<'E'
import json
d = json.load(open({path!r})); {statement}; json.dump(d, open({path!r}, "w"))
E"""
