"""A bundle as one tar that is the same for the same content: fixed order, owner, mode and time. Cut into parts for FAT32 where asked.

`NAME.tar.parts` lists the parts as `sha256sum -c` reads it; joined (`cat NAME.tar.0*`) they are the tar.
"""

from __future__ import annotations

import io
import re
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import BinaryIO

from difyfleet.offline.layout import ARCHIVE, INDEX, LAYOUT, SIGNATURE, SUMS
from difyfleet.offline.manifest import MANIFEST, BundleError

BLOCK = tarfile.BLOCKSIZE
_END = 2 * BLOCK  # two empty blocks end a tar; no padding to a record after them
_FIRST = (MANIFEST, SUMS, SIGNATURE, LAYOUT, INDEX, ARCHIVE)
_LINE = re.compile(r"([0-9a-f]{64})  (\S+)")


@dataclass(frozen=True)
class Member:
    """One file in the tar.

    Args:
        offset: of its content, in bytes from the tar's start.
        size: bytes.
    """

    name: str
    offset: int
    size: int


def header(name: str, size: int) -> bytes:
    """The one header that a file of this name and size has here. Sizes from 8 GiB on are written in GNU tar's way, which Docker reads."""
    info = tarfile.TarInfo(name)
    info.size, info.mode, info.mtime, info.type = size, 0o644, 0, tarfile.REGTYPE
    return info.tobuf(tarfile.GNU_FORMAT)


def padding(size: int) -> int:
    """Empty bytes after a file of this size."""
    return -size % BLOCK


def members(data: BinaryIO, where: str) -> Iterator[Member]:
    """The files of a tar that `bundle make` wrote. Every byte between them is looked at too.

    Raises:
        BundleError: a header is not the one that belongs there, or the tar ends too early or too late.
    """
    again = "copy the bundle anew, or make it again: difyfleet bundle make"
    end, at, last = data.seek(0, io.SEEK_END), 0, "its start"
    while True:
        data.seek(at)
        block = data.read(BLOCK)
        if not block.strip(b"\0"):
            rest = block + data.read(_END)
            if len(rest) != _END or rest.strip(b"\0"):
                raise BundleError(f"does not end where it should, after {last}", where=where, hint=again)
            return
        try:
            info = tarfile.TarInfo.frombuf(block, tarfile.ENCODING, "surrogateescape")
        except tarfile.HeaderError:
            info = None
        if info is None or header(info.name, info.size) != block:
            raise BundleError(f"damaged: the header after {last}", where=where, hint=again)
        at += BLOCK
        if at + info.size + padding(info.size) + _END > end:
            raise BundleError(f"truncated: it ends inside or after {info.name}", where=where, hint=again)
        data.seek(at + info.size)
        if data.read(padding(info.size)).strip(b"\0"):
            raise BundleError(f"damaged: the padding after {info.name}", where=where, hint=again)
        yield Member(info.name, at, info.size)
        at, last = at + info.size + padding(info.size), info.name


def list_of_parts(tar: Path) -> Path:
    """The file that lists a tar's parts."""
    return tar.with_name(f"{tar.name}.parts")


def parts_of(tar: Path) -> dict[Path, str] | None:
    """The parts of a tar with the hash that each must have, in order; None = it is not in parts.

    Raises:
        BundleError: the list cannot be read.
    """
    path = list_of_parts(tar)
    if tar.is_file() or not path.is_file():
        return None
    found = {}
    for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines()):
        match = _LINE.fullmatch(line)
        if match is None or match[2] != part_name(tar.name, number):
            raise BundleError(
                f"line {number + 1} is not HASH  {part_name(tar.name, number)}",
                where=str(path),
                hint="copy it anew from where the bundle was made",
            )
        found[tar.with_name(match[2])] = match[1]
    return found


def part_name(tar: str, number: int) -> str:
    """`prod.tar.000`, `prod.tar.001`, ..."""
    return f"{tar}.{number:03}"


def _in_order(folder: Path) -> list[str]:
    """Small files first, so that whoever only inspects a bundle reads only its beginning."""
    small = [name for name in _FIRST if (folder / name).is_file()]
    return [*small, *sorted(f"blobs/sha256/{file.name}" for file in (folder / "blobs" / "sha256").iterdir())]


def pack(folder: Path, tar: Path, part_size: int | None = None) -> None:
    """Write a bundle's folder as one tar.

    Args:
        part_size: bytes of a part; None = the tar is one file. What an earlier run left under these names goes.
    """
    tar.unlink(missing_ok=True)
    for old in tar.parent.glob(f"{tar.name}.[0-9][0-9][0-9]"):
        old.unlink()
    list_of_parts(tar).unlink(missing_ok=True)
    with Parts(tar, part_size) if part_size else tar.open("wb") as out:
        for name in _in_order(folder):
            file = folder / name
            size = file.stat().st_size
            out.write(header(name, size))
            with file.open("rb") as source:
                while piece := source.read(1 << 20):
                    out.write(piece)
            out.write(bytes(padding(size)))
        out.write(bytes(_END))


class Parts(io.RawIOBase):
    """A file to write that becomes parts of a given size.

    Args:
        tar: name of the whole.
        size: bytes of each part but the last.
    """

    def __init__(self, tar: Path, size: int) -> None:
        self._tar, self._size = tar, size
        self._left, self._number = 0, 0
        self._file: BinaryIO | None = None
        self._hash = sha256()
        self._lines: list[str] = []

    def writable(self) -> bool:
        return True

    def write(self, data: bytes) -> int:  # type: ignore[override]
        view = memoryview(data)
        while view:
            if not self._left:
                self._next()
            assert self._file is not None
            piece = view[: self._left]
            self._file.write(piece)
            self._hash.update(piece)
            self._left -= len(piece)
            view = view[len(piece) :]
        return len(data)

    def _next(self) -> None:
        self._finish()
        self._file = self._tar.with_name(part_name(self._tar.name, self._number)).open("wb")
        self._number, self._left, self._hash = self._number + 1, self._size, sha256()

    def _finish(self) -> None:
        if self._file is not None:
            self._file.close()
            self._lines.append(f"{self._hash.hexdigest()}  {Path(self._file.name).name}\n")
            self._file = None

    def close(self) -> None:
        if not self.closed:
            self._finish()
            list_of_parts(self._tar).write_text("".join(self._lines))
        super().close()
