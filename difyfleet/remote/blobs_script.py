"""Runs ON THE HOST (Python >= 3.6, standard library): takes blobs from standard input into a store, and says how far it is.

First line in: JSON {"root", "blobs": {hex: size}}. First line out: `difyfleet {"whole": [...], "partial": {hex: [[offset, digest]...]}}`.
Then, per blob, in: `blob HEX OFFSET`, and until it is whole: `chunk LENGTH`, the bytes, the SHA-256 of the blob so far. Out: `got HEX OFFSET`
after each chunk. At last `file NAME LENGTH` with its bytes (a record written when all blobs are there) and `end`; out: `done`.

Whatever has come of a chunk is on disk when the line breaks. What is there is hashed anew by the next run, and the sender goes on from
the last point at which both sides agree. A blob gets its name only with its right hash.
Nothing waits for the disk: what a power failure takes is found when it is hashed before a load, and pushed again.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import select
import signal
import sys
import time
from typing import Any

CHUNK = 8 << 20  # bytes between two points at which both sides compare
PIECE = 1 << 18
SILENCE = 120  # seconds without a byte after which the sender counts as gone


def fail(text: str) -> None:
    print("error " + text, flush=True)
    sys.exit(1)


class Input:
    """Standard input by lines and by pieces, never waiting longer than SILENCE."""

    def __init__(self) -> None:
        self.rest = b""

    def _more(self, size: int) -> bytes:
        if not select.select([0], [], [], SILENCE)[0]:
            fail(f"nothing came for {SILENCE} s")
        data = os.read(0, size)
        if not data:
            sys.exit(3)  # the line broke; what has come stays
        return data

    def line(self) -> str:
        while b"\n" not in self.rest:
            self.rest += self._more(4096)
        line, _, self.rest = self.rest.partition(b"\n")
        return line.decode()

    def piece(self, most: int) -> bytes:
        if not self.rest:
            return self._more(min(most, PIECE))
        piece, self.rest = self.rest[:most], self.rest[most:]
        return piece


def alone(root: str) -> Any:
    """Hold the store. A receiver that an earlier run left behind (its line was cut) is ended."""
    lock = open(os.path.join(root, "lock"), "a+")  # noqa: SIM115 - held to the end
    for _ in range(100):
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            lock.seek(0)
            lock.truncate()
            lock.write(str(os.getpid()))
            lock.flush()
            return lock
        except OSError:
            lock.seek(0)
            holder = lock.read().strip()
            if holder.isdigit():
                with contextlib.suppress(OSError):
                    os.kill(int(holder), signal.SIGTERM)
            time.sleep(0.1)
    return fail(f"the store is in use by another program: fuser -v {root}/lock")


def points(path: str, size: int) -> "list[tuple[int, Any]]":
    """(offset, hash so far) at each CHUNK of a partial blob, and at its end."""
    found, digest, offset = [], hashlib.sha256(), 0  # type: list[tuple[int, Any]], Any, int
    with open(path, "rb") as stream:
        while offset < size:
            block = stream.read(min(PIECE, size - offset))
            if not block:
                break
            digest.update(block)
            offset += len(block)
            if offset % CHUNK == 0:
                found.append((offset, digest.copy()))
    if offset % CHUNK:
        found.append((offset, digest.copy()))
    return found


def receive(given: Input, path: str, size: int, offset: int, digest: Any) -> Any:
    """One blob from `offset` on; its final hash."""
    name = os.path.basename(path)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        os.ftruncate(descriptor, offset)
        os.lseek(descriptor, offset, os.SEEK_SET)
        while offset < size:
            word, length = given.line().split()
            left = int(length)
            if word != "chunk" or left <= 0 or offset + left > size:
                fail(f"blob {name[:12]}: the sender is out of step")
            while left:
                piece = given.piece(left)
                view = memoryview(piece)
                while view:
                    view = view[os.write(descriptor, view) :]
                digest.update(piece)
                left -= len(piece)
                offset += len(piece)
            if given.line() != digest.hexdigest():
                os.ftruncate(descriptor, offset - int(length))
                fail(f"blob {name[:12]}: the chunk before byte {offset} arrived damaged")
            print(f"got {name} {offset}", flush=True)
    except OSError as error:
        fail(f"blob {name[:12]}: {error.strerror}")
    finally:
        os.close(descriptor)
    return digest.hexdigest()


def whole(path: str, size: int) -> bool:
    try:
        return os.path.getsize(path) == size
    except OSError:
        return False


def write(path: str, data: bytes) -> None:
    """A small file that appears whole."""
    with open(path + ".new", "wb") as out:
        out.write(data)
    os.rename(path + ".new", path)


def main() -> None:
    """The protocol above."""
    given = Input()
    job = json.loads(given.line())
    root, blobs = job["root"], job["blobs"]
    os.umask(0o022)
    os.makedirs(os.path.dirname(root), exist_ok=True)  # others' records lie there too
    os.umask(0o077)
    store, partial = os.path.join(root, "blobs", "sha256"), os.path.join(root, "partial")
    for folder in (root, os.path.dirname(store), store, partial):
        os.makedirs(folder, mode=0o700, exist_ok=True)
        os.chmod(folder, 0o700)
    lock = alone(root)
    begun = {}  # type: dict[str, list[tuple[int, Any]]]
    for name in os.listdir(partial):
        path = os.path.join(partial, name)
        if name in blobs and not whole(os.path.join(store, name), blobs[name]):
            begun[name] = points(path, blobs[name])
        else:
            os.unlink(path)
    there = [name for name, size in blobs.items() if whole(os.path.join(store, name), size)]
    seen = {name: [[offset, digest.hexdigest()] for offset, digest in found] for name, found in begun.items()}
    print("difyfleet " + json.dumps({"whole": there, "partial": seen}), flush=True)
    while True:
        words = given.line().split()
        if words[0] == "end":
            break
        if words[0] == "file":
            data, left = b"", int(words[2])
            while len(data) < left:
                data += given.piece(left - len(data))
            write(os.path.join(root, os.path.basename(words[1])), data)
            continue
        name, offset = words[1], int(words[2])
        digest = dict(begun.get(name, [])).get(offset, hashlib.sha256())
        if offset and (name not in begun or offset not in dict(begun[name])):
            fail(f"blob {name[:12]}: byte {offset} is no point to go on from")
        path = os.path.join(partial, name)
        if receive(given, path, blobs[name], offset, digest) != name:
            os.unlink(path)
            fail(f"blob {name[:12]}: its content has another SHA-256; the bundle is damaged")
        os.rename(path, os.path.join(store, name))
    print("done", flush=True)
    lock.close()


if __name__ == "__main__":
    main()
