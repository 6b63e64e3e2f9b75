"""Write images of the local daemon into the on-disk layout of a Docker registry (``registry:2``).

Straight from ``docker save``: no registry process, no push, and every layer is compressed once per content, not once per
image or per build.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import shutil
import tarfile
import tempfile
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from lab import cache, engine

MANIFEST_TYPE = "application/vnd.docker.distribution.manifest.v2+json"
CONFIG_TYPE = "application/vnd.docker.container.image.v1+json"
LAYER_TYPE = "application/vnd.docker.image.rootfs.diff.tar.gzip"
_LEVEL = 4  # gzip: 3 times as fast as the default for 4 % more bytes, and the network is a bridge


def digest_of(path: Path) -> str:
    """``sha256:<hex>`` of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return f"sha256:{digest.hexdigest()}"


class Store:
    """One registry's storage folder, as ``filesystem.rootdirectory`` wants it."""

    def __init__(self, root: Path) -> None:
        self.root = root / "docker" / "registry" / "v2"

    def blob_path(self, digest: str) -> Path:
        """Where a blob lies."""
        hexadecimal = digest.removeprefix("sha256:")
        return self.root / "blobs" / "sha256" / hexadecimal[:2] / hexadecimal / "data"

    def add_file(self, source: Path, digest: str) -> None:
        """Add a blob by hard link, or by copy across file systems."""
        target = self.blob_path(digest)
        if target.exists():
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(source, target)
        except OSError:
            shutil.copyfile(source, target)

    def add_bytes(self, content: bytes) -> str:
        """Add a small blob; returns its digest."""
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        target = self.blob_path(digest)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
        return digest

    def _link(self, repository: str, place: str, digest: str) -> None:
        path = self.root / "repositories" / repository / place / "link"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(digest)

    def add_image(
        self, repository: str, tags: Iterable[str], config: bytes, layers: list[tuple[str, Path]]
    ) -> str:
        """Add an image.

        :param config: the image's configuration, byte for byte, so that the image ID is the local daemon's.
        :param layers: digest and file of each compressed layer, lowest first.
        :returns: the manifest's digest, which a host shows as the image's RepoDigest.
        """
        for digest, path in layers:
            self.add_file(path, digest)
        config_digest = self.add_bytes(config)
        manifest = {
            "schemaVersion": 2,
            "mediaType": MANIFEST_TYPE,
            "config": {"mediaType": CONFIG_TYPE, "size": len(config), "digest": config_digest},
            "layers": [
                {"mediaType": LAYER_TYPE, "size": path.stat().st_size, "digest": digest}
                for digest, path in layers
            ],
        }
        digest = self.add_bytes(json.dumps(manifest, indent=3).encode())
        for blob in (config_digest, *(layer for layer, _ in layers)):
            self._link(repository, f"_layers/sha256/{_hex(blob)}", blob)
        self._link(repository, f"_manifests/revisions/sha256/{_hex(digest)}", digest)
        for tag in tags:
            self._link(repository, f"_manifests/tags/{tag}/current", digest)
            self._link(repository, f"_manifests/tags/{tag}/index/sha256/{_hex(digest)}", digest)
        return digest


def _hex(digest: str) -> str:
    return digest.removeprefix("sha256:")


def _compress(source: Path, target: Path) -> None:
    with source.open("rb") as stream, target.open("wb") as raw:
        if stream.read(2) == b"\x1f\x8b":  # a daemon with the containerd store saves layers compressed
            stream.seek(0)
            shutil.copyfileobj(stream, raw, 1 << 20)
            return
        stream.seek(0)
        # no name and no time in the header: the same layer gives the same digest
        with gzip.GzipFile(filename="", fileobj=raw, mode="wb", compresslevel=_LEVEL, mtime=0) as packed:
            shutil.copyfileobj(stream, packed, 1 << 20)


def compressed(diff_id: str, source: Path) -> tuple[str, Path]:
    """A layer compressed, kept in the cache by the digest of its content: most layers outlive many builds of the store.

    :param diff_id: ``sha256:<hex>`` of the uncompressed layer, from the image's configuration.
    :param source: the layer as ``docker save`` wrote it; only read on a miss.
    :returns: digest and path of the compressed layer.
    """
    folder = cache.root() / "image-layers"
    folder.mkdir(parents=True, exist_ok=True)
    final = folder / f"{_hex(diff_id)}-{_LEVEL}.tar.gz"
    if not final.exists():
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".", delete=False) as stream:
            temporary = Path(stream.name)
        try:
            _compress(source, temporary)
            temporary.chmod(0o644)
            temporary.rename(final)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    return digest_of(final), final


def saved(images: Iterable[str], folder: Path) -> dict[str, tuple[bytes, list[tuple[str, Path]]]]:
    """Save local images and compress their layers.

    :param folder: scratch folder for the unpacked ``docker save``.
    :returns: for each image its configuration and its layers, as :meth:`Store.add_image` wants them.
    """
    names = list(images)
    archive = folder / "save.tar"
    engine.run(["docker", "save", "-o", str(archive), *names], timeout=900)
    with tarfile.open(archive) as tar:
        tar.extractall(folder / "save")  # noqa: S202 - our own daemon wrote it
    archive.unlink()
    entries: list[dict[str, Any]] = json.loads((folder / "save" / "manifest.json").read_text())
    found: dict[str, tuple[bytes, list[tuple[str, Path]]]] = {}
    with ThreadPoolExecutor(max_workers=os.cpu_count() or 2) as pool:
        jobs: dict[str, Future[tuple[str, Path]]] = {}
        images_of: dict[str, tuple[bytes, list[str]]] = {}
        for entry in entries:
            config = (folder / "save" / entry["Config"]).read_bytes()
            diff_ids: list[str] = json.loads(config)["rootfs"]["diff_ids"]
            for diff_id, layer in zip(diff_ids, entry["Layers"], strict=True):
                if diff_id not in jobs:
                    jobs[diff_id] = pool.submit(compressed, diff_id, (folder / "save" / layer).resolve())
            for name in entry["RepoTags"]:
                images_of[name] = (config, diff_ids)
        for name, (config, diff_ids) in images_of.items():
            found[name] = (config, [jobs[diff_id].result() for diff_id in diff_ids])
    return found


def scratch() -> tempfile.TemporaryDirectory[str]:
    """A folder for one build's temporary files, beside the cache so that it is on a disk with room."""
    cache.root().mkdir(parents=True, exist_ok=True)
    return tempfile.TemporaryDirectory(prefix=".images-", dir=cache.root())
