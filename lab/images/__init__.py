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
from lab.images import layers, store, upstream
from lab.images.catalogue import CONTEXTS, IMAGES, Image


def _inputs(image: Image) -> list[Path]:
    """Files from elsewhere that go into an image, by their place in its build context: see :func:`_fill`."""
    return [ollama.build(), pki.ca() / "ca.crt"] if image.context == "ollama" else []


def _fill(image: Image, context: Path) -> None:
    """Put an image's build context together, readable by all whatever the umask of the checkout."""
    shutil.copytree(CONTEXTS / image.context, context, ignore=shutil.ignore_patterns("__pycache__"))
    if image.context == "ollama":
        binaries, authority = _inputs(image)
        shutil.copytree(binaries, context / "ollama")
        shutil.copy(authority, context / "difyfleet-lab.crt")
    for path in (context, *context.rglob("*")):
        path.chmod(0o755 if path.is_dir() or os.access(path, os.X_OK) else 0o644)


def local_name(image: Image) -> str:
    """The name of an image in the local daemon; the tag is its content key."""
    stand_in = "stand-in" if image.stand_in else "real"
    inputs = [CONTEXTS / image.context, layers.tag(image.layer), stand_in, *_inputs(image)]
    return f"{image.local}:{cache.key('image', inputs)[:16]}"


def _ensure(image: Image, scratch: Path) -> str:
    """Build one image unless the daemon has it; returns its local name."""
    local = local_name(image)
    if layers.exists(local):
        return local
    parent = layers.ensure(image.layer, scratch / "apt")
    context = scratch / image.context
    _fill(image, context)
    engine.run(
        [
            "docker", "build", "-q", "--network", "none", "--build-arg", f"BASE={parent}",
            "--label", f"lab.difyfleet.stand-in={'true' if image.stand_in else 'false'}", "-t", local, str(context),
        ],
        timeout=600,
        env={**os.environ, "DOCKER_BUILDKIT": "0"},  # the builder that every docker.io package has
    )  # fmt: skip
    return local


def local_image(context: str) -> str:
    """Build a single image for this machine's daemon.

    :param context: its folder under lab/images, such as ``dify_api``.
    :returns: its local name.
    """
    engine.ensure_docker()
    (image,) = (image for image in IMAGES if image.context == context)
    with store.scratch() as work:
        return _ensure(image, Path(work))


def _build_store(folder: Path) -> None:
    real = upstream.wanted()
    with store.scratch() as work:
        scratch = Path(work)
        names = {
            image: upstream.local_names(image, scratch)
            if real
            else dict.fromkeys(image.tags, _ensure(image, scratch))
            for image in IMAGES
        }
        saved = store.saved({local for tags in names.values() for local in tags.values()}, scratch)
        digests = {}
        for image, tags in names.items():
            target = store.Store(folder / image.registry)
            for (tag, local), name in zip(tags.items(), image.names, strict=True):
                digests[name] = target.add_image(image.repository, [tag], *saved[local])
        (folder / "digests.json").write_text(json.dumps(digests, indent=2) + "\n")


def build() -> Path:
    """Cached: folders ``hub`` and ``ghcr`` for one registry process each, and ``digests.json`` (name -> manifest digest).

    With ``IMAGES=upstream`` the real images are in it, see lab/images/upstream.py.
    """
    engine.ensure_docker()
    if upstream.wanted():
        names = [f"{name} {identity}" for name, identity in upstream.ids(IMAGES).items()]
        return cache.step("images-upstream", [*names, pki.ca() / "ca.crt"], _build_store)
    names = [f"{name} {local_name(image)}" for image in IMAGES for name in image.names]
    return cache.step("images", names, _build_store)


def digests() -> dict[str, str]:
    """Manifest digest of every image by the name a user types."""
    loaded: dict[str, str] = json.loads((build() / "digests.json").read_text())
    return loaded
