"""Runs ON THE HOST (Python >= 3.7, standard library): JSON and SHA-256 without what `json` and `hashlib` import, 8 and 3 ms of a host's time."""

from __future__ import annotations

import sys

TYPE_CHECKING = False  # typing itself is not imported: it costs more than a question
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

LARGE = 1 << 20  # bytes from which on OpenSSL's hash is worth its import


class _Plain:
    """How `json` reads by default."""

    strict = True
    object_hook = None
    object_pairs_hook = None
    parse_float = float
    parse_int = int
    parse_constant = float
    memo: dict[str, str] = {}  # noqa: RUF012 - one for all


def loads(text: str) -> Any:
    """What a JSON text says.

    Raises:
        ValueError: it is none.
    """
    if _scan is not None:
        try:
            found, end = _scan(text, len(text) - len(text.lstrip(" \t\n\r")))
            if not text[end:].strip(" \t\n\r"):
                return found
        except (
            StopIteration,
            ValueError,
            SystemError,
        ):  # the latter where json, which has the words for it, is not imported
            pass
    import json

    return json.loads(text)


def dumps(value: Any) -> str:
    """A value as `json.dumps` writes it, in one line."""
    if _encode is None:
        import json

        return json.dumps(value)
    return "".join(_encode(value, 0))


def compact(value: Any) -> str:
    """A value as Go's encoder writes it when it leaves HTML alone, in one line.

    Raises:
        ValueError: it holds one of the two characters that Go escapes nevertheless.
    """
    if _encode_compact is None:
        import json

        text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    else:
        text = "".join(_encode_compact(value, 0))
    if "\u2028" in text or "\u2029" in text or "\x7f" in text:
        raise ValueError("not as Go writes it")
    return text


def _refuse(value: Any) -> None:
    raise TypeError(f"{type(value).__name__} has no place in JSON")


_scan: Callable[[str, int], tuple[Any, int]] | None = None
_encode: Callable[[Any, int], tuple[str, ...]] | None = None
_encode_compact: Callable[[Any, int], tuple[str, ...]] | None = None
try:  # the parts in C that `json` itself uses
    from _json import encode_basestring, encode_basestring_ascii, make_encoder, make_scanner

    _scan = make_scanner(_Plain)  # type: ignore[arg-type]
    _encode = make_encoder({}, _refuse, encode_basestring_ascii, None, ": ", ", ", False, False, True)
    _encode_compact = make_encoder({}, _refuse, encode_basestring, None, ":", ",", False, False, True)
except (ImportError, TypeError, AttributeError):
    pass


def sha256(data: bytes | bytearray = b"") -> Any:
    """A hash as hashlib's."""
    if len(data) < LARGE and "hashlib" not in sys.modules and _small is not None:
        return _small(data)
    import hashlib

    return hashlib.sha256(data)


_small: Callable[[bytes | bytearray], Any] | None = None
for _name in ("_sha256", "_sha2"):  # before and after 3.12; a distribution may leave both out
    try:
        _small = __import__(_name).sha256
        break
    except (ImportError, AttributeError):
        pass
