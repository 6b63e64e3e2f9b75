"""``IMAGES=upstream``: the real images under the same names, where this machine has an internet.

They are pulled by this machine's Docker daemon, once, and put into the same registry store; lab hosts still pull them through the
lab's mirror. What the daemon has already (``docker load``) is not pulled.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from lab import engine, pki
from lab.images import layers
from lab.images.catalogue import CONTEXTS, Image

PULL_TIMEOUT = 3600  # s: the largest is over 4 GB


def wanted() -> bool:
    """Does the environment ask for upstream's images?

    :raises LabError: if ``IMAGES`` is neither ``upstream`` nor ``lab`` nor empty.
    """
    choice = os.environ.get("IMAGES", "")
    if choice not in ("", "lab", "upstream"):
        raise engine.LabError(f"IMAGES={choice}: either `upstream` (real images, needs an internet) or `lab`")
    return choice == "upstream"


def _pull(name: str) -> str:
    """Make sure that the daemon has an image; returns its id."""
    if not layers.exists(name):
        engine.run(["docker", "pull", "-q", name], timeout=PULL_TIMEOUT)
    return engine.run(["docker", "image", "inspect", "-f", "{{.Id}}", name]).stdout.strip()


def _trusting(name: str, identity: str, scratch: Path) -> str:
    """Upstream's Ollama plus the lab's CA, without which it cannot pull from the lab's model registry."""
    local = f"{layers.REPOSITORY}/upstream/ollama:{identity.removeprefix('sha256:')[:16]}"
    context = scratch / "ollama-upstream"
    shutil.copytree(CONTEXTS / "ollama_upstream", context)
    shutil.copy(pki.ca() / "ca.crt", context / "difyfleet-lab.crt")
    argv = [
        "docker",
        "build",
        "-q",
        "--network",
        "none",
        "--build-arg",
        f"BASE={name}",
        "-t",
        local,
        str(context),
    ]
    engine.run(argv, timeout=600, env={**os.environ, "DOCKER_BUILDKIT": "0"})
    return local


def ids(images: tuple[Image, ...]) -> dict[str, str]:
    """Image id of every name, pulled if need be: they are the key of the store."""
    return {name: _pull(name) for image in images for name in image.names}


def local_names(image: Image, scratch: Path) -> dict[str, str]:
    """Each tag of an image and the local name to save for it. Two tags need not be the same image upstream."""
    names = dict(zip(image.tags, image.names, strict=True))
    if image.context != "ollama":
        return names
    return {tag: _trusting(name, _pull(name), scratch) for tag, name in names.items()}
