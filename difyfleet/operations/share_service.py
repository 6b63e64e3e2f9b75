"""The serving side: a transient unit on the host that has something, for the time of a run, open to those who take from it."""

from __future__ import annotations

import json
import secrets
import shlex
from dataclasses import dataclass, field
from ipaddress import IPv4Interface
from pathlib import Path
from typing import Any

from difyfleet.errors import HostError
from difyfleet.facts.share import LanAddresses, ServicePort
from difyfleet.operations.onhost import execute
from difyfleet.remote.neighbours import Neighbours, read_fact

IDLE = 600  # seconds without a request after which it ends by itself
LONGEST = (
    12 * 3600
)  # seconds after which systemd ends it, and firewalld closes the way, whatever else happens
_SCRIPT = Path(__file__).with_name("share_serve_script.py")


@dataclass
class Service:
    """What serves on a host during this run.

    Args:
        token: what a request must carry; known to root on both hosts only.
        addresses: of the host, as others see it.
        opened: addresses of takers for which the firewall was opened.
    """

    donor: Any
    name: str
    token: str
    port: int
    addresses: tuple[IPv4Interface, ...]
    opened: set[str] = field(default_factory=set)

    def urls(self, taker: tuple[IPv4Interface, ...]) -> tuple[str, ...]:
        """Where a taker finds it: addresses in a network of its own first."""
        near = [one for one in self.addresses if any(one.ip in other.network for other in taker)]
        ordered = dict.fromkeys([*near, *self.addresses])
        return tuple(f"http://{one.ip}:{self.port}" for one in ordered)

    def open_to(self, taker: tuple[IPv4Interface, ...]) -> None:
        """Let a taker's addresses through firewalld, where that runs. The rules are not permanent and end by themselves."""
        new = [str(one.ip) for one in taker if str(one.ip) not in self.opened]
        if new:
            execute(self.donor, firewall_command("add", self.port, new, self.addresses), timeout=60)
            self.opened.update(new)

    def stop(self) -> None:
        """End it and close the way."""
        rules = firewall_command("remove", self.port, sorted(self.opened), self.addresses)
        execute(
            self.donor,
            f"systemctl stop {self.name}.service 2>/dev/null; rm -rf {folder(self.name)}; {rules}",
            timeout=60,
        )


def folder(name: str) -> str:
    """Where a service keeps its files."""
    return f"/run/difyfleet/{name}"


def firewall_command(verb: str, port: int, takers: list[str], addresses: tuple[IPv4Interface, ...]) -> str:
    """The shell command that adds or removes a rule per taker, in the zone of the interface that has the host's address."""
    limit = f" --timeout={LONGEST}" if verb == "add" else ""
    lines = []
    for taker in takers:
        rule = f'rule family="ipv4" source address="{taker}" port port="{port}" protocol="tcp" accept'
        lines.append(f'firewall-cmd -q --zone="$z" --{verb}-rich-rule={shlex.quote(rule)}{limit}')
    if not lines:
        return "true"
    first = addresses[0].ip if addresses else ""
    return (
        "systemctl is-active -q firewalld || exit 0; "
        f"i=$(ip -o -4 addr show | awk -v a={first} '{{split($4,x,\"/\"); if (x[1]==a) print $2}}'); "
        'z=$(firewall-cmd --get-zone-of-interface="$i" 2>/dev/null) || z=$(firewall-cmd --get-default-zone); '
        + "; ".join(lines)
    )


def two_files_command(where: str, first: str, second: str) -> str:
    """The shell command that writes two files, for root only, into a folder under /run/difyfleet: standard input up to its NUL byte, and
    the rest. A token must not be in an argument.
    """
    program = "import sys; f, *n = sys.argv[1:]; [open(f + '/' + a, 'w').write(t) for a, t in zip(n, sys.stdin.read().split('\\0', 1))]"
    return (
        f"umask 077; mkdir -p -m 0755 /run/difyfleet; mkdir -p -m 0700 {where} && "
        f"python3 -c {shlex.quote(program)} {where} {first} {second}"
    )


def start_command(name: str) -> str:
    """The shell command that starts a service; its configuration and script come on standard input."""
    where = folder(name)
    return (
        two_files_command(where, "config.json", "serve.py")
        + f" && systemd-run --quiet --collect --unit={name}.service -p RuntimeMaxSec={LONGEST} -p NoNewPrivileges=yes "
        f"--description='difyfleet: images and models for other hosts' python3 {where}/serve.py {where}"
    )


def serving(fleet: Neighbours, donor: Any, taker: Any) -> tuple[Service, tuple[str, ...]]:
    """The service of a host, started if it is not running yet, open to a taker; and its URLs for that taker.

    Raises:
        HostError: it does not start, or there is no address to reach it at.
    """
    seen = read_fact(taker, LanAddresses)
    with fleet.serving:
        service = fleet.services.get(donor.name)
        if service is None:
            service = fleet.services[donor.name] = _start(donor)
            fleet.at_end(donor, service.stop)
        service.open_to(seen)
    return service, service.urls(seen)


def _start(donor: Any) -> Service:
    spec = donor.data.get("spec")
    name, token = f"difyfleet-share-{secrets.token_hex(4)}", secrets.token_urlsafe(32)
    addresses = read_fact(donor, LanAddresses)
    if spec.share.address is not None:
        addresses = tuple(one for one in addresses if str(one.ip) == spec.share.address) or (
            IPv4Interface(spec.share.address),
        )
    if not addresses:
        raise HostError(f"{donor.name} has no address that others could reach", hint="set share.address")
    models = f"{spec.ollama.data_dir}/models" if spec.ollama.enabled else ""
    config = {"token": token, "port": spec.share.port, "idle": IDLE, "models": models}
    ok, words = execute(
        donor, start_command(name), stdin=f"{json.dumps(config)}\0{_SCRIPT.read_text()}", timeout=60
    )
    port = read_fact(donor, ServicePort, folder=folder(name)) if ok else None
    if port is None:
        raise HostError(f"the service on {donor.name} did not start: {words or f'journalctl -u {name}'}")
    return Service(donor, name, token, port, addresses)
