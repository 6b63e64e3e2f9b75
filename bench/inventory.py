"""Inventories of the benchmark: inventory/lab.yml, for other hosts and other ways to them."""

from __future__ import annotations

import contextlib
import fcntl
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from lab.engine import LabError
from lab.state import CHECKOUT

FOLDER: Path = CHECKOUT / ".bench"  # inventories, state, Ansible's environment
LAB = CHECKOUT / ".lab"
USER = "openeuler"  # for every contender: a login without a password, and a sudo without one


def folder() -> Path:
    """The folder, made if it is not there; for the owner only: what the playbook declares holds secrets of lab hosts."""
    FOLDER.mkdir(exist_ok=True, mode=0o700)
    return FOLDER


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """Only one benchmark at a time in a checkout: they would share the controller's namespace and the processor.

    Raises:
        LabError: another one runs.
    """
    with (folder() / "lock").open("w") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise LabError("another `make bench` runs in this checkout") from None
        yield


def ssh_section(addresses: bool, known_hosts: Path, user: str) -> dict[str, str]:
    """How hosts are reached: by their addresses from the benchmark's controller, or through the lab's relay."""
    if not addresses:
        return {"config": str(LAB / "ssh_config"), "known_hosts": str(LAB / "known_hosts")}
    return {
        "user": user,
        "key": str(LAB / "key"),
        "known_hosts": str(known_hosts),
        "host_key_checking": "yes",
    }


def write(
    name: str,
    hosts: Mapping[str, str | None],
    known_hosts: Path = LAB / "known_hosts",
    user: str = USER,
    skip: Sequence[str] = (),
) -> Path:
    """An inventory file of these hosts, everything else as inventory/lab.yml declares it.

    Args:
        name: of the file, without its ending.
        hosts: name -> address; None = a lab host, through the relay.
        known_hosts, user: for hosts that have an address.
        skip: preflight checks that only warn.
    """
    declared: dict[str, Any] = yaml.safe_load((CHECKOUT / "inventory" / "lab.yml").read_text())
    declared["preflight"]["skip"] = list(skip)
    declared["hosts"] = {host: {"address": address} if address else None for host, address in hosts.items()}
    declared["ssh"] = ssh_section(any(hosts.values()), known_hosts, user)
    declared["docker"]["bundle"]["sha256sums"] = str(LAB / "SHA256SUMS")
    for knowledge in declared["knowledge"].values():
        knowledge["documents"] = str(CHECKOUT / "inventory" / knowledge["documents"])
    path = folder() / f"{name}.yml"
    path.write_text(yaml.safe_dump(declared, allow_unicode=True, sort_keys=False))
    return path


def models() -> list[str]:
    """The models that inventory/lab.yml declares."""
    declared = yaml.safe_load((CHECKOUT / "inventory" / "lab.yml").read_text())
    return list(declared["ollama"]["models"])
