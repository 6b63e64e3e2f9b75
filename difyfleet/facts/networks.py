"""Docker networks as the daemon describes them. (Containers: facts/compose.py.)"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable
from dataclasses import dataclass

from pyinfra.api import FactBase

from difyfleet.facts.docker import RUNNING
from difyfleet.host_calls import Command


@dataclass(frozen=True)
class Network:
    """A Docker network."""

    name: str
    driver: str
    internal: bool


class NetworkState(FactBase[Network | None]):
    """A Docker network by name; None = there is none (or no Docker)."""

    def command(self, network: str) -> Command:
        form = '{"Name":{{json .Name}},"Driver":{{json .Driver}},"Internal":{{json .Internal}}}'
        text = (
            f"command -v docker >/dev/null && {RUNNING} || exit 0; "
            f"timeout 60 docker network inspect --format {shlex.quote(form)} {shlex.quote(network)} 2>/dev/null | grep . || true"
        )
        return Command(text, "difyfleet.facts.docker_script", "network", network)

    @staticmethod
    def default() -> None:
        return None

    def process(self, output: Iterable[str]) -> Network | None:
        text = "\n".join(output).strip()
        if not text:
            return None
        raw = json.loads(text)
        return Network(raw["Name"], raw["Driver"], bool(raw["Internal"]))
