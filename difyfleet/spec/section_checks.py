"""What a section's types cannot say: values that depend on each other, and values that work but are unsafe (warnings)."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

from pydantic import BaseModel

from difyfleet.secrets import Secret
from difyfleet.spec import dify_env
from difyfleet.spec.certificates import check_certificate
from difyfleet.spec.document import Node
from difyfleet.spec.explain import did_you_mean
from difyfleet.spec.models import Dify, Docker, Ollama, OpenWebui, Ssh
from difyfleet.spec.problems import Position, Problems
from difyfleet.spec.public_secrets import public_default
from difyfleet.spec.values import ImageReference, floating_tag


class At:
    """Positions in a section: of a value where it is written, else of the nearest thing around it."""

    def __init__(self, node: Node) -> None:
        self._node = node

    def __call__(self, *steps: str | int) -> tuple[Position, str]:
        node = self._node
        for step in steps:
            child = node.child(step)
            if child is None:
                return node.key_at, node.path
            node = child
        return node.at, node.path

    def written(self, *steps: str | int) -> bool:
        return self._node.find(*steps) is not None


def check_section(name: str, value: Any, node: Node, problems: Problems, *, locked: bool = False) -> None:
    """Check one section that has passed its types.

    Args:
        name: field of HostSpec.
        value: the section's model.
        node: the section as written, merged; only what is written is warned about, never a default.
        locked: there is a lock file, which pins what the inventory leaves open.
    """
    at = At(node)
    if not locked:
        _not_pinned(value, at, problems)
    check = _CHECKS.get(name)
    if check is not None:
        check(value, at, problems)


def _not_pinned(value: Any, at: At, problems: Problems) -> None:
    """What may be another thing on another day."""
    for steps, image in _images(value):
        floating = floating_tag(image)
        if floating and at.written(*steps):
            problems.warn(
                *at(*steps),
                f"{image} has {floating}: two hosts, or two days, may run different images; write a fixed tag, or difyfleet lock",
            )
    if not isinstance(value, Docker):
        return
    for source, checksum in (
        ("url", "sha256"),
        ("file", "sha256"),
        ("compose_url", "compose_sha256"),
        ("compose_file", "compose_sha256"),
    ):
        bundle = value.bundle
        if getattr(bundle, source) and not getattr(bundle, checksum) and not bundle.sha256sums:
            problems.warn(
                *at("bundle", source),
                f"runs as root on every host but is not pinned: write bundle.{checksum} or bundle.sha256sums, or difyfleet lock",
            )


def _images(value: Any, steps: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """Every field of type ImageReference that has a value."""
    if not isinstance(value, BaseModel):
        return
    validators = ImageReference.__metadata__  # type: ignore[attr-defined]
    for name, info in type(value).model_fields.items():
        below = getattr(value, name)
        if isinstance(below, BaseModel):
            yield from _images(below, (*steps, name))
        elif isinstance(below, str) and any(one in validators for one in info.metadata):
            yield (*steps, name), below


def _ssh(ssh: Ssh, at: At, problems: Problems) -> None:
    if ssh.host_key_checking == "no":
        problems.warn(
            *at("host_key_checking"),
            "host keys are not checked, so another machine may stand in for a host; accept-new is enough for fresh hosts",
        )
    if ssh.host_key_checking == "yes" and ssh.known_hosts is not None and not ssh.known_hosts.exists():
        problems.error(
            *at("known_hosts"),
            f"{ssh.known_hosts} does not exist, and host_key_checking: yes accepts no unknown host",
        )


def _docker(docker: Docker, at: At, problems: Problems) -> None:
    major = _leading_numbers(docker.version)
    if major is None:
        problems.error(*at("version"), f"{docker.version!r} is not an engine version, as in 28.5.2")
    elif major < (23,):
        problems.error(
            *at("version"),
            f"Docker Engine {docker.version} is too old: before 23.0 daemon.json cannot be validated, before 20.10.10 current images cannot start threads",
        )
    compose = _leading_numbers(docker.compose_version)
    if compose is None or compose < (2,):
        problems.error(
            *at("compose_version"), f"{docker.compose_version!r} is not a Compose version of 2.0 or later"
        )
    elif compose < (2, 24):
        problems.warn(
            *at("compose_version"),
            f"Compose {docker.compose_version} is older than any this was tried with; 2.24 or later is known to do",
        )
    if major is not None and major < (24,):
        for i, mirror in enumerate(docker.mirrors):
            if urlsplit(mirror).path.strip("/"):
                problems.error(
                    *at("mirrors", i),
                    f"Docker Engine {docker.version} refuses a mirror URL with a path; 24.0 and later take it",
                )
    if docker.insecure_registries and at.written("insecure_registries"):
        problems.warn(
            *at("insecure_registries"),
            "registries without TLS verification: whoever is on the way can replace an image",
        )
    if docker.method == "rpm" and docker.rpm.gpgkey is None:
        problems.warn(*at("rpm", "gpgkey"), "packages are installed without a signature check")
    bundle = docker.bundle
    for one, other in (("url", "file"), ("compose_url", "compose_file")):
        if getattr(bundle, one) and getattr(bundle, other):
            problems.error(*at("bundle", other), f"bundle.{one} is given too; one source is enough")
    _networks(docker, at, problems)


def _networks(docker: Docker, at: At, problems: Problems) -> None:
    """The engine's networks must lie apart: it would hand out one address twice or refuse to start."""
    named: list[tuple[Any, tuple[str | int, ...], str]] = []
    if docker.bip:
        named.append((ipaddress.ip_interface(docker.bip).network, ("bip",), f"bip {docker.bip}"))
    for i, pool in enumerate(docker.address_pools):
        named.append(
            (ipaddress.ip_network(pool["base"]), ("address_pools", i), f"address pool {pool['base']}")
        )
    for i, (network, steps, label) in enumerate(named):
        for other, other_steps, other_label in named[:i]:
            if network.version == other.version and network.overlaps(other):
                mine, theirs = (steps, other_label) if at.written(*steps) else (other_steps, label)
                problems.error(*at(*mine), f"overlaps {theirs}")


def _ollama(ollama: Ollama, at: At, problems: Problems) -> None:
    if ollama.enabled and not ipaddress.ip_address(ollama.bind).is_loopback:
        problems.warn(
            *at("bind"),
            f"Ollama has no authentication: whoever reaches {ollama.bind} port {ollama.port} can use, pull and delete models. "
            "Open WebUI and Dify on this host reach it without this",
        )


def _openwebui(webui: OpenWebui, at: At, problems: Problems) -> None:
    if webui.enabled and webui.signup:
        problems.warn(*at("signup"), "whoever reaches the page can make an account")


def _dify(dify: Dify, at: At, problems: Problems) -> None:
    https = dify.https
    if not https.enabled:
        if https.certificate and not at.written("https", "enabled"):
            problems.warn(*at("https", "certificate"), "HTTPS stays off until https.enabled is true")
        return
    for name in ("certificate", "key"):
        if getattr(https, name) is None:
            problems.error(
                *at("https", "enabled"), f"HTTPS needs https.{name}, a PEM file beside the inventory"
            )
    if https.certificate and https.key:
        check_certificate(
            https.certificate,
            https.key,
            dify.server_name,
            at("https", "certificate"),
            at("https", "key"),
            problems,
        )


def check_variables(name: str, node: Node, problems: Problems) -> None:
    """Check a section's environment variables as written. Runs even when the section's types are wrong elsewhere."""
    variables = node.child("env")
    if variables is None or variables.kind != "mapping":
        return
    for key, entry in variables.entries.items():
        if entry.kind != "scalar" or entry.value is None or isinstance(entry.value, float):
            continue  # the types say so
        reason = (
            dify_env.problem(key, entry.value) if name == "dify" else _unfit_for_env_file(key, entry.value)
        )
        text = dify_env.text(entry.value)
        if reason:
            problems.error(entry.at, entry.path, reason)
        elif public_default(text):
            problems.error(
                entry.at, entry.path, "this value is a secret that upstream publishes; anyone knows it"
            )
        elif dify_env.holds_secret(key) and text:
            Secret(text)  # known to mask() from here on
            problems.warn(
                entry.at,
                entry.path,
                "this secret stands in the inventory as plain text; keep the file private (chmod 600)",
            )
        if name == "dify" and not reason:
            _maybe_misspelt(key, entry, problems)
            if key in ("DEBUG", "FLASK_DEBUG") and text == "true":
                problems.warn(
                    entry.at, entry.path, "shows Dify's inner workings to whoever meets an error page"
                )


def _maybe_misspelt(key: str, entry: Node, problems: Problems) -> None:
    if key in dify_env.KNOWN:
        return
    suggestion = did_you_mean(key, [*dify_env.KNOWN, *dify_env.MANAGED], cutoff=0.85)
    if suggestion:
        problems.warn(
            entry.key_at, entry.path, f"not a setting of Dify 0.11.2 that difyfleet knows{suggestion}"
        )


def _unfit_for_env_file(key: str, value: dify_env.EnvValue) -> str | None:
    """Variables for a container travel in an env file: one line each, no quoting."""
    if not dify_env.NAME.fullmatch(key):
        return "is not a name for an environment variable (letters, digits and _)"
    if isinstance(value, str) and any(character in value for character in "\n\r\0"):
        return "may not hold line breaks"
    return None


def _leading_numbers(version: str) -> tuple[int, ...] | None:
    match = re.fullmatch(r"(\d+)\.(\d+)(?:\.(\d+))?([-+~.][A-Za-z0-9.+~-]*)?", version)
    return tuple(int(part) for part in match.groups()[:3] if part) if match else None


_CHECKS: dict[str, Callable[[Any, At, Problems], None]] = {
    "ssh": _ssh,
    "docker": _docker,
    "ollama": _ollama,
    "openwebui": _openwebui,
    "dify": _dify,
}
