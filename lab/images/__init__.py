"""The images of the document's stack, under their real names, in the storage layout of a Docker registry.

nginx, PostgreSQL, Redis and squid are Debian's programs, Ollama is the real server of version 0.4.7; the rest are stand-ins
(label ``lab.difyfleet.stand-in=true``) that read the same variables and fail in the same ways as the real ones.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

from lab import cache, engine, ollama, pki
from lab.images import layers, store
from lab.images.catalogue import CONTEXTS, IMAGES, Image


def _build_image(image: Image, apt_state: Path, context: Path, key: str) -> str:
    """``docker build`` of one image unless the daemon has it; returns its local name."""
    local = f"{image.local}:{key[:16]}"
    if layers.exists(local):
        return local
    parent = layers.ensure(image.layer, apt_state)
    shutil.copytree(CONTEXTS / image.context, context, ignore=shutil.ignore_patterns("__pycache__"))
    if image.context == "ollama":
        shutil.copytree(ollama.build(), context / "ollama")
        shutil.copy(pki.ca() / "ca.crt", context / "difyfleet-lab.crt")
    _fix_modes(context)
    engine.run(
        [
            "docker", "build", "-q", "--network", "none", "--build-arg", f"BASE={parent}",
            "--label", f"lab.difyfleet.stand-in={'true' if image.stand_in else 'false'}", "-t", local, str(context),
        ],
        timeout=600,
        env={**os.environ, "DOCKER_BUILDKIT": "0"},  # the builder that every docker.io package has
    )  # fmt: skip
    return local


def _fix_modes(context: Path) -> None:
    """Readable by all, whatever the umask of the checkout: images run some programs as other users."""
    for path in (context, *context.rglob("*")):
        path.chmod(0o755 if path.is_dir() or os.access(path, os.X_OK) else 0o644)


def _keys() -> dict[Image, str]:
    """The content key of every image."""
    keys = {}
    for image in IMAGES:
        extra: list[Path] = [ollama.build(), pki.ca() / "ca.crt"] if image.context == "ollama" else []
        inputs = [CONTEXTS / image.context, layers.tag(image.layer), str(image.stand_in), *extra]
        keys[image] = cache.key("image", inputs)
    return keys


def _build_store(folder: Path, keys: dict[Image, str]) -> None:
    with store.scratch() as work:
        scratch = Path(work)
        locals_ = {
            image: _build_image(image, scratch / "apt", scratch / image.context, key)
            for image, key in keys.items()
        }
        saved = store.saved(locals_.values(), scratch)
        digests = {}
        for image, local in locals_.items():
            config, image_layers = saved[local]
            target = store.Store(folder / image.registry)
            digest = target.add_image(image.repository, image.tags, config, image_layers)
            digests.update(dict.fromkeys(image.names, digest))
        (folder / "digests.json").write_text(json.dumps(digests, indent=2) + "\n")


def build() -> Path:
    """Cached: folders ``hub`` and ``ghcr`` for one registry process each, and ``digests.json`` (name -> manifest digest)."""
    engine.ensure_docker()
    keys = _keys()
    names = [f"{name} {key}" for image, key in keys.items() for name in image.names]
    return cache.step("images", names, lambda folder: _build_store(folder, keys))


def digests() -> dict[str, str]:
    """Manifest digest of every image by the name a user types."""
    loaded: dict[str, str] = json.loads((build() / "digests.json").read_text())
    return loaded
