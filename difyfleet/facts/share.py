"""What the hosts of a fleet need to know of each other to hand things over."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Interface

from pyinfra.api import FactBase

_INNER = ("lo", "docker", "br-", "veth", "virbr", "cni", "flannel")  # networks that end at the host


class LanAddresses(FactBase[tuple[IPv4Interface, ...]]):
    """IPv4 addresses under which others may reach the host, with their networks."""

    def command(self) -> str:
        return "ip -o -4 addr show scope global 2>/dev/null; true"

    @staticmethod
    def default() -> tuple[IPv4Interface, ...]:
        return ()

    def process(self, output: Iterable[str]) -> tuple[IPv4Interface, ...]:
        """Lines of NUMBER: NAME inet ADDRESS/LENGTH ..."""
        rows = [line.split() for line in output]
        return tuple(
            IPv4Interface(row[3])
            for row in rows
            if len(row) > 3 and row[2] == "inet" and not row[1].startswith(_INNER)
        )


class ServicePort(FactBase[int | None]):
    """The port that a host's serving unit listens on; None = not (yet).

    Source: the file `port` of share_serve_script.py.
    """

    def command(self, folder: str) -> str:
        return f"i=0; while [ $i -lt 60 ] && [ ! -s {folder}/port ] && [ -d {folder} ]; do sleep 0.3; i=$((i+1)); done; cat {folder}/port 2>/dev/null; true"

    @staticmethod
    def default() -> None:
        return None

    def process(self, output: Iterable[str]) -> int | None:
        text = "".join(output).strip()
        return int(text) if text.isdigit() else None
