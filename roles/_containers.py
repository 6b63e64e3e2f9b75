"""Checks that Ollama's and Open WebUI's containers have in common."""

from __future__ import annotations

from collections.abc import Iterator

from pyinfra import host

from difyfleet.checks import Check
from difyfleet.facts.compose import ComposeProject
from difyfleet.operations import compose


def container_checks(project: compose.Project, service: str, published: str) -> Iterator[Check]:
    """The container runs as declared, is healthy, starts with the host, and is published only where declared.

    Args:
        published: the one port it may publish, as `127.0.0.1:11434->11434/tcp`.
    """
    state = host.get_fact(ComposeProject, **project.fact_arguments())
    container = state.containers.get(service)
    name = project.container_name(service)
    found = [difference.why for difference in compose.differences(project, state)]
    image = f"{container.image} {compose.short(container.image_id)}" if container else "absent"
    yield Check(f"container {name}: as declared", not found, "; ".join(found) or image, "difyfleet apply")
    health = (container.health or container.status) if container else "absent"
    yield Check(f"container {name}: healthy", health == "healthy", health, f"docker logs --tail 100 {name}")
    policy = container.restart_policy if container else "absent"
    yield Check(
        f"container {name}: starts with the host",
        policy == "always",
        f"restart policy {policy}",
        "difyfleet apply",
    )
    ports = container.published if container else ()
    yield Check(
        f"container {name}: published only where declared",
        ports == (published,),
        ", ".join(ports) or "published nowhere",
        f"declared is {published}: difyfleet apply",
    )
