"""What hosts declare, brought from a source into a store, each thing once. Afterwards `manifest` says what is there and what is not."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, cast

import requests
from urllib3.exceptions import HTTPError

from difyfleet import __version__
from difyfleet.errors import FleetError
from difyfleet.facts.engine import DOWNLOADS
from difyfleet.facts.ollama import StoredModel
from difyfleet.offline import archive, wheels
from difyfleet.offline.manifest import MACHINES, File, Image, Kind, Manifest, Model, digest_of
from difyfleet.offline.pace import Pace
from difyfleet.offline.sources import Source, registry_digest
from difyfleet.offline.store import SMALL, Store
from difyfleet.spec.document_files import documents_of
from difyfleet.spec.engine_files import EngineFile, engine_files
from difyfleet.spec.models import HostSpec

_LICENSE = "application/vnd.ollama.image.license"


class Gathering:
    """One bundle on its way.

    Args:
        store: where the blobs go.
        environment: name of the inventory.
    """

    def __init__(self, store: Store, environment: str) -> None:
        self._store, self._environment = store, environment
        self._architecture: str | None = None
        self._images: dict[str, Image] = {}
        self._models: dict[str, Model] = {}
        self._files: dict[tuple[str, str], File] = {}
        self.missing: dict[str, str] = {}  # what was not found so far -> why

    # --- from a source ---

    def take(self, source: Source, spec: HostSpec) -> None:
        """All that a host declares and this source has.

        Raises:
            FleetError: something is there, but not as it is declared or locked.
        """
        machine = source.machine()
        if machine is not None:
            self._same_architecture(MACHINES.get(machine, machine), source.name)
        self._take_images(source, spec)
        self._take_models(source, spec)
        if spec.docker.method == "static":
            for wanted in engine_files(spec.docker):
                self._take_engine(source, wanted)

    def _same_architecture(self, architecture: str, where: str) -> None:
        if self._architecture not in (None, architecture):
            raise FleetError(
                f"is for {architecture}, what was gathered before for {self._architecture}",
                where=where,
                hint="make one bundle for each architecture (--limit)",
            )
        self._architecture = architecture

    def _take_images(self, source: Source, spec: HostSpec) -> None:
        wanted = [one for one in spec.wanted_images if one not in self._images]
        there = source.images(wanted) if wanted else {}
        for reference in wanted:
            if reference not in there:
                self.missing.setdefault(f"image {reference}", f"not on {source.name}")
                continue
            locked = spec.locked_images.get(reference)
            found = there[reference]
            if locked is not None and not locked.fits(reference, found.id, found.digests):
                raise FleetError(
                    f"image {reference} is {found.id[7:19]}, {locked} is locked",
                    where=source.name,
                    hint="run apply first; it puts the locked image there",
                )
            registry = registry_digest(reference, found) or (locked.digest if locked else None)
            pace = Pace(source.name, f"image {reference}")
            with source.save(reference, self._store.known()) as stream:
                image, architecture = archive.take(stream, reference, self._store, registry, pace.moved)
            self._same_architecture(architecture, f"image {reference}")
            self._images[reference] = image
            self.missing.pop(f"image {reference}", None)

    def _take_models(self, source: Source, spec: HostSpec) -> None:
        wanted = [one for one in spec.ollama.declared() if one.name not in self._models]
        there = source.models() if spec.ollama.enabled and wanted else {}
        for model in wanted if spec.ollama.enabled else ():
            stored = there.get(model.name)
            faults = stored.faults(model.digest) if stored else []
            if faults:
                raise FleetError(
                    faults[0], where=source.name, hint="run apply first; it pulls the model anew"
                )
            if stored is None:
                self.missing.setdefault(f"model {model.name}", f"not on {source.name}")
            else:
                self._models[model.name] = self._model(source, stored)
                self.missing.pop(f"model {model.name}", None)

    def _model(self, source: Source, stored: StoredModel) -> Model:
        with source.file(stored.path) as file:
            text = file.read()
        if digest_of(text) != f"sha256:{stored.digest}":
            raise FleetError(f"model {stored.name}: its manifest changed just now", where=source.name)
        root = stored.path.rpartition("/manifests/")[0]
        for blob in stored.blobs:
            path = f"{root}/blobs/{blob.file_name}"
            self._bring(source, path, blob.digest, blob.size, f"model {stored.name}")
        return Model(
            name=stored.name,
            manifest=self._store.put_bytes(text),
            path=stored.path[len(root) + 1 :],
            layers=list(dict.fromkeys(blob.digest for blob in stored.blobs)),
            license=self._license(json.loads(text)),
        )

    def _license(self, manifest: dict[str, Any]) -> str | None:
        for layer in manifest.get("layers") or []:
            if layer.get("mediaType") == _LICENSE and self._store.here(layer["digest"]):
                lines = self._store.read(layer["digest"]).decode(errors="replace").splitlines()
                return next((line.strip()[:100] for line in lines if line.strip()), None)
        return None

    def _bring(self, source: Source, path: str, digest: str, size: int | None, what: str) -> None:
        """A file whose hash is known, from where an earlier run was cut off. Without a size it is read up to its end."""
        if self._store.here(digest) or self._store.elsewhere.get(digest, 0) > SMALL:
            return
        with self._store.resuming(digest) as target:
            start = target.tell()
            pace = Pace(source.name, what, size, start)
            if size is None or start < size:
                with source.file(path, start) as file:
                    while piece := file.read(1 << 20):
                        target.write(piece)
                        pace.moved(len(piece))

    def _take_engine(self, source: Source, wanted: EngineFile) -> None:
        kind: Kind = "engine" if wanted.kind == "engine" else "compose"
        name, what = wanted.kept_as, f"{kind} {wanted.version}"
        if (kind, name) in self._files:
            return
        digest = self._engine_file(source, wanted)
        if digest is None:
            self.missing.setdefault(what, f"{source.name} does not have {DOWNLOADS}/{name}")
            return
        if wanted.sha256 not in (None, digest[7:]):
            raise FleetError(
                f"{wanted.name} has the hash {digest[7:19]}, not {str(wanted.sha256)[:12]}",
                where=str(wanted.file or source.name),
                hint=f"correct {wanted.key}, or the file",
            )
        self._add(kind, name, digest, wanted.version, "Apache-2.0", f"{DOWNLOADS}/{name}")
        self.missing.pop(what, None)

    def _engine_file(self, source: Source, wanted: EngineFile) -> str | None:
        if wanted.file is not None:
            with wanted.file.open("rb") as file:
                return self._store.put_stream(file)
        what = f"{wanted.kind} {wanted.version}"
        digest = source.engine(wanted)
        if digest is not None:
            self._bring(source, f"{DOWNLOADS}/{wanted.kept_as}", digest, None, what)
        elif source.downloads and wanted.url is not None:
            if wanted.sha256 is None and not wanted.url.startswith("https://"):
                raise FleetError(
                    "http cannot be trusted without a hash", where=wanted.url, hint=f"set {wanted.key}"
                )
            pace = Pace(source.name, what)
            with download(wanted.url) as body:
                digest = self._store.put_stream(body, pace.moved)
        return digest

    # --- from the controller ---

    def take_documents(self, specs: Iterable[HostSpec]) -> None:
        """The documents of all knowledge bases, as they lie in their folders."""
        for spec in specs:
            for key, knowledge in spec.knowledge.items():
                for document in documents_of(knowledge).documents:
                    with document.path.open("rb") as file:
                        self._add("document", f"{key}/{document.path.name}", self._store.put_stream(file))

    def take_wheels(self, files: Sequence[Path]) -> None:
        """Python wheels."""
        for path in files:
            version, words = wheels.version_and_license(path)
            with path.open("rb") as file:
                self._add("wheel", path.name, self._store.put_stream(file), version, words)

    def _add(
        self,
        kind: Kind,
        name: str,
        digest: str,
        version: str | None = None,
        words: str | None = None,
        target: str | None = None,
    ) -> None:
        known = self._files.setdefault(
            (kind, name),
            File(kind=kind, name=name, digest=digest, version=version, target=target, license=words),
        )
        if known.digest != digest:
            raise FleetError(f"two files would both be {name}", where=kind, hint="rename one of them")

    # --- the result ---

    def manifest(self, base: tuple[str, Manifest] | None = None) -> Manifest:
        """The manifest of what was gathered.

        Args:
            base: digest of the bundle.json that the target has the blobs of, and what it says.

        Raises:
            FleetError: something that is declared was found nowhere.
        """
        if self.missing:
            listed = "\n  ".join(f"{what}: {why}" for what, why in self.missing.items())
            raise FleetError(
                f"not everything that is declared was found\n  {listed}",
                hint="run apply first, or leave it out of the inventory",
            )
        parts: list[Image | Model | File] = [
            *self._images.values(),
            *self._models.values(),
            *self._files.values(),
        ]
        needed = sorted({digest for part in parts for digest in part.digests()})
        return Manifest.model_validate(
            {
                "created_by": f"difyfleet {__version__}",
                "environment": self._environment,
                "architecture": self._architecture or "amd64",
                "images": [one.model_dump() for one in self._images.values()],
                "models": [one.model_dump() for one in self._models.values()],
                "files": [one.model_dump() for one in self._files.values()],
                "blobs": {digest: self._store.size(digest) for digest in needed},
                "base": base[0] if base else None,
                "absent": sorted(set(needed) & set(base[1].blobs)) if base else [],
            }
        )


@contextmanager
def download(url: str) -> Iterator[BinaryIO]:
    """A file from the network.

    Raises:
        FleetError: it could not be had.
    """
    try:
        with requests.get(url, stream=True, timeout=60, headers={"Accept-Encoding": "identity"}) as answer:
            answer.raise_for_status()
            yield cast(BinaryIO, answer.raw)
    except (requests.RequestException, HTTPError) as error:
        raise FleetError(f"download failed: {error}", where=url) from error
