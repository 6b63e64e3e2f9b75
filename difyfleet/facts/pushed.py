"""What `difyfleet bundle push` has brought to a host: a store of blobs named by their SHA-256, and a record of what they make up."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from pyinfra.api import FactBase

from difyfleet.facts.docker import RUNNING
from difyfleet.facts.fitness import Disk, sections

STORE = "/var/lib/difyfleet/bundle"  # root only; never /tmp, which is memory on openEuler
RECORD = "contents.json"  # in the store, written when all blobs are there
BLOBS = f"{STORE}/blobs/sha256"
PUSH = "push the bundle first: difyfleet bundle push INVENTORY BUNDLE"  # what errors about missing parts say
_VERSION = 1


@dataclass(frozen=True)
class PushedImage:
    """One image. Digests are `sha256:HEX`."""

    reference: str
    full_name: str  # with registry and tag, as containerd's store has it
    id: str  # digest of its configuration: its ID in Docker's classic store
    manifest: str  # digest of its OCI manifest in the bundle: its ID in containerd's store
    layers: tuple[str, ...]
    diff_ids: tuple[str, ...]  # of the unpacked layers, in the same order

    @property
    def digests(self) -> tuple[str, ...]:
        return (self.id, self.manifest, *self.layers)

    def layers_beyond(self, chains: Iterable[tuple[str, ...]]) -> tuple[str, ...]:
        """Layers that no image of the host has in the same place.

        Args:
            chains: diff IDs of each image of the host.
        """
        known = max((_common(self.diff_ids, chain) for chain in chains), default=0)
        return self.layers[known:]


def _common(one: tuple[str, ...], other: tuple[str, ...]) -> int:
    """Length of the common beginning."""
    return next(
        (i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other))
    )


@dataclass(frozen=True)
class PushedModel:
    """One of Ollama's models."""

    name: str  # with tag
    manifest: str  # digest of the manifest file
    path: str  # of the manifest file, below models/
    layers: tuple[str, ...]

    @property
    def digests(self) -> tuple[str, ...]:
        return (self.manifest, *self.layers)


@dataclass(frozen=True)
class PushedFile:
    """A file of the engine. kind: engine or compose."""

    kind: str
    name: str
    version: str
    digest: str


@dataclass(frozen=True)
class Contents:
    """All that has been pushed, whether it was loaded since or not."""

    images: Mapping[str, PushedImage] = field(default_factory=dict)  # by reference
    models: Mapping[str, PushedModel] = field(default_factory=dict)  # by name
    files: Mapping[str, PushedFile] = field(default_factory=dict)  # by kind
    sizes: Mapping[str, int] = field(default_factory=dict)  # digest -> bytes

    def with_more(self, other: Contents) -> Contents:
        """This and what a later push has brought; the later one wins. Sizes of what is in neither any more are dropped."""
        images, models = {**self.images, **other.images}, {**self.models, **other.models}
        files, sizes = {**self.files, **other.files}, {**self.sizes, **other.sizes}
        merged = Contents(images, models, files, sizes)
        used = set(merged.digests())
        return Contents(images, models, files, {key: size for key, size in sizes.items() if key in used})

    def digests(self) -> Iterable[str]:
        """Every blob that is spoken of; some more than once."""
        for image in self.images.values():
            yield from image.digests
        for model in self.models.values():
            yield from model.digests
        for file in self.files.values():
            yield file.digest

    def size_of(self, digests: Iterable[str]) -> int:
        """Bytes of these blobs, each counted once."""
        return sum(self.sizes[digest] for digest in set(digests))

    def to_text(self) -> str:
        """The record as it is written."""
        plain = {
            "version": _VERSION,
            "images": [asdict(self.images[key]) for key in sorted(self.images)],
            "models": [asdict(self.models[key]) for key in sorted(self.models)],
            "files": [asdict(self.files[key]) for key in sorted(self.files)],
            "sizes": dict(sorted(self.sizes.items())),
        }
        return json.dumps(plain, indent=1) + "\n"


def parse_contents(text: str) -> Contents:
    """A record; one that is missing, broken or of another version counts as empty: then the bundle is pushed again."""
    try:
        plain: Any = json.loads(text)
        if plain["version"] != _VERSION:
            return Contents()
        images = [
            PushedImage(**{**one, "layers": tuple(one["layers"]), "diff_ids": tuple(one["diff_ids"])})
            for one in plain["images"]
        ]
        models = [PushedModel(**{**one, "layers": tuple(one["layers"])}) for one in plain["models"]]
        files = [PushedFile(**one) for one in plain["files"]]
        return Contents(
            {one.reference: one for one in images},
            {one.name: one for one in models},
            {one.kind: one for one in files},
            plain["sizes"],
        )
    except (ValueError, KeyError, TypeError):
        return Contents()


@dataclass(frozen=True)
class Pushed:
    """The store of a host."""

    contents: Contents = field(default_factory=Contents)
    there: Mapping[str, int] = field(default_factory=dict)  # whole blobs: digest -> bytes
    begun: Mapping[str, int] = field(default_factory=dict)  # unfinished ones

    def missing(self, digests: Iterable[str]) -> tuple[str, ...]:
        """Those of these blobs that are not in the store, each once."""
        return tuple(
            one for one in dict.fromkeys(digests) if self.there.get(one) != self.contents.sizes.get(one)
        )


class PushedBundle(FactBase[Pushed]):
    """The store; an empty one where nothing was pushed. Sizes only: content is proved before it is used."""

    def command(self) -> str:
        listing = "[ -d {0} ] && (cd {0} && find . -maxdepth 1 -type f -name '????????????????*' -printf '%f %s\\n')"
        return (
            f"echo '##contents'; cat {STORE}/{RECORD} 2>/dev/null; echo; echo '##there'; {listing.format(BLOBS)}; "
            f"echo '##begun'; {listing.format(f'{STORE}/partial')}; true"
        )

    @staticmethod
    def default() -> Pushed:
        return Pushed()

    def process(self, output: Iterable[str]) -> Pushed:
        part = sections(output)
        return Pushed(
            parse_contents("\n".join(part.get("contents", []))),
            _sizes(part.get("there")),
            _sizes(part.get("begun")),
        )


def _sizes(lines: Iterable[str] | None) -> dict[str, int]:
    pairs = (line.split() for line in lines or () if line.strip())
    return {f"sha256:{name}": int(size) for name, size in pairs}


@dataclass(frozen=True)
class Installed:
    """What a host has already of what a bundle may bring, and the room for the rest."""

    machine: str = ""  # `uname -m`
    chains: tuple[tuple[str, ...], ...] = ()  # diff IDs of each of Docker's images
    ids: frozenset[str] = frozenset()  # of Docker's images
    containerd: bool = False  # Docker keeps images in containerd's store, which shares no layers with an archive that lacks them
    blobs: Mapping[str, int] = field(default_factory=dict)  # in Ollama's store: digest -> bytes
    manifests: Mapping[str, str] = field(default_factory=dict)  # of Ollama: path below models/ -> digest
    room: Mapping[str, Disk] = field(default_factory=dict)  # by folder


class InstalledParts(FactBase[Installed]):
    """See Installed. Docker is asked only while it runs."""

    def command(self, models: str, folders: tuple[str, ...]) -> str:
        """models: folder `models` of Ollama."""
        quoted = shlex.quote(models)
        form = shlex.quote("{{.Id}} {{json .RootFS.Layers}}")
        return (
            f"(export LC_ALL=C; echo '##machine'; uname -m; echo '##images'; if {RUNNING}; then "
            f"timeout 60 docker image ls -aq --no-trunc | sort -u | xargs -r timeout 60 docker image inspect --format {form}; "
            "echo '##driver'; timeout 20 docker info --format '{{json .DriverStatus}}'; fi; "
            f"echo '##blobs'; [ -d {quoted}/blobs ] && (cd {quoted}/blobs && find . -maxdepth 1 -type f -name 'sha256-*' -printf '%f %s\\n'); "
            f"echo '##manifests'; [ -d {quoted}/manifests ] && (cd {quoted} && find manifests -type f -exec sha256sum {{}} +); "
            f"echo '##room'; for d in {' '.join(map(shlex.quote, folders))}; do p=$d; "
            'while [ ! -e "$p" ]; do p=${p%/*}; p=${p:-/}; done; '
            'df -PB1 "$p" | awk -v d="$d" -v f="$(stat -f -c %i "$p")" \'NR==2{print d "|" $4 "|" $6 "|" f}\'; done; true) 2>/dev/null'
        )

    @staticmethod
    def default() -> Installed:
        return Installed()

    def process(self, output: Iterable[str]) -> Installed:
        part = sections(output)
        images = [line.split(" ", 1) for line in part.get("images", []) if line.strip()]
        blobs = [line.split() for line in part.get("blobs", []) if line.strip()]
        manifests = [line.split(None, 1) for line in part.get("manifests", []) if line.strip()]
        return Installed(
            machine=(part.get("machine") or [""])[0].strip(),
            chains=tuple(tuple(json.loads(layers) or ()) for _, layers in images),
            ids=frozenset(identity for identity, _ in images),
            containerd="io.containerd.snapshotter" in "".join(part.get("driver", [])),
            blobs={
                name.replace("-", ":", 1): int(size)
                for name, size in blobs
                if len(name) == len("sha256-") + 64
            },
            manifests={path: f"sha256:{digest}" for digest, path in manifests},
            room={
                name: Disk(int(free), mount, fs)
                for name, free, mount, fs in (line.split("|") for line in part.get("room", []) if line)
            },
        )
