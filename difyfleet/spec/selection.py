"""`--limit`: which hosts of an environment are meant."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from difyfleet.errors import SpecError

if TYPE_CHECKING:
    from difyfleet.spec.models import HostSpec


def selected(
    hosts: Sequence[HostSpec], groups: Mapping[str, Sequence[str]], limit: str | None, where: str
) -> tuple[HostSpec, ...]:
    """See Environment.select."""
    if limit is None:
        return tuple(hosts)
    words = [word.strip() for word in limit.split(",") if word.strip()]
    if not words:
        raise SpecError("--limit names no host", hint=f"--limit {hosts[0].name}" if hosts else None)
    chosen: set[str] = set()
    for word in words:
        chosen |= _meant_by(word, [host.name for host in hosts], groups, where)
    return tuple(host for host in hosts if host.name in chosen)


def _meant_by(word: str, names: list[str], groups: Mapping[str, Sequence[str]], where: str) -> set[str]:
    if word == "all":
        return set(names)
    if word in names:
        return {word}
    if word in groups:
        return set(groups[word])
    found = {name for name in names if fnmatchcase(name, word)}
    if found:
        return found
    known = [*names, *groups]
    close = difflib.get_close_matches(word, known, n=1)
    if any(character in word for character in "*?["):
        what = f"--limit {word}: the pattern fits no host"
    else:
        what = f"--limit {word}: there is no host and no group of this name" + (
            f"; did you mean {close[0]}?" if close else ""
        )
    shown = ", ".join(known[:20]) + (", ..." if len(known) > 20 else "")
    raise SpecError(what, where=where, hint=f"known names: {shown}")
