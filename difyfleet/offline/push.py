"""`difyfleet bundle push`: to each host those blobs of a bundle that it lacks, and a record of what they make up.

A host gets what its inventory entry declares, no more. What Docker or Ollama there have already is not sent. Loading is apply's work.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from difyfleet.errors import HostError
from difyfleet.facts.ollama import HASH_TIMEOUT, OllamaStore, Store
from difyfleet.facts.pushed import (
    RECORD,
    STORE,
    Contents,
    Installed,
    InstalledParts,
    Pushed,
    PushedBundle,
    PushedFile,
    PushedImage,
    PushedModel,
)
from difyfleet.offline.layout import full_name, tag_of
from difyfleet.offline.manifest import Image, blob_name
from difyfleet.offline.pace import Pace
from difyfleet.offline.reader import Bundle
from difyfleet.offline.room import Room, require_room
from difyfleet.remote.blobs import Blob, Sent, send
from difyfleet.spec.engine_files import engine_files
from difyfleet.spec.models import HostSpec


@dataclass(frozen=True)
class Push:
    """What a push to one host has done.

    Args:
        declared: bytes of all that the bundle has for this host.
        sent: bytes of blobs that went over the line; more than `lacked` where a line broke.
        left_out: what the host declares and neither has nor finds in the bundle.
    """

    declared: int
    lacked: int
    sent: int
    seconds: float
    via: str
    left_out: tuple[str, ...] = field(default=())

    @property
    def rate(self) -> float:
        """Bytes a second."""
        return self.sent / self.seconds if self.seconds else 0.0

    def to_json(self) -> dict[str, Any]:
        return {
            "declared": self.declared,
            "lacked": self.lacked,
            "sent": self.sent,
            "seconds": round(self.seconds, 3),
            "via": self.via or None,
            "left_out": list(self.left_out),
        }


def push(on: Any, spec: HostSpec, bundle: Bundle) -> Push:
    """Bring one host what it lacks.

    Args:
        on: pyinfra's host; the run holds its lease.

    Raises:
        BundleError: the bundle is for another architecture, or damaged.
        HostError: there is not room enough (nothing was sent), the bundle is a delta on something the host does not have, or the
            line broke.
    """
    models_dir = f"{spec.ollama.data_dir}/models"
    folders = (STORE, spec.docker.data_root, models_dir)
    pushed: Pushed = on.get_fact(PushedBundle)
    installed: Installed = on.get_fact(InstalledParts, models=models_dir, folders=folders)
    if spec.ollama.enabled and installed.blobs:
        store: Store = on.get_fact(OllamaStore, data_dir=spec.ollama.data_dir, _timeout=HASH_TIMEOUT)
        installed = without_damaged(installed, store)
    bundle.manifest.require_architecture(installed.machine, where=on.name)
    offered = contents_of(bundle, spec, pushed.contents)
    together = pushed.contents.with_more(offered)
    lacking = [
        digest
        for digest in dict.fromkeys(needed(offered, installed))
        if pushed.there.get(digest) != offered.sizes[digest]
    ]
    _require_carried(bundle, lacking, on.name)
    declared, lacked = offered.size_of(offered.digests()), offered.size_of(lacking)
    lost = left_out(spec, together, installed)
    if not lacking and together == pushed.contents:
        return Push(declared, 0, 0, 0.0, "", lost)
    begun = sum(pushed.begun.get(digest, 0) for digest in lacking)
    require_room(Room(offered, installed, lacked - begun, spec.docker.data_root, models_dir), on.name)
    blobs = [_blob(bundle, digest, offered.sizes[digest]) for digest in lacking]
    pace = Pace(on.name, "push", lacked, begun)
    done: Sent = send(on, STORE, blobs, (RECORD, together.to_text()), pace.moved)
    return Push(declared, lacked, done.sent, done.seconds, done.via, lost)


def _blob(bundle: Bundle, digest: str, size: int) -> Blob:
    name = blob_name(digest)
    return Blob(digest[7:], size, lambda: bundle.open(name), bundle.where(name))


def contents_of(bundle: Bundle, spec: HostSpec, before: Contents) -> Contents:
    """What a bundle has for one host, as the host's record says it.

    Args:
        before: what was pushed earlier; of a delta, images whose configuration the bundle leaves out are known from there.
    """
    manifest = bundle.manifest
    declared = {model.name for model in spec.ollama.declared()} if spec.ollama.enabled else set()
    images = [
        made
        for image in manifest.images
        if image.reference in spec.wanted_images and (made := _image(bundle, image, before)) is not None
    ]
    models = [
        PushedModel(model.name, model.manifest, model.path, tuple(model.layers))
        for model in manifest.models
        if model.name in declared
    ]
    versions = {(file.kind, file.version) for file in engine_files(spec.docker)}
    files = [
        PushedFile(file.kind, file.name, str(file.version), file.digest)
        for file in manifest.files
        if spec.docker.method == "static" and (file.kind, file.version) in versions
    ]
    found = Contents(
        {one.reference: one for one in images},
        {one.name: one for one in models},
        {one.kind: one for one in files},
    )
    sizes = {digest: manifest.blobs[digest] for digest in found.digests()}
    return Contents(found.images, found.models, found.files, sizes)


def _image(bundle: Bundle, image: Image, before: Contents) -> PushedImage | None:
    """None = a delta that leaves out an image of which nothing is known here; where Docker has it that is well."""
    tag = tag_of(image.reference)
    if tag is None:
        return None
    known = before.images.get(image.reference)
    if image.id in bundle.manifest.carried:
        rootfs = json.loads(bundle.read(blob_name(image.id))).get("rootfs") or {}
        diff_ids = tuple(rootfs.get("diff_ids") or ())
    elif known is not None and known.id == image.id:
        diff_ids = known.diff_ids
    else:
        return None
    return PushedImage(
        image.reference, full_name(tag), image.id, image.manifest, tuple(image.layers), diff_ids
    )


def needed(contents: Contents, installed: Installed) -> Iterable[str]:
    """Blobs without which a host cannot have what is offered; some more than once. What is in the store already is not looked at."""
    for image in contents.images.values():
        if not {image.id, image.manifest} & installed.ids:
            chains = () if installed.containerd else installed.chains
            yield from (image.id, image.manifest, *image.layers_beyond(chains))
    for model in contents.models.values():
        missing = [one for one in model.layers if installed.blobs.get(one) != contents.sizes[one]]
        if missing or installed.manifests.get(model.path) != model.manifest:
            yield from (*missing, model.manifest)
    for file in contents.files.values():
        yield file.digest


def without_damaged(installed: Installed, store: Store) -> Installed:
    """What a host has, less the blobs of Ollama's that do not have the content of their names."""
    bad = {blob.digest for model in store.models.values() for blob in model.damaged}
    good = {digest: size for digest, size in installed.blobs.items() if digest not in bad}
    return replace(installed, blobs=good)


def _require_carried(bundle: Bundle, lacking: Iterable[str], name: str) -> None:
    lost = [digest for digest in lacking if digest not in bundle.manifest.carried]
    if lost:
        owner = (bundle.manifest.owners(lost[0]) or ["?"])[0]
        raise HostError(
            f"the bundle is a delta: it leaves out {len(lost)} blobs that this host lacks, the first of {owner}",
            where=name,
            hint=f"push the bundle that it is based on first (its bundle.json has {str(bundle.manifest.base)[7:19]})",
        )


def left_out(spec: HostSpec, contents: Contents, installed: Installed) -> tuple[str, ...]:
    """What a host declares and a bundle does not bring: told, not refused, since it may be there under another name or come later."""
    lost = [f"image {image}" for image in spec.wanted_images if image not in contents.images]
    if spec.ollama.enabled:
        there = _names(installed.manifests)
        lost += [
            f"model {model.name}"
            for model in spec.ollama.declared()
            if model.name not in contents.models and model.name not in there
        ]
    if spec.docker.method == "static":
        for file in engine_files(spec.docker):
            found = contents.files.get(file.kind)
            if file.file is None and (found is None or found.version != file.version):
                lost.append(f"{file.kind} {file.version}")
    return tuple(lost)


def _names(manifests: Mapping[str, str]) -> set[str]:
    """Names of models by their manifests' paths (`manifests/registry.ollama.ai/library/NAME/TAG`)."""
    prefix = "manifests/registry.ollama.ai/"
    found = set()
    for path in manifests:
        if path.startswith(prefix):
            name, _, tag = path.removeprefix(prefix).removeprefix("library/").rpartition("/")
            found.add(f"{name}:{tag}")
    return found
