"""Hosts with `offline: true`: what cannot be had without a network is refused, and what only a network is good for is left out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from difyfleet.spec.document import Node
from difyfleet.spec.models import HostSpec
from difyfleet.spec.problems import Problems

Steps = tuple[str | int, ...]


def check_offline(spec: HostSpec, nodes: Mapping[str, Node | None], host: Node, problems: Problems) -> None:
    """Report what an offline host declares and cannot get.

    Args:
        nodes: each section as written (merged), None where all is default.
        host: the host's own entry.
    """
    if not spec.offline:
        return
    for section, steps, text in _faults(spec):
        node = nodes.get(section)
        written = node.find(*steps) if node else None
        if written is not None:
            problems.error(written.at, written.path, text)
        else:
            problems.error(host.key_at, f"{host.path}.{'.'.join(map(str, (section, *steps)))}", text)


def _faults(spec: HostSpec) -> Iterator[tuple[str, Steps, str]]:
    if spec.docker.method == "rpm":
        yield (
            "docker",
            ("method",),
            "packages need their repository; an offline host takes the static archive",
        )
    if spec.openwebui.enabled and not spec.openwebui.offline:
        yield "openwebui", ("offline",), "false, on a host that is offline"
    named = [("ollama", ("image",), spec.ollama.image)] if spec.ollama.enabled else []
    if spec.openwebui.enabled:
        named.append(("openwebui", ("image",), spec.openwebui.image))
    places: list[tuple[str, Steps, str]] = [*named]
    if spec.dify.enabled:
        places += [("dify", ("images", key), str(image)) for key, image in spec.dify.images]
    for section, steps, image in places:
        if "@" in image:
            text = f"{image}: a loaded image has no registry digest to be found by; name its tag, difyfleet lock pins it"
            yield section, steps, text


def resolved(spec: HostSpec) -> HostSpec:
    """The spec as roles see it: an offline host has no use for mirrors, and dead ones would only delay Docker's errors."""
    if not spec.offline:
        return spec
    docker = spec.docker.model_copy(update={"mirrors": [], "mirror_probe": False})
    return spec.model_copy(update={"docker": docker})
