"""Secrets have a type: a value that never shows itself, and a mask for text that might hold one."""

from __future__ import annotations

import itertools
import re
import secrets as _random
from typing import Any

MASK = "********"
_GRAM = 8  # characters: a text that has none of the long secrets' pieces at every 8th place has none of them, however many there are
_MOST_CLEAN, _LONGEST_CLEAN = 512, 65536  # texts, and characters of one, that are remembered
_known: dict[str, None] = {}  # in the order in which they became known
_short: set[str] = set()  # too short to have a whole piece at one of these places
_pieces: dict[str, set[str]] = {}  # piece -> the secrets it is of
_clean: dict[
    str, int
] = {}  # text -> how many secrets are known not to be in it: the same commands go to every host


class Secret:
    """A value that prints as asterisks everywhere. `reveal()` is the only way to the text.

    Every value is remembered so that `mask()` can take it out of any text on its way to a person or a file.
    Values shorter than 4 characters are not masked by value (they would blot out ordinary text).
    """

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value
        if len(value) >= 4 and value not in _known:
            _remember(value)

    def reveal(self) -> str:
        return self._value

    def __repr__(self) -> str:
        return f"Secret({MASK})"

    def __str__(self) -> str:
        return MASK

    def __format__(self, spec: str) -> str:
        return MASK

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and _random.compare_digest(
            self._value.encode(), other._value.encode()
        )

    def __hash__(self) -> int:
        return hash(self._value)

    def __copy__(self) -> Secret:
        return self  # pyinfra copies host data at every read

    def __deepcopy__(self, memo: object) -> Secret:
        return self

    def __reduce__(self) -> Any:
        raise TypeError("a Secret is not pickled")


def generate(nbytes: int = 24) -> Secret:
    """A new random secret of 2 * nbytes hex digits (hex: no quoting and no percent-encoding trouble in .env, URLs or YAML)."""
    return Secret(_random.token_hex(nbytes))


def _remember(value: str) -> None:
    _known[value] = None
    if len(value) < 2 * _GRAM - 1:
        _short.add(value)
        return
    for start in range(_GRAM):
        _pieces.setdefault(value[start : start + _GRAM], set()).add(value)


def mask(text: str) -> str:
    """Text with every known secret value replaced by asterisks, longest first."""
    there = _secrets_in(text)
    if there:
        return re.sub("|".join(map(re.escape, sorted(there, key=len, reverse=True))), MASK, text)
    if len(text) <= _LONGEST_CLEAN:
        if len(_clean) >= _MOST_CLEAN:
            _clean.clear()
        _clean[text] = len(_known)
    return text


def _secrets_in(text: str) -> set[str]:
    clean_of = _clean.get(text)
    if clean_of is not None:
        return {value for value in itertools.islice(_known, clean_of, None) if value in text}
    there = {value for value in _short if value in text}
    pieces = {text[start : start + _GRAM] for start in range(0, len(text), _GRAM)}
    for piece in _pieces.keys() & pieces:
        there.update(value for value in _pieces[piece] if value in text)
    return there
