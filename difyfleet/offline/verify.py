"""Is a bundle whole? Every byte of it: parts, tar headers, manifest, small files, blobs, signature, and that images are what they claim.

Nothing is unpacked or loaded. All faults are found, not only the first.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from difyfleet.offline import minisign
from difyfleet.offline.inside import contradictions
from difyfleet.offline.layout import SIGNATURE, SUMS, small_files
from difyfleet.offline.manifest import MANIFEST, BundleError, Manifest, blob_name, render
from difyfleet.offline.reader import AGAIN, Bundle, open_bundle
from difyfleet.offline.store import CHUNK, hash_of
from difyfleet.offline.tarball import parts_of


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong.

    Args:
        where: the file.
        what: in words that can stand after it.
        hint: what to do.
    """

    where: str
    what: str
    hint: str = AGAIN

    def __str__(self) -> str:
        return f"{self.where}: {self.what}\n  next: {self.hint}"

    def to_json(self) -> dict[str, str]:
        return asdict(self)


@dataclass(frozen=True)
class Verdict:
    """What was found.

    Args:
        manifest: None where it cannot be read.
        signed_by: ID of the key of a signature that was checked; "" = none was.
        checked: bytes of content hashed.
    """

    faults: tuple[Fault, ...]
    manifest: Manifest | None
    signed_by: str = ""
    checked: int = 0


Moved = Callable[[int], None]


def verify(
    path: Path,
    *,
    key: minisign.PublicKey | None = None,
    architecture: str | None = None,
    moved: Moved = lambda _: None,
) -> Verdict:
    """Check a bundle.

    Args:
        path: see reader.open_bundle.
        key: whose signature it must have; None = signatures are looked at for their form only.
        architecture: of the machine it is meant for, as `uname -m` or Go name it; None = any.
        moved: called with the bytes of content of each piece that was hashed.
    """
    checking = _Checking(key, architecture, moved)
    faults = tuple(checking.faults(path))
    return Verdict(faults, checking.manifest, checking.signed_by, checking.checked)


class _Checking:
    def __init__(self, key: minisign.PublicKey | None, architecture: str | None, moved: Moved) -> None:
        self._key, self._architecture, self._moved = key, architecture, moved
        self.manifest: Manifest | None = None
        self.signed_by, self.checked = "", 0

    def faults(self, path: Path) -> Iterator[Fault]:
        try:
            yield from self._parts(path)
            with open_bundle(path) as bundle:
                yield from self._bundle(bundle)
        except BundleError as error:
            yield Fault(error.where or str(path), error.what, error.hint or AGAIN)
        except OSError as error:
            yield Fault(str(error.filename or path), f"cannot be read: {error.strerror or error}")

    def _parts(self, path: Path) -> Iterator[Fault]:
        parts = parts_of(path.with_suffix("") if path.suffix == ".parts" else path) or {}
        for part, digest in parts.items():
            if part.is_file() and hash_of(part) != digest:
                yield Fault(str(part), "does not have the hash in the list of parts", "copy this part anew")

    def _bundle(self, bundle: Bundle) -> Iterator[Fault]:
        names = bundle.names()
        manifest = self.manifest = bundle.manifest
        if self._architecture is not None:
            try:
                manifest.require_architecture(self._architecture, bundle.where(MANIFEST))
            except BundleError as error:
                yield Fault(str(error.where), error.what, str(error.hint))
        files = small_files(manifest, render(manifest))
        wanted = [*files, *([SIGNATURE] if SIGNATURE in names else []), *map(blob_name, manifest.carried)]
        for name in sorted(set(wanted) - set(names)):
            yield Fault(bundle.where(name), f"is missing{self._needed_by(name)}")
        for name in sorted(set(names) - set(wanted)):
            yield Fault(bundle.where(name), "does not belong in this bundle", "remove it, or copy it anew")
        yield from self._small(bundle, files)
        yield from self._signature(bundle, names)
        sound = set()
        for digest in sorted(manifest.carried):
            fault = self._blob(bundle, digest) if blob_name(digest) in names else None
            if fault is not None:
                yield fault
            elif blob_name(digest) in names:
                sound.add(digest)
        for digest, words in contradictions(manifest, lambda one: bundle.read(blob_name(one)), sound):
            yield Fault(
                bundle.where(blob_name(digest)), words, "make the bundle again: difyfleet bundle make"
            )

    def _small(self, bundle: Bundle, files: dict[str, bytes]) -> Iterator[Fault]:
        there = {}
        for name in files:
            try:
                there[name] = bundle.read(name)
            except BundleError:
                continue  # it is missing, which was said
        for name, wanted in files.items():
            if name in there and there[name] != wanted and name != SUMS:
                yield Fault(bundle.where(name), f"is not what {MANIFEST} gives: it was changed")
        if SUMS in there and there[SUMS] != files[SUMS]:
            mine, given = _lines(files[SUMS]), _lines(there[SUMS])
            differ = sorted({name for name in {*mine, *given} if mine.get(name) != given.get(name)})
            what = f"differs from {MANIFEST} in {differ[0]!r}" if differ else "is not in its one form"
            yield Fault(bundle.where(SUMS), f"{what}: one of the two was changed")

    def _signature(self, bundle: Bundle, names: list[str]) -> Iterator[Fault]:
        if SIGNATURE not in names:
            if self._key is not None:
                yield Fault(
                    bundle.where(SIGNATURE),
                    "is missing: the bundle is not signed",
                    "do not trust it; get a signed one, or leave out --public-key",
                )
            return
        wrong = minisign.check(bundle.read(SUMS), bundle.read(SIGNATURE), self._key)
        if wrong:
            yield Fault(bundle.where(SIGNATURE), wrong, "do not trust it; get the bundle from its maker anew")
        elif self._key is not None:
            self.signed_by = str(self._key)

    def _blob(self, bundle: Bundle, digest: str) -> Fault | None:
        assert self.manifest is not None
        name, size = blob_name(digest), self.manifest.blobs[digest]
        found = bundle.size(name)
        if found != size:
            words = "truncated" if found < size else "too long"
            return Fault(bundle.where(name), f"{words}: {found} bytes, not {size}{self._needed_by(name)}")
        hasher = hashlib.sha256()
        with bundle.open(name) as file:
            while piece := file.read(CHUNK):
                hasher.update(piece)
                self.checked += len(piece)
                self._moved(len(piece))
        if hasher.hexdigest() != digest[7:]:
            return Fault(bundle.where(name), f"does not have the hash in its name{self._needed_by(name)}")
        return None

    def _needed_by(self, name: str) -> str:
        digest = f"sha256:{name.rpartition('/')[2]}"
        owners = self.manifest.owners(digest) if self.manifest and name.startswith("blobs/") else []
        return f" (of {', '.join(owners)})" if owners else ""


def _lines(sums: bytes) -> dict[str, str]:
    pairs = (line.partition("  ") for line in sums.decode(errors="replace").splitlines())
    return {name: digest for digest, _, name in pairs}
