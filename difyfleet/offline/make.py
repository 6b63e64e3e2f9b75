"""`difyfleet bundle make`: gather, write the folder, pack it where a tar is wanted."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from difyfleet.errors import FleetError
from difyfleet.offline import minisign, wheels
from difyfleet.offline.gather import Gathering
from difyfleet.offline.manifest import MANIFEST, Manifest, digest_of
from difyfleet.offline.reader import open_bundle
from difyfleet.offline.store import Store
from difyfleet.offline.tarball import pack, parts_of
from difyfleet.spec.models import HostSpec

_UNFINISHED = ".unfinished"


@dataclass(frozen=True)
class Order:
    """What kind of bundle is to be made.

    Args:
        output: a folder, or NAME.tar.
        part_size: bytes of a part of the tar; None = one file.
        base: digest of the bundle.json that the target has the blobs of, and what it says.
        key: signs it.
    """

    output: Path
    part_size: int | None = None
    base: tuple[str, Manifest] | None = None
    key: minisign.SecretKey | None = None

    @property
    def packed(self) -> bool:
        """Whether it becomes a tar."""
        return self.output.suffix == ".tar"

    @property
    def folder(self) -> Path:
        """Where it is made. Of a tar: beside it, kept when the run is cut off, so that the next one goes on from there."""
        return self.output.with_name(self.output.name + _UNFINISHED) if self.packed else self.output


@dataclass(frozen=True)
class Made:
    """A finished bundle.

    Args:
        files: the tar or its parts; the folder where it is one.
    """

    manifest: Manifest
    digest: str
    files: tuple[Path, ...]


def read_base(path: Path) -> tuple[str, Manifest]:
    """What a delta is based on.

    Args:
        path: a bundle, or the bundle.json of one.

    Raises:
        BundleError: it cannot be read.
    """
    if path.is_file() and path.suffix == ".json":
        from difyfleet.offline.manifest import parse

        text = path.read_bytes()
        return digest_of(text), parse(text, str(path))
    with open_bundle(path) as bundle:
        return digest_of(bundle.read(MANIFEST)), bundle.manifest


def make(
    order: Order,
    environment: str,
    specs: Iterable[HostSpec],
    fill: Callable[[Gathering], None],
    wheel_files: str = "auto",
) -> Made:
    """Make a bundle.

    Args:
        environment: name of the inventory.
        specs: the hosts it is for; their knowledge bases' documents go into it.
        fill: takes images, models and Docker's files from their sources.
        wheel_files: auto, none, or a folder that holds them.

    Raises:
        FleetError: something is missing, not as declared, or the output cannot be written.
    """
    if order.part_size is not None and not order.packed:
        raise FleetError("only a tar can be cut into parts", where=str(order.output), hint="name it NAME.tar")
    key, comment = order.key, f"difyfleet bundle of {environment}"
    try:
        store = Store(order.folder, order.base[1].blobs if order.base else None)
        gathering = Gathering(store, environment)
        fill(gathering)
        gathering.take_documents(specs)
        with _wheels(wheel_files) as files:
            gathering.take_wheels(files)
        manifest = gathering.manifest(order.base)
        text = store.finish(manifest, (lambda sums: minisign.sign(sums, key, comment)) if key else None)
        return Made(manifest, digest_of(text), _packed(order))
    except OSError as error:
        raise FleetError(
            f"{error.filename or order.output}: {error.strerror or error}",
            where="bundle make",
            hint=f"what was gathered is kept in {order.folder}; mend that and run it again",
        ) from error


def _packed(order: Order) -> tuple[Path, ...]:
    if not order.packed:
        return (order.folder,)
    pack(order.folder, order.output, order.part_size)
    shutil.rmtree(order.folder)
    return tuple(parts_of(order.output) or (order.output,))


@contextmanager
def _wheels(given: str) -> Iterator[list[Path]]:
    if given == "none":
        yield []
    elif given == "auto":
        with tempfile.TemporaryDirectory(prefix="difyfleet-wheels-") as folder:
            yield wheels.collect(Path(folder))
    else:
        yield wheels.found(Path(given))
