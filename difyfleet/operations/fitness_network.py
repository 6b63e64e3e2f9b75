"""The preflight's judgement of ports and subnets: who holds a port that we want, and which network Docker's own would hide."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from dataclasses import dataclass

from difyfleet.checks import Check
from difyfleet.facts.fitness import Fitness
from difyfleet.spec.models import HostSpec

Network = ipaddress.IPv4Network
_WILD = {"0.0.0.0", "*", "[::]", "::", ""}


@dataclass(frozen=True)
class WantedPort:
    """A host port that the stack is going to publish."""

    address: str
    port: int
    use: str


def wanted_ports(spec: HostSpec) -> tuple[WantedPort, ...]:
    """The ports this host is to publish."""
    found = []
    if spec.ollama.enabled:
        found.append(WantedPort(spec.ollama.bind, spec.ollama.port, "Ollama"))
    if spec.openwebui.enabled:
        found.append(WantedPort(spec.openwebui.bind, spec.openwebui.port, "Open WebUI"))
    if spec.dify.enabled:
        found.append(WantedPort(spec.dify.bind, spec.dify.http_port, "Dify HTTP"))
        if spec.dify.https.enabled:
            found.append(WantedPort(spec.dify.bind, spec.dify.https.port, "Dify HTTPS"))
    return tuple(found)


def ports(seen: Fitness, spec: HostSpec, now: float) -> Iterator[Check]:
    for want in wanted_ports(spec):
        name = f"ports: {want.port}/tcp free for {want.use}"
        if seen.listeners is None:
            yield Check(
                name,
                False,
                "ss is not installed, so nobody could be asked",
                "dnf install iproute",
                warn_only=True,
            )
            continue
        holder = port_holder(seen, spec, want)
        yield Check(
            name,
            holder is None,
            f"held by {holder}" if holder else "free or ours",
            f"stop {holder}, or give {want.use} another port in the inventory" if holder else None,
        )


def port_holder(seen: Fitness, spec: HostSpec, want: WantedPort) -> str | None:
    """Who holds a port that we want; None when it is free or one of our own containers has it."""
    for container in seen.containers:
        if any(port == want.port and _overlap(address, want.address) for address, port in container.ports):
            return (
                None
                if is_ours(container.working_dir, container.project, spec)
                else f"container {container.name}"
            )
    for listener in seen.listeners or ():
        if listener.port == want.port and _overlap(listener.address, want.address):
            if listener.process == "docker-proxy" and any(
                is_ours(container.working_dir, container.project, spec) and not container.ports
                for container in seen.containers
            ):
                continue  # `docker ps` shows no port of a container that is restarting just now
            return (
                f"{listener.process or 'a process'} (pid {listener.pid})"
                if listener.pid
                else (listener.process or "a process")
            )
    return None


def is_ours(working_dir: str, project: str, spec: HostSpec) -> bool:
    """Whether a compose project is one of the stack's: by its folder, since project names are anybody's."""
    ours = (
        spec.dify.directory,
        spec.ollama.data_dir,
        spec.openwebui.data_dir,
        "/opt/difyfleet",
        "/etc/difyfleet",
    )
    return bool(project) and any(
        working_dir == folder or working_dir.startswith(f"{folder}/") for folder in ours
    )


def _overlap(one: str, other: str) -> bool:
    return one in _WILD or other in _WILD or one.strip("[]") == other.strip("[]")


def subnets(seen: Fitness, spec: HostSpec, now: float) -> Iterator[Check]:
    try:
        ours = docker_networks(spec)
    except (ValueError, TypeError, KeyError) as error:
        yield Check(
            "subnets: Docker's networks clash with nothing",
            False,
            f"docker.daemon: {error}",
            "correct bip or default-address-pools",
        )
        return
    clashes = [
        f"{net} with {what}" for net in ours for what, other in foreign_networks(seen) if net.overlaps(other)
    ]
    yield Check(
        "subnets: Docker's networks clash with nothing",
        not clashes,
        "; ".join(clashes) or ", ".join(map(str, ours)),
        "set docker.bip and docker.address_pools to ranges that this site does not use; a clash cuts the SSH session"
        if clashes
        else None,
    )


def docker_networks(spec: HostSpec) -> list[Network]:
    """Networks that dockerd may take: docker0's and the pools'. docker.daemon wins, as it does in daemon.json."""
    bip = spec.docker.daemon.get("bip", spec.docker.bip)
    pools = spec.docker.daemon.get("default-address-pools", spec.docker.address_pools)
    found = [ipaddress.ip_interface(bip).network] if bip else []
    found += [ipaddress.ip_network(pool["base"], strict=False) for pool in pools]
    return [net for net in found if isinstance(net, Network)]


def foreign_networks(seen: Fitness) -> Iterator[tuple[str, Network]]:
    """Networks that are in use on the host or on the way to it, Docker's own bridges left out."""
    for interface, address in seen.addresses:
        if not _dockers(interface):
            yield f"{address} on {interface}", Network(address, strict=False)
    for destination, interface in seen.routes:
        if destination != "default" and not _dockers(interface):
            yield f"the route to {destination}", Network(destination, strict=False)
    if seen.client and ":" not in seen.client:
        yield f"the controller's address {seen.client}", Network(seen.client)


def _dockers(interface: str) -> bool:
    return interface in ("docker0", "docker_gwbridge", "lo") or interface.startswith(("br-", "veth"))
