"""A bundle as it lies on a disk: a folder, one tar, or the parts of one. Any file in it can be read from any place, without unpacking.

    with open_bundle(Path("prod.tar")) as bundle:
        bundle.manifest, bundle.size("blobs/sha256/..."), bundle.open("blobs/sha256/...").read(4096)

Reading here proves nothing; verify.py does.
"""

from __future__ import annotations

import io
import threading
from bisect import bisect_right
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from difyfleet.offline.manifest import MANIFEST, BundleError, Manifest, parse
from difyfleet.offline.tarball import Member, list_of_parts, members, part_name, parts_of

AGAIN = "copy the bundle anew, or make it again: difyfleet bundle make"


class Bundle(Protocol):
    """What every form of a bundle can do."""

    path: Path

    @property
    def manifest(self) -> Manifest:
        """The manifest. Raises BundleError, see manifest.parse."""

    def names(self) -> list[str]:
        """Its files, sorted; of the tar forms: in their order there."""

    def size(self, name: str) -> int:
        """Bytes of a file. Raises BundleError where there is none of that name."""

    def open(self, name: str) -> BinaryIO:
        """A file, seekable. Raises BundleError where there is none of that name."""

    def read(self, name: str) -> bytes:
        """A small file's content. Raises BundleError as open does."""

    def where(self, name: str) -> str:
        """The file as errors name it."""

    def close(self) -> None:
        """Close what is open."""

    def __enter__(self) -> Bundle: ...

    def __exit__(self, *exc: object) -> None: ...


class _Base:
    path: Path

    def open(self, name: str) -> BinaryIO:
        raise NotImplementedError

    def where(self, name: str) -> str:
        raise NotImplementedError

    def read(self, name: str) -> bytes:
        with self.open(name) as file:
            return file.read()

    @cached_property
    def manifest(self) -> Manifest:
        return parse(self.read(MANIFEST), self.where(MANIFEST))

    def close(self) -> None:
        """Nothing is kept open."""

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _missing(self, name: str) -> BundleError:
        return BundleError("is not in the bundle", where=self.where(name), hint=AGAIN)


class Folder(_Base):
    """A bundle as a folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def names(self) -> list[str]:
        return sorted(
            str(file.relative_to(self.path))
            for file in self.path.rglob("*")
            if file.is_symlink() or not file.is_dir()
        )

    def _file(self, name: str) -> Path:
        file = self.path / name
        if file.is_symlink() or not file.is_file():
            raise self._missing(name)
        return file

    def size(self, name: str) -> int:
        return self._file(name).stat().st_size

    def open(self, name: str) -> BinaryIO:
        return self._file(name).open("rb")

    def where(self, name: str) -> str:
        return str(self.path / name)


class Tar(_Base):
    """A bundle as one tar, whole or in parts."""

    def __init__(self, path: Path, data: BinaryIO) -> None:
        self.path = path
        self.data = data
        self._lock = (
            threading.Lock()
        )  # its files can be read by several threads at once, each at its own place

    @cached_property
    def _members(self) -> Mapping[str, Member]:
        found: dict[str, Member] = {}
        for member in members(self.data, str(self.path)):
            if member.name in found:
                raise BundleError("stands in the bundle twice", where=self.where(member.name), hint=AGAIN)
            found[member.name] = member
        return found

    def names(self) -> list[str]:
        return list(self._members)

    def _member(self, name: str) -> Member:
        member = self._members.get(name)
        if member is None:
            raise self._missing(name)
        return member

    def size(self, name: str) -> int:
        return self._member(name).size

    def open(self, name: str) -> BinaryIO:
        member = self._member(name)
        return io.BufferedReader(_Window(self.data, self._lock, member.offset, member.size), 1 << 20)

    def where(self, name: str) -> str:
        return f"{self.path}: {name}"

    def close(self) -> None:
        self.data.close()


class _Window(io.RawIOBase):
    """A stretch of a seekable file, as a file of its own."""

    def __init__(self, data: BinaryIO, lock: threading.Lock, offset: int, size: int) -> None:
        self._data, self._lock, self._offset, self._size, self._at = data, lock, offset, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = max(0, offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence])
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: Any) -> int:
        wanted = min(len(buffer), max(0, self._size - self._at))
        with self._lock:
            self._data.seek(self._offset + self._at)
            data = self._data.read(wanted)
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)


class Joined(io.RawIOBase):
    """Several files one after the other, read as one."""

    def __init__(self, files: list[Path]) -> None:
        self._files = [file.open("rb") for file in files]
        self._starts = [0]
        for file in files:
            self._starts.append(self._starts[-1] + file.stat().st_size)
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._starts[-1]}[whence]
        self._at = max(0, base + offset)
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: Any) -> int:
        which = bisect_right(self._starts, self._at) - 1
        if which >= len(self._files):
            return 0
        file = self._files[which]
        file.seek(self._at - self._starts[which])
        data = file.read(min(len(buffer), self._starts[which + 1] - self._at))
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)

    def close(self) -> None:
        for file in self._files:
            file.close()
        super().close()


def open_bundle(path: Path) -> Bundle:
    """A bundle by its path: a folder, NAME.tar, or (the tar being in parts) NAME.tar or NAME.tar.parts.

    Raises:
        BundleError: there is none, or a part of it is missing.
    """
    if path.is_dir():
        return Folder(path)
    name = path.with_suffix("") if path.suffix == ".parts" else path
    parts = parts_of(name)
    if parts is not None:
        for part in parts:
            if not part.is_file():
                raise BundleError(
                    "this part of the bundle is missing",
                    where=str(part),
                    hint="copy all parts into one folder",
                )
        return Tar(name, io.BufferedReader(Joined(list(parts)), 1 << 20))
    if not path.is_file():
        if path.with_name(part_name(name.name, 0)).is_file():
            raise BundleError(
                "the list of parts is missing",
                where=str(list_of_parts(name)),
                hint="copy it to the parts, or join them: cat NAME.tar.0* > NAME.tar",
            )
        raise BundleError(
            "there is no such bundle",
            where=str(path),
            hint="name a folder, a .tar, or the .parts file of a bundle",
        )
    return Tar(path, path.open("rb"))
