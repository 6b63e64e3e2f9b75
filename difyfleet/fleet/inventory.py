"""An Environment as pyinfra sees it: host names with connector data, and the HostSpec as `host.data.spec`."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from difyfleet.spec.models import Environment, HostSpec
from difyfleet.spec.secret_values import value_of

CONNECTOR = "difyfleet"


def host_data(spec: HostSpec) -> dict[str, Any]:
    """pyinfra host data of one host. Secrets stay `Secret`; the door unpacks them."""
    ssh = spec.ssh
    data: dict[str, Any] = {
        "spec": spec,
        "ssh_hostname": spec.address,
        "ssh_strict_host_key_checking": ssh.host_key_checking,
        "_sudo": ssh.sudo if ssh.sudo is not None else ssh.user != "root",
    }
    for key, value in (
        ("ssh_user", ssh.user),
        ("ssh_port", ssh.port),
        ("ssh_key", ssh.key and str(ssh.key)),
        ("ssh_config_file", ssh.config and str(ssh.config)),
        ("ssh_known_hosts_file", ssh.known_hosts and str(ssh.known_hosts)),
        ("difyfleet_ssh_password", value_of(ssh.password)),
        ("difyfleet_sudo_password", value_of(ssh.sudo_password)),
    ):
        if value is not None:
            data[key] = value
    return data


def names_and_data(hosts: Iterable[HostSpec]) -> list[tuple[str, dict[str, Any]]]:
    """`(name, data)` pairs for pyinfra's Inventory or for a Python inventory file."""
    return [(f"@{CONNECTOR}/{spec.name}", host_data(spec)) for spec in hosts]


def pyinfra_hosts(shim: str) -> list[tuple[str, dict[str, Any]]]:
    """What `inventory/NAME.py` hands to plain pyinfra: the hosts of `inventory/NAME.yml` beside it."""
    from difyfleet.spec.loader import load

    environment: Environment = load(Path(shim).with_suffix(".yml"))
    return names_and_data(environment.hosts)
