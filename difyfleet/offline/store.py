"""A bundle that is being made, in a folder: blobs come in under their hashes, and it is a bundle only when `finish` has written its manifest.

What an interrupted run has brought in is kept and used by the next one, after it was hashed again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from difyfleet.errors import FleetError
from difyfleet.offline.layout import ARCHIVE, INDEX, LAYOUT, SIGNATURE, SUMS, small_files
from difyfleet.offline.manifest import MANIFEST, Manifest, blob_name, digest_of, render

CHUNK = 1 << 20
SMALL = 1 << 20  # bytes
_PARTIAL = ".partial"
_OWN = {"blobs", MANIFEST, LAYOUT, INDEX, ARCHIVE, SUMS, SIGNATURE}


class Store:
    """The folder.

    Args:
        folder: made if it is not there.
        elsewhere: blobs that need not be fetched, with their sizes: the base of a delta.

    Raises:
        FleetError: the folder holds something else, or cannot be written.
    """

    def __init__(self, folder: Path, elsewhere: Mapping[str, int] | None = None) -> None:
        self.folder = folder
        self.elsewhere = dict(elsewhere or {})
        self._blobs = folder / "blobs" / "sha256"
        try:
            strange = sorted(
                {file.name for file in folder.iterdir()} - _OWN if folder.exists() else set[str]()
            )
            if strange:
                raise FleetError(
                    f"holds {strange[0]}, which is no part of a bundle",
                    where=str(folder),
                    hint="name a new folder",
                )
            self._blobs.mkdir(parents=True, exist_ok=True)
            for name in _OWN - {"blobs"}:  # half of the old and half of the new must not look like a bundle
                (folder / name).unlink(missing_ok=True)
        except OSError as error:
            raise FleetError(f"cannot be written: {error.strerror}", where=str(folder)) from error
        self._sizes = dict(self._kept())

    def _kept(self) -> Iterator[tuple[str, int]]:
        for file in sorted(self._blobs.iterdir()):
            if file.suffix == _PARTIAL:
                continue
            if hash_of(file) == file.name:
                yield f"sha256:{file.name}", file.stat().st_size
            else:
                file.unlink()

    def has(self, digest: str) -> bool:
        """Whether a blob need not be fetched any more."""
        return digest in self._sizes or digest in self.elsewhere

    def here(self, digest: str) -> bool:
        """Whether a blob lies in the folder."""
        return digest in self._sizes

    def size(self, digest: str) -> int:
        """Bytes of a blob. Raises KeyError where it is neither here nor elsewhere."""
        return self._sizes[digest] if digest in self._sizes else self.elsewhere[digest]

    def known(self) -> list[str]:
        """Digests of all blobs that need not be fetched, sorted. Small ones of a base are: they are looked into."""
        return sorted({*self._sizes, *(one for one, size in self.elsewhere.items() if size > SMALL)})

    def read(self, digest: str) -> bytes:
        """A small blob that is here."""
        return (self._blobs / digest[7:]).read_bytes()

    def put_bytes(self, data: bytes) -> str:
        """Keep a small blob; its digest."""
        digest = digest_of(data)
        if digest not in self._sizes:
            (self._blobs / f"{digest[7:]}{_PARTIAL}").write_bytes(data)
            self._take(digest, len(data))
        return digest

    def put_stream(self, source: BinaryIO, moved: Callable[[int], None] = lambda _: None) -> str:
        """Keep what a stream gives up to its end; its digest.

        Args:
            moved: called with the bytes of each piece.
        """
        hasher, size = hashlib.sha256(), 0
        temporary = self._blobs / f"stream{_PARTIAL}"
        with temporary.open("wb") as file:
            while piece := source.read(CHUNK):
                hasher.update(piece)
                file.write(piece)
                size += len(piece)
                moved(len(piece))
        digest = f"sha256:{hasher.hexdigest()}"
        temporary.replace(self._blobs / f"{digest[7:]}{_PARTIAL}")
        self._take(digest, size)
        return digest

    @contextmanager
    def resuming(self, digest: str) -> Iterator[BinaryIO]:
        """A file to append the rest of a blob to; `tell()` is what is there already. Kept when the block fails, so it can go on later.

        Raises:
            FleetError: all of it is there now and its hash is another one; it is thrown away.
        """
        partial = self._blobs / f"{digest[7:]}{_PARTIAL}"
        with partial.open("ab") as file:
            yield file
        if hash_of(partial) != digest[7:]:
            partial.unlink()
            raise FleetError("does not have the hash in its name", where=blob_name(digest))
        self._take(digest, partial.stat().st_size)

    def _take(self, digest: str, size: int) -> None:
        (self._blobs / f"{digest[7:]}{_PARTIAL}").replace(self._blobs / digest[7:])
        self._sizes[digest] = size

    def finish(self, manifest: Manifest, sign: Callable[[bytes], bytes] | None = None) -> bytes:
        """Write everything but the blobs, bundle.json last; blobs that are not in the manifest go. The bytes of bundle.json.

        Args:
            sign: gives the signature of SHA256SUMS.
        """
        carried = manifest.carried
        for file in self._blobs.iterdir():
            if f"sha256:{file.name}" not in carried:
                file.unlink()
        self._sizes = dict(carried)
        text = render(manifest)
        files = small_files(manifest, text)
        if sign is not None:
            files[SIGNATURE] = sign(files[SUMS])
        for name in sorted(files, key=lambda one: one == MANIFEST):
            (self.folder / name).write_bytes(files[name])
        return text


def hash_of(path: Path) -> str:
    """Hex SHA-256 of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(CHUNK):
            digest.update(piece)
    return digest.hexdigest()
