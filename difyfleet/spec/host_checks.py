"""What must fit between the sections of one host, and between hosts: ports, networks, addresses."""

from __future__ import annotations

import ipaddress
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass

from difyfleet.spec.document import Node
from difyfleet.spec.models import HostSpec
from difyfleet.spec.problems import Position, Problems


@dataclass(frozen=True)
class _Claim:
    """A port that a part of the stack publishes."""

    field: str
    bind: str
    port: int
    written: Node | None

    @property
    def described(self) -> str:
        place = str(self.written.at) if self.written else "its default"
        return f"{self.written.path if self.written else self.field} ({place})"


def check_host(
    spec: HostSpec, nodes: Mapping[str, Node | None], host: Node, failed: Container[str], problems: Problems
) -> None:
    """Check one host's sections against each other.

    Args:
        failed: sections that are wrong in themselves; what stands in `spec` for them says nothing.
        nodes: each section as written (merged), None where all is default.
        host: the host's own entry.
    """
    _ports(
        [claim for claim in _claims(spec, nodes) if claim.field.split(".")[0] not in failed], host, problems
    )
    if "docker" not in failed:
        _own_address(spec, nodes, host, problems)


def check_duplicate_hosts(hosts: Sequence[tuple[HostSpec, Node]], problems: Problems) -> None:
    """Two names for one machine would have two runs change it at once."""
    seen: dict[tuple[str, int, str], tuple[str, Node]] = {}
    for spec, node in hosts:
        key = (spec.address.lower(), spec.ssh.port or 22, str(spec.ssh.config))
        if key in seen:
            name, first = seen[key]
            text = (
                f"has the same address and SSH port as {name} ({first.key_at}): {spec.address} port {key[1]}"
            )
            problems.error(node.key_at, node.path, text)
        else:
            seen[key] = (spec.name, node)


def _claims(spec: HostSpec, nodes: Mapping[str, Node | None]) -> list[_Claim]:
    def written(section: str, *steps: str) -> Node | None:
        node = nodes.get(section)
        return node.find(*steps) if node else None

    claims = []
    if spec.dify.enabled:
        claims.append(
            _Claim("dify.http_port", spec.dify.bind, spec.dify.http_port, written("dify", "http_port"))
        )
        if spec.dify.https.enabled:
            port = spec.dify.https.port
            claims.append(_Claim("dify.https.port", spec.dify.bind, port, written("dify", "https", "port")))
    if spec.openwebui.enabled:
        webui = spec.openwebui
        claims.append(_Claim("openwebui.port", webui.bind, webui.port, written("openwebui", "port")))
    if spec.ollama.enabled:
        claims.append(_Claim("ollama.port", spec.ollama.bind, spec.ollama.port, written("ollama", "port")))
    return claims


def _ports(claims: Sequence[_Claim], host: Node, problems: Problems) -> None:
    for i, one in enumerate(claims):
        for other in claims[:i]:
            if one.port == other.port and _meet(one.bind, other.bind):
                later, earlier = sorted((one, other), key=_place, reverse=True)
                at: Position = later.written.at if later.written else host.key_at
                path = later.written.path if later.written else f"{host.path}.{later.field}"
                problems.error(at, path, f"port {one.port} is also taken by {earlier.described}")


def _place(claim: _Claim) -> tuple[int, int]:
    return (claim.written.at.line, claim.written.at.column) if claim.written else (0, 0)


def _meet(one: str, other: str) -> bool:
    """Whether two bind addresses share one. The IPv6 wildcard takes IPv4 too on Linux."""
    first, second = ipaddress.ip_address(one), ipaddress.ip_address(other)
    if first == second:
        return True
    if first.version == second.version:
        return first.is_unspecified or second.is_unspecified
    return (first if first.version == 6 else second).is_unspecified


def _own_address(spec: HostSpec, nodes: Mapping[str, Node | None], host: Node, problems: Problems) -> None:
    """A container network around the host's own address takes the SSH session away when dockerd starts."""
    try:
        address = ipaddress.ip_address(spec.address)
    except ValueError:
        return  # a name; the preflight compares with the host's real routes
    docker = nodes.get("docker")
    networks: list[tuple[tuple[str | int, ...], str]] = [
        (("address_pools", i), str(pool["base"])) for i, pool in enumerate(spec.docker.address_pools)
    ]
    if spec.docker.bip:
        networks.append((("bip",), spec.docker.bip))
    for steps, text in networks:
        network = ipaddress.ip_interface(text).network
        if address.version == network.version and address in network:
            written = docker.find(*steps) if docker else None
            words = f"holds the host's own address {address}; containers would cut the host off"
            if written is not None:
                problems.error(written.at, written.path, f"{text} {words}")
            else:
                where = f"docker.{steps[0]}"
                problems.error(host.key_at, host.path, f"the default {where} {text} {words}; set {where}")
