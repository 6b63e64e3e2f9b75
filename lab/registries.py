"""The registries of the lab's network: Docker Hub's mirror, ghcr.io and Ollama's model registry, each with TLS.

Docker's two are Debian's ``docker-registry`` (upstream's own program), read-only, each on a folder of lab/images; the third is
lab/model_server.py. Their logs are ``.lab/registry-*.log``: one line per request, so that a test can see who asked whom.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lab import engine, images, models, pki

if TYPE_CHECKING:
    from lab.network import Network

PORT = 443
MODEL_RATE_FILE = (
    "model-rate"  # in the state folder: bytes/s for every model download, see lab/model_server.py
)
SERVERS = {"docker.m.daocloud.io": "hub", "ghcr.io": "ghcr"}


def configuration(storage: Path, address: str, certificate: Path, key: Path) -> dict[str, Any]:
    """What docker-registry reads (YAML; this JSON is also YAML)."""
    return {
        "version": "0.1",
        "log": {"level": "warn", "accesslog": {"disabled": False}},
        "storage": {
            "filesystem": {"rootdirectory": str(storage)},
            "maintenance": {"readonly": {"enabled": True}, "uploadpurging": {"enabled": False}},
            "delete": {"enabled": False},
        },
        "http": {
            "addr": f"{address}:{PORT}",
            "tls": {"certificate": str(certificate), "key": str(key)},
            "headers": {"X-Content-Type-Options": ["nosniff"]},
        },
    }


def start(lab: Network, state: Path) -> list[int]:
    """Start the registries that the lab's DNS names, and wait until they accept.

    :param lab: the network; its namespace must be there.
    :param state: folder for configuration and logs.
    :returns: process ids, which the caller records.
    :raises LabError: if one of them does not come up; the message carries its log.
    """
    from lab import network

    engine.ensure("docker-registry")
    store, model_store = images.build(), models.build()
    addresses = {"docker.m.daocloud.io": network.MIRROR, "ghcr.io": network.GHCR}
    pids = []
    waits = []
    for name, folder in SERVERS.items():
        certificate, key = pki.issue([name])
        file, log = state / f"registry-{folder}.json", state / f"registry-{folder}.log"
        file.write_text(
            json.dumps(configuration(store / folder, addresses[name], certificate, key), indent=2) + "\n"
        )
        pids.append(lab.spawn("registries", ["docker-registry", "serve", str(file)], log))
        waits.append((addresses[name], log))
    certificate, key = pki.issue(["registry.ollama.ai", network.OLLAMA])
    log = state / "registry-models.log"
    command = [
        sys.executable, str(Path(__file__).with_name("model_server.py")), "--store", str(model_store),
        "--listen", f"{network.OLLAMA}:{PORT}", "--certificate", str(certificate), "--key", str(key),
        "--rate-file", str(state / MODEL_RATE_FILE),
    ]  # fmt: skip
    pids.append(lab.spawn("registries", command, log))
    waits.append((network.OLLAMA, log))
    for address, written in waits:
        lab.wait_for_port(address, PORT, written)
    return pids
