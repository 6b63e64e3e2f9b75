"""Docker networks as the daemon describes them. (Containers: facts/compose.py.)"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable
from dataclasses import dataclass

from pyinfra.api import FactBase


@dataclass(frozen=True)
class Network:
    """A Docker network."""

    name: str
    driver: str
    internal: bool


class NetworkState(FactBase[Network | None]):
    """A Docker network by name; None = there is none (or no Docker)."""

    def command(self, network: str) -> str:
        return (
            "command -v docker >/dev/null || exit 0; "
            f"docker network inspect --format '{{{{json .}}}}' {shlex.quote(network)} 2>/dev/null || true"
        )

    @staticmethod
    def default() -> None:
        return None

    def process(self, output: Iterable[str]) -> Network | None:
        text = "\n".join(output).strip()
        if not text:
            return None
        raw = json.loads(text)
        return Network(raw["Name"], raw["Driver"], bool(raw["Internal"]))
