"""Inventories of the benchmark: inventory/lab.yml, for other hosts and other ways to them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from lab.state import CHECKOUT

FOLDER = (
    CHECKOUT / ".bench"
)  # inventories, state folders, results; nothing in it is kept from one checkout to the next
LAB = CHECKOUT / ".lab"
USER = "openeuler"  # for every contender: a login without a password, and a sudo without one


def ssh_section(addresses: bool, known_hosts: Path) -> dict[str, str]:
    """How hosts are reached: by their addresses from the benchmark's controller, or through the lab's relay."""
    if not addresses:
        return {"config": str(LAB / "ssh_config"), "known_hosts": str(LAB / "known_hosts")}
    return {
        "user": USER,
        "key": str(LAB / "key"),
        "known_hosts": str(known_hosts),
        "host_key_checking": "yes",
    }


def write(name: str, hosts: Mapping[str, str | None], known_hosts: Path = LAB / "known_hosts") -> Path:
    """An inventory file of these hosts, everything else as inventory/lab.yml declares it.

    Args:
        name: of the file, without its ending.
        hosts: name -> address; None = a lab host, through the relay.
        known_hosts: for hosts that have an address.
    """
    declared: dict[str, Any] = yaml.safe_load((CHECKOUT / "inventory" / "lab.yml").read_text())
    declared["hosts"] = {host: {"address": address} if address else None for host, address in hosts.items()}
    declared["ssh"] = ssh_section(any(hosts.values()), known_hosts)
    declared["docker"]["bundle"]["sha256sums"] = str(LAB / "SHA256SUMS")
    for knowledge in declared["knowledge"].values():
        knowledge["documents"] = str(CHECKOUT / "inventory" / knowledge["documents"])
    FOLDER.mkdir(exist_ok=True)
    path: Path = FOLDER / f"{name}.yml"
    path.write_text(yaml.safe_dump(declared, allow_unicode=True, sort_keys=False))
    return path


def models() -> list[str]:
    """The models that inventory/lab.yml declares."""
    declared = yaml.safe_load((CHECKOUT / "inventory" / "lab.yml").read_text())
    return list(declared["ollama"]["models"])
