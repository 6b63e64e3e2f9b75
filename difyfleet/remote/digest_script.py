"""One digest of many answers, made the same way on both sides: by the host of what it answers now, by the controller of what a plan was made
from. Python >= 3.7, nothing but the standard library.
"""

from __future__ import annotations

from difyfleet.light_script import sha256


def of_answer(status: int, stdout: bytes | bytearray, stderr: bytes | bytearray) -> bytes:
    """Digest of one answer: exit status and both outputs."""
    head = b"%d %d %d\n" % (status, len(stdout), len(stderr))
    found: bytes = sha256(head + bytes(stdout) + bytes(stderr)).digest()
    return found


def of_all(answers: list[bytes]) -> str:
    """Digest of digests in their order, as hexadecimal digits."""
    return str(sha256(b"".join(answers)).hexdigest())
