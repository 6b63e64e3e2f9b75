"""The two files of a static engine: where the inventory has them come from, and the hash that is known before anything is fetched."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from difyfleet.spec import defaults
from difyfleet.spec.models import Docker


@dataclass(frozen=True)
class EngineFile:
    """One of them.

    Args:
        kind: engine or compose.
        version: as the inventory wants it.
        url: downloaded on the host; None = uploaded from `file` on the controller.
        sha256: given by the inventory (or its lock file), or known of upstream's own file; None = nobody said.
        key: the inventory's key for its hash.
    """

    kind: str
    version: str
    url: str | None
    file: Path | None
    sha256: str | None
    key: str

    @property
    def name(self) -> str:
        return self.file.name if self.file else (self.url or "").rsplit("/", 1)[-1]

    @property
    def kept_as(self) -> str:
        """Its name in the host's download folder."""
        return f"docker-{self.version}.tgz" if self.kind == "engine" else f"docker-compose-{self.version}"


def engine_files(docker: Docker) -> tuple[EngineFile, EngineFile]:
    """The archive with the engine, and the Compose plugin."""
    bundle = docker.bundle
    archive = EngineFile(
        "engine",
        docker.version,
        _url(bundle.url, bundle.file, defaults.DOCKER_STATIC_URL, docker.version),
        bundle.file,
        bundle.sha256,
        "docker.bundle.sha256",
    )
    compose = EngineFile(
        "compose",
        docker.compose_version,
        _url(bundle.compose_url, bundle.compose_file, defaults.COMPOSE_URL, docker.compose_version),
        bundle.compose_file,
        bundle.compose_sha256,
        "docker.bundle.compose_sha256",
    )
    return _with_hash(archive, bundle.sha256sums), _with_hash(compose, bundle.sha256sums)


def _url(given: str | None, file: Path | None, upstream: str, version: str) -> str | None:
    return None if file else given or upstream.format(version=version)


def _with_hash(one: EngineFile, sums: Path | None) -> EngineFile:
    known = one.sha256 or _sums(sums).get(one.name) or defaults.KNOWN_SHA256.get(one.url or "")
    return EngineFile(one.kind, one.version, one.url, one.file, known, one.key)


def _sums(path: Path | None) -> dict[str, str]:
    """File name -> hash, of a SHA256SUMS file."""
    if path is None:
        return {}
    found = {}
    for line in path.read_text().splitlines():
        match = re.match(r"^([0-9a-f]{64}) [ *](.+)$", line.strip())
        if match:
            found[match[2].rsplit("/", 1)[-1]] = match[1]
    return found
