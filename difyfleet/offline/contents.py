"""`difyfleet bundle inspect`: what a bundle says of itself."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from difyfleet.offline import minisign
from difyfleet.offline.layout import SIGNATURE
from difyfleet.offline.manifest import MANIFEST, File, Image, Manifest, Model, digest_of
from difyfleet.offline.reader import open_bundle

Row = tuple[str, str, str, str, str, str]


@dataclass(frozen=True)
class Contents:
    """A bundle's manifest, and who claims to have signed it.

    Args:
        digest: of bundle.json.
        signed_by: ID of a key; nothing is proved by it.
    """

    manifest: Manifest
    digest: str
    signed_by: str | None

    def to_json(self) -> dict[str, Any]:
        """The manifest, with digest, signer and sums of sizes."""
        manifest = self.manifest
        return {
            "digest": self.digest,
            "signed_by": self.signed_by,
            "bytes": sum(manifest.carried.values()),
            "bytes_absent": manifest.size_of(manifest.absent),
            "bytes_one_tar_per_image": self.one_tar_per_image,
            "manifest": json.loads(manifest.model_dump_json()),
        }

    @property
    def one_tar_per_image(self) -> int:
        """Bytes of all layers if each image had its own, as with one `docker save` for each."""
        return sum(self.manifest.blobs[layer] for image in self.manifest.images for layer in image.layers)

    def lines(self) -> Iterator[str]:
        """For people."""
        manifest = self.manifest
        yield f"bundle of {manifest.environment} for {manifest.architecture}, made by {manifest.created_by}"
        yield f"digest {self.digest}"
        yield f"signature: {f'claims to be by key {self.signed_by}' if self.signed_by else 'none'}"
        yield ""
        yield from _table([("kind", "name", "id", "version", "size", "licence"), *self._rows()])
        yield ""
        layers = manifest.size_of(layer for image in manifest.images for layer in image.layers)
        yield f"layers {_mb(layers)}; with one tar for each image {_mb(self.one_tar_per_image)}"
        words = f"; {_mb(manifest.size_of(manifest.absent))} left out, they are in {str(manifest.base)[7:19]}"
        yield f"in all {_mb(sum(manifest.carried.values()))}{words if manifest.base else ''}"

    def _rows(self) -> Iterator[Row]:
        parts: list[Image | Model | File] = [
            *sorted(self.manifest.images, key=lambda one: one.reference),
            *sorted(self.manifest.models, key=lambda one: one.name),
            *sorted(self.manifest.files, key=lambda one: (one.kind, one.name)),
        ]
        for part in parts:
            size = _mb(self.manifest.size_of(part.digests()))
            license_ = part.license or "-"
            if isinstance(part, Image):
                yield "image", part.reference, part.id[7:19], "-", size, license_
            elif isinstance(part, Model):
                yield "model", part.name, part.manifest[7:19], "-", size, license_
            else:
                yield part.kind, part.name, part.digest[7:19], part.version or "-", size, license_


def contents(path: Path) -> Contents:
    """Read a bundle's manifest; of a tar only its headers and beginning.

    Raises:
        BundleError: see reader.open_bundle and manifest.parse.
    """
    with open_bundle(path) as bundle:
        signature = bundle.read(SIGNATURE) if SIGNATURE in bundle.names() else b""
        return Contents(
            bundle.manifest,
            digest_of(bundle.read(MANIFEST)),
            minisign.signer(signature) if signature else None,
        )


def _table(rows: Sequence[Row]) -> Iterator[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        yield "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip()


def _mb(size: int) -> str:
    return f"{size / 1e6:.1f} MB"
