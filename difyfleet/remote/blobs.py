"""Blobs (files named by their SHA-256) into a store on the host: only those it lacks, resumable at any byte, proved on both sides.

The host's side is blobs_script.py, where the protocol is described. Each side keeps the hash of the blob so far and compares it with
the other's after every chunk, so a chunk is proved without being hashed twice.
"""

from __future__ import annotations

import hashlib
import json
import shlex
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from difyfleet.errors import HostError
from difyfleet.progress import report
from difyfleet.remote.lease import require_lease
from difyfleet.remote.pipe import Pipe, open_pipe

CHUNK = 8 << 20  # bytes, as in blobs_script.py
TRIES = 3  # in a row that bring nothing on
PAUSE = 2.0  # seconds before another try
_PIECE = 1 << 20
_ANSWER = 300.0  # seconds the host may take for a chunk
_HELLO = 1800.0  # seconds until it has hashed what is there of unfinished blobs
_SCRIPT = Path(__file__).with_name("blobs_script.py")


@dataclass(frozen=True)
class Blob:
    """One file to send.

    Args:
        hex: its SHA-256, 64 hex digits.
        size: bytes.
        open: gives it, seekable, from its beginning.
        source: where it is on the controller, for errors.
    """

    hex: str
    size: int
    open: Callable[[], BinaryIO]
    source: str


@dataclass
class Sent:
    """What a push has brought."""

    total: int = 0  # bytes of blobs that the host lacked at the beginning
    there: int = 0  # of them on the host now
    sent: int = 0  # bytes of blobs that were handed to the line, those sent again included
    seconds: float = 0.0
    via: str = ""  # ssh or paramiko; "" = nothing was sent
    tries: int = 0


class _Broken(Exception):
    """The line broke; another try may go on."""


@dataclass
class _Push:
    """One push on its way."""

    on: Any
    blobs: Mapping[str, Blob]
    moved: Callable[[int], None]
    done: Sent
    program: bool = True  # use ssh


def send(
    on: Any,
    root: str,
    blobs: Sequence[Blob],
    record: tuple[str, str],
    moved: Callable[[int], None] = lambda _: None,
) -> Sent:
    """Bring blobs into the host's store, then write a record beside it.

    Args:
        on: pyinfra's host.
        root: the store's folder on the host.
        blobs: those that the host lacks, each once.
        record: file name below root, and its text; written when all blobs are there.
        moved: called with the bytes of each chunk that the host has taken.

    Raises:
        HostError: the host cannot take them (its words), a file of the bundle is damaged, or the line broke TRIES times in a row.
        ConnectionLost: the connection to the host is gone.
    """
    push = _Push(on, {blob.hex: blob for blob in blobs}, moved, Sent(sum(blob.size for blob in blobs)))
    began, misses = time.monotonic(), 0
    while True:
        before = push.done.there
        push.done.tries += 1
        try:
            _attempt(push, root, record)
            push.done.seconds = time.monotonic() - began
            return push.done
        except _Broken as error:
            on.connector.require_connection(error)
            misses = 1 if push.done.there > before else misses + 1
            if misses >= TRIES:
                raise HostError(
                    f"the line broke: {error}",
                    where=on.name,
                    hint=f"run the same command again: it goes on where it was, at most {CHUNK >> 20} MiB are sent again",
                ) from error
            report(on.name, f"push: the line broke ({error}); going on")
            time.sleep(PAUSE)


def _attempt(push: _Push, root: str, record: tuple[str, str]) -> None:
    pipe, answer = _opened(push, root)
    try:
        whole = set(answer["whole"])
        lacking = [blob for name, blob in push.blobs.items() if name not in whole]
        push.done.there = sum(blob.size for name, blob in push.blobs.items() if name in whole)
        push.done.via = pipe.via
        waiting: deque[int] = deque()
        for blob in lacking:
            _send_blob(push, pipe, blob, answer["partial"].get(blob.hex, []), waiting)
        while waiting:
            _answered(push, pipe, waiting)
        name, text = record
        require_lease(push.on.connector)
        pipe.send(f"file {name} {len(text.encode())}\n".encode() + text.encode() + b"end\n")
        _expect(pipe, "done")
    except (OSError, EOFError) as error:
        raise _cause(pipe, error) from error
    finally:
        pipe.close()


def _opened(push: _Push, root: str) -> tuple[Pipe, dict[str, Any]]:
    """The receiver, and what it has."""
    require_lease(push.on.connector)
    job = {"root": root, "blobs": {blob.hex: blob.size for blob in push.blobs.values()}}
    script = f"exec python3 -c {shlex.quote(_SCRIPT.read_text())}"
    pipe = open_pipe(push.on, script, f"push {len(push.blobs)} blobs to {root}", program=push.program)
    try:
        pipe.send(json.dumps(job).encode() + b"\n")
        said = _expect(pipe, "difyfleet ", _HELLO)
        return pipe, json.loads(said.removeprefix("difyfleet "))
    except (OSError, EOFError) as error:
        cause = _cause(pipe, error)
        if pipe.no_login and push.program:
            push.program = (
                False  # a key with a passphrase, say: paramiko has got in, so it can do this as well
            )
            report(push.on.name, f"ssh cannot log in by itself ({cause}); going through paramiko")
            return _opened(push, root)
        raise cause from error


def _expect(pipe: Pipe, beginning: str, timeout: float = _ANSWER) -> str:
    """The next line that begins so; what login scripts say before is nobody's business.

    Raises:
        HostError: the program on the host says what is wrong.
    """
    while True:
        said = pipe.line(timeout)
        if said.startswith(beginning):
            return said
        if said.startswith("error "):
            raise HostError(said.removeprefix("error "), hint="run the same command again")


def _cause(pipe: Pipe, error: Exception) -> Exception:
    """Why a line broke: the program's own words, where it left some."""
    try:
        _expect(pipe, "difyfleet ", 5.0)
    except HostError as said:
        return said
    except (OSError, EOFError):
        pass
    return _Broken(pipe.words() or str(error) or type(error).__name__)


def _send_blob(push: _Push, pipe: Pipe, blob: Blob, points: list[list[Any]], waiting: deque[int]) -> None:
    with blob.open() as file:
        offset, digest = agreed(file, points)
        push.done.there += offset
        pipe.send(f"blob {blob.hex} {offset}\n".encode())
        while offset < blob.size:
            length = min(CHUNK - offset % CHUNK, blob.size - offset)
            require_lease(push.on.connector)
            pipe.send(b"chunk %d\n" % length)
            left = length
            while left:
                piece = file.read(min(_PIECE, left))
                if not piece:
                    raise HostError(
                        f"is shorter than the {blob.size} bytes it should have",
                        where=blob.source,
                        hint="the bundle is damaged: difyfleet bundle verify; copy it anew",
                    )
                digest.update(piece)
                before = pipe.sent
                try:
                    pipe.send(piece)
                finally:
                    push.done.sent += pipe.sent - before
                left -= len(piece)
            offset += length
            if offset == blob.size and digest.hexdigest() != blob.hex:
                raise HostError(
                    "its content has another SHA-256 than its name; nothing of it is used",
                    where=blob.source,
                    hint="the bundle is damaged: difyfleet bundle verify; copy it anew",
                )
            pipe.send(digest.hexdigest().encode() + b"\n")
            waiting.append(length)
            while sum(waiting) > CHUNK:
                _answered(push, pipe, waiting)


def _answered(push: _Push, pipe: Pipe, waiting: deque[int]) -> None:
    """Take the host's word for the oldest chunk."""
    _expect(pipe, "got ")
    size = waiting.popleft()
    push.done.there += size
    push.moved(size)


def agreed(file: BinaryIO, points: Sequence[Sequence[Any]]) -> tuple[int, Any]:
    """The last point at which the host's partial blob is the same as the file, and the hash up to there; the file stands there, too.

    Args:
        points: (offset, SHA-256 up to it), rising.
    """
    digest, at = hashlib.sha256(), 0
    best = (0, digest.copy())
    for offset, expected in points:
        while at < offset:
            piece = file.read(min(_PIECE, offset - at))
            if not piece:
                break
            digest.update(piece)
            at += len(piece)
        if at != offset or digest.hexdigest() != expected:
            break
        best = (offset, digest.copy())
    file.seek(best[0])
    return best
