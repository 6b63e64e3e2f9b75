"""The small files of a bundle beside bundle.json: one OCI layout for all images, Docker's own list of them, and SHA256SUMS.

All of them follow from the manifest, so what stands in a bundle must be exactly what these functions give.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import Any

from difyfleet.offline.manifest import MANIFEST, Image, Manifest, blob_name, canonical_json, digest_of

LAYOUT, INDEX, ARCHIVE = "oci-layout", "index.json", "manifest.json"
SUMS, SIGNATURE = "SHA256SUMS", "SHA256SUMS.minisig"
_MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"


def tag_of(reference: str) -> str | None:
    """The name that an image gets when it is loaded: `nginx:1.27.3`; None where the reference has only a digest."""
    name, _, digest = reference.partition("@")
    if ":" in name.rpartition("/")[2]:
        return name
    return None if digest else f"{name}:latest"


def full_name(tag: str) -> str:
    """A tag with its registry: `docker.io/library/nginx:1.27.3`."""
    first, slash, _ = tag.partition("/")
    if slash and ("." in first or ":" in first or first == "localhost"):
        return f"docker.io/{tag.removeprefix('index.docker.io/')}" if first == "index.docker.io" else tag
    return f"docker.io/{tag}" if slash else f"docker.io/library/{tag}"


def _chosen(manifest: Manifest, only: Collection[str] | None) -> list[Image]:
    images = sorted(manifest.images, key=lambda one: one.reference)
    return [one for one in images if only is None or one.reference in only]


def oci_layout() -> bytes:
    """The file `oci-layout`."""
    return canonical_json({"imageLayoutVersion": "1.0.0"})


def oci_index(manifest: Manifest, only: Collection[str] | None = None) -> bytes:
    """`index.json`, by which containerd's image store and OCI tools find the images.

    Args:
        only: references of the images to list; None = all.
    """
    entries = []
    for image in _chosen(manifest, only):
        tag, entry = tag_of(image.reference), _descriptor(manifest, image)
        if tag is not None:
            entry["annotations"] = {
                "io.containerd.image.name": full_name(tag),
                "org.opencontainers.image.ref.name": tag.rpartition(":")[2],
            }
        entries.append(entry)
    return canonical_json(
        {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": entries}
    )


def _descriptor(manifest: Manifest, image: Image) -> dict[str, Any]:
    return {
        "mediaType": _MANIFEST_TYPE,
        "digest": image.manifest,
        "size": manifest.blobs[image.manifest],
        "platform": {"architecture": manifest.architecture, "os": "linux"},
    }


def docker_archive(manifest: Manifest, only: Collection[str] | None = None) -> bytes:
    """Docker's `manifest.json`, by which the classic store's `docker load` finds the images (24.0 and later read the blobs in place).

    Args:
        only: references of the images to list; None = all.
    """
    entries = [
        {
            "Config": blob_name(image.id),
            "RepoTags": [tag] if (tag := tag_of(image.reference)) else None,
            "Layers": [blob_name(layer) for layer in image.layers],
        }
        for image in _chosen(manifest, only)
    ]
    return canonical_json(entries)


def small_files(manifest: Manifest, text: bytes) -> dict[str, bytes]:
    """Every file of a bundle but its blobs and signature, by name.

    Args:
        text: the bytes of bundle.json.
    """
    files = {
        MANIFEST: text,
        LAYOUT: oci_layout(),
        INDEX: oci_index(manifest),
        ARCHIVE: docker_archive(manifest),
    }
    return {**files, SUMS: sums(manifest, files)}


def sums(manifest: Manifest, files: dict[str, bytes]) -> bytes:
    """`SHA256SUMS` over every other file, as `sha256sum -c` reads it. This is what a signature is made of."""
    lines = {name: digest_of(data)[7:] for name, data in files.items()}
    lines |= {blob_name(digest): digest[7:] for digest in manifest.carried}
    return "".join(f"{lines[name]}  {name}\n" for name in sorted(lines)).encode()


def image_manifest(config: dict[str, Any], layers: list[dict[str, Any]]) -> bytes:
    """An OCI image manifest, for images whose source gives none (the classic store): always the same bytes for the same image.

    Args:
        config, layers: digest, size and mediaType of each.
    """
    return json.dumps(
        {"schemaVersion": 2, "mediaType": _MANIFEST_TYPE, "config": config, "layers": layers},
        separators=(",", ":"),
    ).encode()
