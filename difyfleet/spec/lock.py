"""The lock file `NAME.lock.yml` beside an inventory: what its tags and versions meant when they were locked.

Only the models and the text are here; spec/pins.py reads the file and holds hosts to it, fleet/lock_file.py finds out what to write.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import Field, model_validator

from difyfleet.spec.section import Section
from difyfleet.spec.values import ImageReference, repository

VERSION = 1
Digest = Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")]


class LockedImage(Section):
    """One image. Docker's two image stores name it differently, so both names are kept where they are known."""

    digest: Digest | None = Field(
        None, description="Of its manifest (or index) in the registry: its ID in the containerd store."
    )
    id: Digest | None = Field(None, description="Of its configuration: its ID in Docker's classic store.")

    @model_validator(mode="after")
    def _says_something(self) -> LockedImage:
        if self.digest is None and self.id is None:
            raise ValueError("needs a digest, an id or both")
        return self

    def pinned(self, reference: str) -> str | None:
        """The reference by digest (`nginx@sha256:...`), which a registry cannot answer with anything else."""
        return f"{repository(reference)}@{self.digest}" if self.digest else None

    def fits(self, reference: str, image_id: str, digests: frozenset[str]) -> bool:
        """Whether a host's image is this one, whichever store it lies in.

        Args:
            image_id: its ID as Docker says it.
            digests: its RepoDigests.
        """
        return image_id in (self.id, self.digest) or self.pinned(reference) in digests

    def names(self, reference: str) -> tuple[str, ...]:
        """What `docker image inspect` finds it by when the tag is not on it."""
        return tuple(name for name in (self.id, self.pinned(reference)) if name)

    def __str__(self) -> str:
        return str(self.id or self.digest)[7:19]


class LockedModel(Section):
    """One of Ollama's models."""

    digest: Digest = Field(..., description="Of its manifest; the first 12 digits are `ollama list`'s ID.")
    blobs: dict[Digest, Annotated[int, Field(ge=0)]] = Field(
        ..., description="Its parts: digest and size in bytes.", min_length=1
    )

    @property
    def hex(self) -> str:
        """The digest as Ollama and the inventory write it."""
        return self.digest.removeprefix("sha256:")


class LockedDocker(Section):
    """What Docker's static installation is unpacked from, by version."""

    engine: dict[str, Digest] = Field(default_factory=dict, description="Of the static archive.")
    compose: dict[str, Digest] = Field(default_factory=dict, description="Of the Compose plugin.")


Entry = LockedImage | LockedModel | str  # a file of the engine is its digest


class Lock(Section):
    """A whole lock file."""

    version: Literal[1] = Field(..., description="Of the file's form.")
    docker: LockedDocker = Field(default_factory=LockedDocker, description="Engine and Compose plugin.")
    images: dict[ImageReference, LockedImage] = Field(default_factory=dict, description="By reference.")
    models: dict[str, LockedModel] = Field(default_factory=dict, description="By name with tag.")

    def entries(self) -> dict[tuple[str, str], Entry]:
        """Everything that is locked, by kind (engine, compose, image, model) and name."""
        return {
            **{("engine", name): value for name, value in self.docker.engine.items()},
            **{("compose", name): value for name, value in self.docker.compose.items()},
            **{("image", name): value for name, value in self.images.items()},
            **{("model", name): value for name, value in self.models.items()},
        }

    @classmethod
    def of(cls, entries: dict[tuple[str, str], Any]) -> Lock:
        """The lock that holds exactly these entries."""
        by_kind: dict[str, dict[str, Any]] = {"engine": {}, "compose": {}, "image": {}, "model": {}}
        for (kind, name), value in entries.items():
            by_kind[kind][name] = value
        docker = LockedDocker(engine=by_kind["engine"], compose=by_kind["compose"])
        return cls(version=VERSION, docker=docker, images=by_kind["image"], models=by_kind["model"])


def lock_path(inventory: Path) -> Path:
    """Where an inventory's lock file is."""
    return inventory.with_name(f"{inventory.stem}.lock.yml")


def text_of(entry: Entry) -> str:
    """A locked entry as people tell it from another one: the first 12 digits of its digest."""
    if isinstance(entry, LockedImage):
        return str(entry)
    return (entry.digest if isinstance(entry, LockedModel) else entry).removeprefix("sha256:")[:12]


def same(one: Entry, other: Entry) -> bool:
    """Whether two entries are the same thing: images agree in one of their digests, all else is equal."""
    if isinstance(one, LockedImage) and isinstance(other, LockedImage):
        pairs = [(a, b) for a, b in ((one.id, other.id), (one.digest, other.digest)) if a and b]
        return any(a == b for a, b in pairs)
    return bool(one == other)


_HEADER = """\
# What the tags and versions of {name} mean, found out by `difyfleet lock {name}`. Keep it under version control beside the inventory.
# Hosts are held to it. Not edited by hand: `difyfleet lock {name}` adds what is newly declared and drops what no longer is,
# `--update ollama|dify|openwebui|models|docker` looks again. docs/lockfile.md says more.
"""


def render(lock: Lock, inventory: str) -> str:
    """The file's text: the same for the same lock, whenever and wherever it is made.

    Args:
        inventory: the inventory's file name.
    """
    plain = {
        "version": lock.version,
        "docker": lock.docker.model_dump(),
        "images": {name: image.model_dump(exclude_none=True) for name, image in lock.images.items()},
        "models": {name: model.model_dump() for name, model in lock.models.items()},
    }
    parts = [
        yaml.safe_dump({key: _sorted(value)}, sort_keys=False, default_flow_style=False, width=1000)
        for key, value in plain.items()
    ]
    return _HEADER.format(name=inventory) + "\n".join(parts)


def _sorted(value: Any) -> Any:
    return {key: _sorted(value[key]) for key in sorted(value)} if isinstance(value, dict) else value
