"""What tags mean today: registries asked from the host, since the controller may have no way to them."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pyinfra.api import FactBase

_SCRIPT = Path(__file__).with_name("registry_script.py")
HUB = "https://registry-1.docker.io"
MODEL_REGISTRY = "registry.ollama.ai"
TIMEOUT = 3600  # seconds; a file whose hash is wanted is read to its end


@dataclass(frozen=True)
class Answer:
    """What a registry (or a download server) said of one thing."""

    place: str = ""  # the server's name
    digest: str = ""  # of the manifest or index, or of the file
    config: str | None = None  # of an image: digest of its configuration
    blobs: Mapping[str, int] = field(default_factory=dict)  # digest -> bytes
    error: str | None = None  # why there is no answer: every server that was asked, and its words


Place = dict[str, Any]  # see registry_script.py


def image_places(
    reference: str, mirrors: Iterable[str] = (), *, insecure: Iterable[str] = (), timeout: float = 4.0
) -> list[Place]:
    """Where a manifest can be asked for, in the order in which dockerd would pull it.

    Args:
        mirrors: base URLs, for images of Docker Hub.
        insecure: registries (host:port) spoken to without TLS verification, or without TLS.
        timeout: seconds that one mirror may take.
    """
    name, _, digest = reference.partition("@")
    path, colon, tag = name.rpartition(":")
    if not colon or "/" in tag:
        path, tag = name, "latest"
    first, slash, rest = path.partition("/")
    if not slash or not ("." in first or ":" in first or first == "localhost"):
        first, rest = "docker.io", path
    wanted = digest or tag
    if first in ("docker.io", "index.docker.io"):
        repository = rest if "/" in rest else f"library/{rest}"
        here = [
            {"manifest": f"{base.rstrip('/')}/v2/{repository}/manifests/{wanted}", "timeout": timeout}
            for base in mirrors
        ]
        return [*here, {"manifest": f"{HUB}/v2/{repository}/manifests/{wanted}"}]
    address = f"{first}/v2/{rest}/manifests/{wanted}"
    if first in insecure:
        return [
            {"manifest": f"https://{address}", "insecure": True},
            {"manifest": f"http://{address}", "insecure": True},
        ]
    return [{"manifest": f"https://{address}"}]


def model_places(name: str) -> list[Place]:
    """Where Ollama would pull a model (name with tag) from."""
    path, _, tag = name.rpartition(":")
    parts = path.split("/")
    server = parts.pop(0) if len(parts) > 2 else MODEL_REGISTRY
    repository = "/".join(parts if len(parts) > 1 else ["library", *parts])
    return [{"manifest": f"https://{server}/v2/{repository}/manifests/{tag}"}]


class RegistryAnswers(FactBase[dict[tuple[str, str], Answer]]):
    """Questions of the form ((kind, name), places), asked now. Only GET requests."""

    def command(self, questions: tuple[tuple[tuple[str, str], list[Place]], ...]) -> str:
        listed = json.dumps([{"key": list(key), "places": places} for key, places in questions])
        return f"LC_ALL=C python3 -c {shlex.quote(_SCRIPT.read_text())} {shlex.quote(listed)}"

    @staticmethod
    def default() -> dict[tuple[str, str], Answer]:
        return {}

    def process(self, output: Iterable[str]) -> dict[tuple[str, str], Answer]:
        found = {}
        for raw in map(json.loads, filter(None, output)):
            kind, name = raw.pop("key")
            found[kind, name] = Answer(**raw)
        return found
