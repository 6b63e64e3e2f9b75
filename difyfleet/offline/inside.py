"""Do images and models say inside what the manifest says of them? Looked at blob by blob, before any of them is loaded."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator
from typing import Any

from difyfleet.offline.manifest import Image, Manifest, Model


def contradictions(
    manifest: Manifest, read: Callable[[str], bytes], there: Collection[str]
) -> Iterator[tuple[str, str]]:
    """What does not fit, as (digest of the blob, words).

    Args:
        read: gives a small blob's content.
        there: blobs whose content is known to have its hash; the others are not looked into.
    """
    for image in manifest.images:
        yield from _image(manifest, image, read, there)
    for model in manifest.models:
        yield from _model(model, read, there)


def _image(
    manifest: Manifest, image: Image, read: Callable[[str], bytes], there: Collection[str]
) -> Iterator[tuple[str, str]]:
    if image.id in there:
        config = _object(read(image.id))
        if config.get("architecture") != manifest.architecture or config.get("os") != "linux":
            found = f"{config.get('os')}/{config.get('architecture')}"
            yield (
                image.id,
                f"image {image.reference} is for {found}, the bundle for linux/{manifest.architecture}",
            )
        if len((config.get("rootfs") or {}).get("diff_ids") or []) != len(image.layers):
            yield image.id, f"image {image.reference} does not have the layers that the manifest gives it"
    if image.manifest in there:
        inner = _object(read(image.manifest))
        named = [part.get("digest") for part in [inner.get("config") or {}, *(inner.get("layers") or [])]]
        if named != [image.id, *image.layers]:
            yield image.manifest, f"image {image.reference}: its OCI manifest names other blobs"


def _model(model: Model, read: Callable[[str], bytes], there: Collection[str]) -> Iterator[tuple[str, str]]:
    if model.manifest in there:
        inner = _object(read(model.manifest))
        parts = [inner.get("config") or {}, *(inner.get("layers") or [])]
        if {part.get("digest") for part in parts if part.get("digest")} != set(model.layers):
            yield model.manifest, f"model {model.name}: its manifest names other blobs"


def _object(data: bytes) -> dict[str, Any]:
    try:
        found = json.loads(data)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
