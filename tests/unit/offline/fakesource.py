"""A machine in memory that has images, models and Docker's files: what a Source gives, with a wire that can be cut."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from difyfleet.facts.engine import DOWNLOADS
from difyfleet.facts.ollama import Blob, StoredModel
from difyfleet.offline.manifest import blob_name, digest_of
from difyfleet.offline.sources import FoundImage
from difyfleet.spec.engine_files import EngineFile
from difyfleet.spec.loader import load
from difyfleet.spec.models import Environment
from tests.unit.offline.samples import layer, noise
from tests.unit.offline.test_archive import listed, tar

OLLAMA, WEBUI, MODEL = "ollama/ollama:0.4.7", "ghcr.io/open-webui/open-webui:0.4.7", "qwen2.5:7b"
BASE = layer("base", noise("base", 5 << 20))
ENGINE, COMPOSE = noise("engine", 2 << 20), noise("compose", 3 << 19)


class WireCut(Exception):
    """The connection is gone."""


class _Cut(io.RawIOBase):
    """Gives so many bytes, then breaks."""

    def __init__(self, data: bytes, after: int) -> None:
        self._data, self._after, self._at = io.BytesIO(data), after, 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if self._at >= self._after:
            raise WireCut
        piece = self._data.read(min(len(buffer), self._after - self._at))
        buffer[: len(piece)] = piece
        self._at += len(piece)
        return len(piece)


def image(seed: str) -> tuple[bytes, list[bytes]]:
    """Configuration and layers."""
    layers = [BASE, layer("app", noise(seed, 4096))]
    config = {
        "architecture": "amd64",
        "os": "linux",
        "rootfs": {"diff_ids": [digest_of(one) for one in layers]},
    }
    return json.dumps({**config, "seed": seed}).encode(), layers


@dataclass
class FakeSource:
    """See sources.Source."""

    name: str = "llm"
    downloads: bool = False
    arch: str = "x86_64"
    stock: dict[str, tuple[bytes, list[bytes]]] = field(
        default_factory=lambda: {OLLAMA: image("ollama"), WEBUI: image("webui")}
    )
    blobs: dict[str, bytes] = field(
        default_factory=lambda: {"weights": noise("weights", 3 << 20), "license": b"\nMIT License\n"}
    )
    cut_after: int | None = None  # bytes that the wire still carries
    sent: int = 0
    engine_there: bool = True

    @contextmanager
    def _wire(self, data: bytes) -> Iterator[BinaryIO]:
        if self.cut_after is not None and len(data) > self.cut_after:
            self.sent += self.cut_after
            yield io.BufferedReader(_Cut(data, self.cut_after))  # type: ignore[misc]
            return
        if self.cut_after is not None:
            self.cut_after -= len(data)
        self.sent += len(data)
        yield io.BytesIO(data)

    def machine(self) -> str:
        return self.arch

    def images(self, references: Sequence[str]) -> dict[str, FoundImage]:
        return {
            name: FoundImage(
                digest_of(self.stock[name][0]),
                frozenset({f"{name.rpartition(':')[0]}@{digest_of(name.encode())}"}),
            )
            for name in references
            if name in self.stock
        }

    def save(self, reference: str, known: Sequence[str]) -> Any:
        config, layers = self.stock[reference]
        files = {blob_name(digest_of(data)): data for data in (*layers, config)}
        sent = {name: data for name, data in files.items() if digest_of(data) not in known}
        names = [blob_name(digest_of(data)) for data in layers]
        return self._wire(
            tar({**sent, "manifest.json": listed(blob_name(digest_of(config)), names)}).getvalue()
        )

    def _manifest(self) -> bytes:
        types = {
            "weights": "application/vnd.ollama.image.model",
            "license": "application/vnd.ollama.image.license",
        }
        layers = [
            {"mediaType": types[name], "digest": digest_of(data), "size": len(data)}
            for name, data in self.blobs.items()
        ]
        return json.dumps({"config": {}, "layers": layers}).encode()

    def models(self) -> dict[str, StoredModel]:
        blobs = tuple(Blob(digest_of(data), len(data), "ok") for data in self.blobs.values())
        path = "/opt/ollama/models/manifests/registry.ollama.ai/library/qwen2.5/7b"
        return {MODEL: StoredModel(MODEL, digest_of(self._manifest())[7:], path, blobs)}

    def file(self, path: str, start: int = 0) -> Any:
        there = {
            f"/opt/ollama/models/blobs/{digest_of(data).replace(':', '-')}": data
            for data in self.blobs.values()
        }
        there[f"{DOWNLOADS}/docker-28.5.2.tgz"], there[f"{DOWNLOADS}/docker-compose-2.40.3"] = ENGINE, COMPOSE
        return self._wire(self._manifest() if path.endswith("/7b") else there[path][start:])

    def engine(self, wanted: EngineFile) -> str | None:
        return digest_of(ENGINE if wanted.kind == "engine" else COMPOSE) if self.engine_there else None


def environment(folder: Path, extra: str = "") -> Environment:
    """An inventory without Dify that declares what a FakeSource has, and one document."""
    (folder / "docs").mkdir(exist_ok=True)
    (folder / "docs" / "假期.md").write_text("# 假期\n十天\n")
    compose = digest_of(COMPOSE)[7:]
    text = f"""
admin: {{email: ops@example.com}}
hosts: {{llm: 192.0.2.1}}
dify: {{enabled: false}}
docker: {{bundle: {{compose_sha256: {compose}}}}}
ollama: {{models: [{MODEL}]}}
{extra}
"""
    (folder / "prod.yml").write_text(text)
    return load(folder / "prod.yml")
