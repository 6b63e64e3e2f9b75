"""What a bundle holds: `bundle.json`, typed. Names -> digests, sizes, licences, and where each thing goes; docs/bundles.md shows the layout.

The text is canonical: the same content gives the same bytes, and a file in any other form is refused.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from pathlib import PurePosixPath
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from difyfleet.errors import FleetError

FORMAT: Final = "difyfleet-bundle"
VERSION: Final = 1
MANIFEST = "bundle.json"  # not manifest.json: that is the name by which `docker load` knows an archive
Digest = Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")]
Architecture = Literal["amd64", "arm64"]
Kind = Literal["engine", "compose", "wheel", "document"]
MACHINES = {"x86_64": "amd64", "aarch64": "arm64"}  # `uname -m` -> Go's name, which images use


class BundleError(FleetError):
    """A bundle is damaged, incomplete, or not for this machine. Nothing was loaded from it."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Image(_Part):
    """One image. Docker's two image stores name it differently, so all its names are kept."""

    reference: str = Field(..., description="As the inventory declares it.")
    id: Digest = Field(..., description="Of its configuration: its ID in Docker's classic store.")
    manifest: Digest = Field(
        ..., description="Of its OCI manifest in this bundle: its ID in containerd's store."
    )
    registry: Digest | None = Field(
        None, description="Of its manifest or index in the registry it came from; null = not known."
    )
    layers: list[Digest] = Field(..., description="Blobs of its layers, lowest first.")
    license: str | None = Field(None, description="Its label org.opencontainers.image.licenses.")

    def digests(self) -> Iterator[str]:
        """Every blob it needs."""
        yield from (self.id, self.manifest, *self.layers)


class Model(_Part):
    """One of Ollama's models."""

    name: str = Field(..., description="With tag, as `ollama list` prints it.")
    manifest: Digest = Field(
        ..., description="Of the manifest file; its first 12 digits are Ollama's short ID."
    )
    path: str = Field(..., description="Of the manifest file below `models/`.")
    layers: list[Digest] = Field(
        ..., description="Configuration and layers. Each goes to models/blobs/sha256-HEX."
    )
    license: str | None = Field(None, description="First line of its licence text.")

    def digests(self) -> Iterator[str]:
        """Every blob it needs."""
        yield from (self.manifest, *self.layers)


class File(_Part):
    """Anything that is one file: Docker's static archive, the Compose plugin, a Python wheel, a document."""

    kind: Kind
    name: str = Field(
        ..., description="File name; of a document: KNOWLEDGE/NAME, its knowledge base's key and its name."
    )
    digest: Digest
    version: str | None = Field(None, description="Of the program in it.")
    target: str | None = Field(None, description="Absolute path on the host; null = stays on the controller.")
    license: str | None = None

    def digests(self) -> Iterator[str]:
        """Every blob it needs: itself."""
        yield self.digest


class Manifest(_Part):
    """A whole bundle.

    Raises (when made):
        ValidationError: a digest is used but not listed (or the other way round), a name stands twice, or a path leads out of its folder.
    """

    format: Literal["difyfleet-bundle"] = FORMAT
    version: Literal[1] = VERSION
    created_by: str = Field(..., description="`difyfleet VERSION`.")
    environment: str = Field(..., description="Name of the inventory it was made for.")
    architecture: Architecture
    images: list[Image] = Field(default_factory=list)
    models: list[Model] = Field(default_factory=list)
    files: list[File] = Field(default_factory=list)
    blobs: dict[Digest, Annotated[int, Field(ge=0)]] = Field(
        ..., description="Every blob that the above need, with its size in bytes."
    )
    base: Digest | None = Field(
        None, description="Of a delta: hash of the bundle.json whose blobs the target has already."
    )
    absent: list[Digest] = Field(
        default_factory=list, description="Of a delta: blobs that are not in here, since the base has them."
    )

    @model_validator(mode="after")
    def _holds_together(self) -> Manifest:
        used = set(self.needed())
        if missing := sorted(used - set(self.blobs)):
            raise ValueError(f"blob {missing[0]} is used but not listed")
        if spare := sorted(set(self.blobs) - used):
            raise ValueError(f"blob {spare[0]} is listed but nothing uses it")
        if strange := sorted(set(self.absent) - used):
            raise ValueError(f"absent blob {strange[0]} is not listed")
        if self.absent and self.base is None:
            raise ValueError("blobs are absent, but no base is named")
        for what, names in (
            ("image", [one.reference for one in self.images]),
            ("model", [one.name for one in self.models]),
            ("file", [f"{one.kind} {one.name}" for one in self.files]),
        ):
            if twice := next((name for name in names if names.count(name) > 1), None):
                raise ValueError(f"{what} {twice} stands twice")
        for path in (*(one.path for one in self.models), *(one.name for one in self.files)):
            if not _stays_inside(path):
                raise ValueError(f"{path!r} leads out of its folder")
        for file in self.files:
            if file.target is not None and not (
                file.target.startswith("/") and _stays_inside(file.target[1:])
            ):
                raise ValueError(f"{file.target!r} is not an absolute path")
        return self

    def needed(self) -> Iterator[str]:
        """Digests of all blobs that images, models and files need; some more than once."""
        parts: list[Image | Model | File] = [*self.images, *self.models, *self.files]
        for part in parts:
            yield from part.digests()

    @property
    def carried(self) -> dict[str, int]:
        """The blobs that are in this bundle, with their sizes; all unless it is a delta."""
        absent = set(self.absent)
        return {digest: size for digest, size in self.blobs.items() if digest not in absent}

    def size_of(self, digests: Iterable[str]) -> int:
        """Bytes of these blobs, each counted once."""
        return sum(self.blobs[digest] for digest in set(digests))

    def owners(self, digest: str) -> list[str]:
        """What needs a blob, in words: `image nginx:1.27.3`, `model qwen2.5:7b`, `wheel click-8.1.8-...whl`."""
        return [
            *(f"image {one.reference}" for one in self.images if digest in one.digests()),
            *(f"model {one.name}" for one in self.models if digest in one.digests()),
            *(f"{one.kind} {one.name}" for one in self.files if digest in one.digests()),
        ]

    def require_architecture(self, machine: str, where: str) -> None:
        """Refuse what cannot run on a machine.

        Args:
            machine: as `uname -m` or Go name it (x86_64 and amd64 are the same).
            where: the machine, for the error.

        Raises:
            BundleError: the bundle is for another architecture.
        """
        wanted = MACHINES.get(machine, machine)
        if wanted != self.architecture:
            raise BundleError(
                f"the bundle is for {self.architecture}, this machine is {wanted}",
                where=where,
                hint=f"make a bundle from a provisioned {wanted} host",
            )


def blob_name(digest: str) -> str:
    """Where a blob lies in a bundle: `blobs/sha256/HEX`."""
    return f"blobs/{digest.replace(':', '/')}"


def digest_of(data: bytes) -> str:
    """`sha256:HEX` of some bytes."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def canonical_json(value: Any) -> bytes:
    """JSON in its one form here: keys sorted, one blank of indentation, UTF-8, one line feed at the end."""
    return (json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False) + "\n").encode()


def render(manifest: Manifest) -> bytes:
    """The bytes of bundle.json: parts sorted by name, so that the order in which they were gathered does not show."""
    plain = manifest.model_dump(mode="json")
    plain["images"].sort(key=lambda one: one["reference"])
    plain["models"].sort(key=lambda one: one["name"])
    plain["files"].sort(key=lambda one: (one["kind"], one["name"]))
    plain["absent"].sort()
    return canonical_json(plain)


def parse(data: bytes, where: str) -> Manifest:
    """Read bundle.json.

    Args:
        where: the file, for errors.

    Raises:
        BundleError: it is no manifest, of another version, contradicts itself, or is not in its one form (a byte was changed).
    """
    again = "copy the bundle anew, or make it again: difyfleet bundle make"
    try:
        plain = json.loads(data.decode())
    except ValueError as error:
        raise BundleError(f"is not JSON: {error}", where=where, hint=again) from None
    if not isinstance(plain, dict) or plain.get("format") != FORMAT:
        raise BundleError("is not the manifest of a difyfleet bundle", where=where, hint=again)
    version = plain.get("version")
    if version != VERSION:
        raise BundleError(
            f"is of format version {version}; this difyfleet reads version {VERSION} (it was made by {plain.get('created_by')})",
            where=where,
            hint="make the bundle again with this difyfleet, or use the difyfleet that made it",
        )
    try:
        manifest = Manifest.model_validate(plain)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        words = f"{place}: {first['msg']}" if place else first["msg"].removeprefix("Value error, ")
        raise BundleError(f"contradicts itself: {words}", where=where, hint=again) from None
    if render(manifest) != data:
        raise BundleError("is not in the form that difyfleet writes: it was changed", where=where, hint=again)
    return manifest


def _stays_inside(path: str) -> bool:
    pure = PurePosixPath(path)
    return bool(pure.parts) and not pure.is_absolute() and ".." not in pure.parts and str(pure) == path
