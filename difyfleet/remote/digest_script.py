"""One digest of many answers, made the same way on both sides: by the host of what it answers now, by the controller of what a plan was made
from. Python >= 3.7, nothing but the standard library.
"""

from __future__ import annotations

from difyfleet.light_script import sha256

TYPE_CHECKING = False  # typing itself is not imported: it costs more than a question
if TYPE_CHECKING:
    from collections.abc import Sequence


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


def of_all(answers: list[bytes]) -> str:
    """Digest of digests in their order, as hexadecimal digits."""
    return str(sha256(b"".join(answers)).hexdigest())
