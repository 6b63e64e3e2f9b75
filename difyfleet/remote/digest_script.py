"""One digest of many answers, made the same way on both sides: by the host of what it answers now, by the controller of what a plan was made
from. Python >= 3.7, nothing but the standard library.
"""

from __future__ import annotations

from difyfleet.light_script import dumps, loads, sha256

TYPE_CHECKING = False  # typing itself is not imported: it costs more than a question
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

# keys of Dify's answers that change by use alone (documents, API keys), as seen between two looks
VOLATILE = ("hit_count", "last_used_at")
_VOLATILE = tuple(name.encode() for name in VOLATILE)


def of_answer(call: Sequence[str], status: int, stdout: bytes, stderr: bytes) -> bytes:
    """Digest of one answer: exit status and both outputs.

    Args:
        call: of the read (host_calls.py). Where its module has a function FUNCTION_in_short (bytes -> bytes), the standard output counts by what
            that gives: all that a plan could ever turn on, without what changes all the time.
    """
    if call:
        in_short = getattr(__import__(call[0], fromlist=["*"]), f"{call[1]}_in_short", None)
        stdout = in_short(stdout) if in_short is not None else stdout
    head = b"%d %d %d\n" % (status, len(stdout), len(stderr))
    found: bytes = sha256(head + stdout + stderr).digest()
    return found


def of_response(status: int, body: bytes, signs_in: bool) -> bytes | None:
    """Digest of the answer to an HTTP read; None = it says nothing that lasts, a service that is not up or a request that was not made.

    Args:
        signs_in: what counts is that it was let in; the token is another one each time.
    """
    if not (200 <= status < 300 or 400 <= status < 500):
        return None
    if signs_in:
        body = b""
    elif any(name in body for name in _VOLATILE):
        body = dumps(_lasting(loads(body.decode()))).encode()
    found: bytes = sha256(b"%d %d\n" % (status, len(body)) + body).digest()
    return found


def _lasting(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _lasting(each) for name, each in value.items() if name not in VOLATILE}
    return [_lasting(each) for each in value] if isinstance(value, list) else value


def of_all(answers: list[bytes]) -> str:
    """Digest of digests in their order, as hexadecimal digits."""
    return str(sha256(b"".join(answers)).hexdigest())
