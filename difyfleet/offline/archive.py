"""An image out of `docker save`'s stream into a store: layers under their hashes, and the names by which both of Docker's stores know it.

Three forms of archive are read: up to Docker 24 (ID/layer.tar), from 25 on with the classic store (blobs/sha256/..., uncompressed), and
with containerd's store (blobs as the registry has them). The first two give the same blobs for the same image.
"""

from __future__ import annotations

import json
import posixpath
import tarfile
from collections.abc import Callable
from typing import Any, BinaryIO

from difyfleet.errors import FleetError
from difyfleet.offline.layout import image_manifest
from difyfleet.offline.manifest import Image, digest_of
from difyfleet.offline.store import Store

_SMALL = 4 << 20  # bytes; configurations and manifests are smaller, and a small layer does no harm in memory
_TYPES = {
    "config": "application/vnd.oci.image.config.v1+json",
    "layer": "application/vnd.oci.image.layer.v1.tar",
}


def take(
    stream: BinaryIO,
    reference: str,
    store: Store,
    registry: str | None = None,
    moved: Callable[[int], None] = lambda _: None,
) -> tuple[Image, str]:
    """Read one image's archive.

    Args:
        stream: a tar, not seekable; layers that the store has may be left out of it.
        registry: its digest in the registry, where known.
        moved: called with the bytes of each piece.

    Returns:
        the image, and its architecture.

    Raises:
        FleetError: the archive does not hold what its list says.
    """
    files = _Files(store)
    try:
        with tarfile.open(fileobj=stream, mode="r|", bufsize=1 << 20) as tar:
            for member in tar:
                files.take(tar, member, moved)
    except tarfile.ReadError as error:
        raise FleetError(
            f"docker save broke off: {error}", where=f"image {reference}", hint="run it again"
        ) from None
    listed = json.loads(files.content("manifest.json", reference))
    if len(listed) != 1:
        raise FleetError(f"docker save gave {len(listed)} images, not one", where=f"image {reference}")
    config = files.content(listed[0]["Config"], reference)
    plain = json.loads(config)
    layers = [files.digest(name, reference) for name in listed[0]["Layers"]]
    image = Image(
        reference=reference,
        id=store.put_bytes(config),
        manifest=store.put_bytes(_oci_manifest(files, store, reference, config, plain, layers)),
        registry=registry,
        layers=layers,
        license=_license(plain),
    )
    return image, str(plain.get("architecture"))


class _Files:
    """The members of one archive: small ones in memory, all others in the store."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._small: dict[str, bytes] = {}
        self._digests: dict[str, str] = {}
        self._links: dict[str, str] = {}

    def take(self, tar: tarfile.TarFile, member: tarfile.TarInfo, moved: Callable[[int], None]) -> None:
        if member.issym():  # up to Docker 24 a layer that stands twice is a link to the first one
            self._links[member.name] = posixpath.normpath(
                posixpath.join(posixpath.dirname(member.name), member.linkname)
            )
        source = tar.extractfile(member) if member.isfile() else None
        if source is None:
            return
        if member.size <= _SMALL:
            self._small[member.name] = source.read()
            moved(member.size)
        else:
            self._digests[member.name] = self._store.put_stream(source, moved)  # type: ignore[arg-type]

    def content(self, name: str, reference: str) -> bytes:
        """A small member, or a small blob that the store had."""
        digest = f"sha256:{name.rpartition('/')[2]}"
        if name in self._small:
            return self._small[name]
        if self._store.here(digest):
            return self._store.read(digest)
        raise FleetError(f"docker save gave no {name}", where=f"image {reference}")

    def digest(self, name: str, reference: str) -> str:
        """A layer's digest; from here on it is in the store."""
        name = self._links.get(name, name)
        if name in self._digests:
            return self._digests[name]
        if name in self._small:
            return self._store.put_bytes(self._small[name])
        digest = f"sha256:{name.rpartition('/')[2]}"
        if self._store.has(digest):
            return digest
        raise FleetError(f"docker save gave no {name}", where=f"image {reference}")

    def manifests(self) -> list[tuple[str, bytes]]:
        """OCI manifests by digest: the one that index.json names, or those in the index that it names."""
        index = json.loads(self._small.get("index.json", b"{}"))
        found, todo = [], list(index.get("manifests") or [])
        while todo:
            digest = str(todo.pop(0).get("digest"))
            text = self._small.get(f"blobs/{digest.replace(':', '/')}")
            if text is not None:
                todo += json.loads(text).get("manifests") or []
                found.append((digest, text))
        return found


def _oci_manifest(
    files: _Files, store: Store, reference: str, config: bytes, plain: dict[str, Any], layers: list[str]
) -> bytes:
    """Uncompressed layers: our own, the same whatever engine saved them. Others: the one that came with them, which the registry had."""
    config_digest = digest_of(config)
    if layers == list((plain.get("rootfs") or {}).get("diff_ids") or []):
        parts = [
            {"mediaType": _TYPES["layer"], "digest": layer, "size": store.size(layer)} for layer in layers
        ]
        return image_manifest(
            {"mediaType": _TYPES["config"], "digest": config_digest, "size": len(config)}, parts
        )
    for digest, text in files.manifests():
        if (json.loads(text).get("config") or {}).get("digest") == config_digest and digest_of(
            text
        ) == digest:
            return text
    raise FleetError("docker save gave no manifest for its layers", where=f"image {reference}")


def _license(config: dict[str, Any]) -> str | None:
    labels = (config.get("config") or {}).get("Labels") or {}
    return labels.get("org.opencontainers.image.licenses") or None
