"""A compose project as it stands on a host: its files, what compose makes of them, its containers and their images."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pyinfra.api import FactBase

from difyfleet.host_calls import Command, scripted

COMPOSE_FILE = "compose.yml"
ENV_FILE = ".env"
RECORD_FILE = ".difyfleet-hashes"  # config hashes of the containers after the last good `up`

# The caller's environment would win over .env, so compose never sees it.
COMPOSE = "env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root docker compose"


@dataclass(frozen=True)
class Container:
    """One container."""

    id: str
    name: str
    image_id: str
    image: str
    labels: Mapping[str, str]
    status: str  # created, running, paused, restarting, removing, exited, dead
    exit_code: int
    pid: int
    health: str  # "" = the container has no health check; else starting, healthy, unhealthy
    restarts: int
    restart_policy: str
    networks: frozenset[str] = frozenset()
    aliases: Mapping[str, frozenset[str]] = field(
        default_factory=dict
    )  # network -> names it answers to there
    published: tuple[str, ...] = ()  # "host-ip:port->container-port/protocol"
    limits: Mapping[str, int] = field(
        default_factory=dict
    )  # memory (bytes), pids, nano_cpus; unlimited left out
    started: str = ""  # RFC 3339 time of the last start; docker's zero time while it never started

    @property
    def service(self) -> str:
        return self.labels.get("com.docker.compose.service", "")

    @property
    def project(self) -> str:
        return self.labels.get("com.docker.compose.project", "")

    @property
    def config_hash(self) -> str:
        return self.labels.get("com.docker.compose.config-hash", "")

    @property
    def settled(self) -> bool:
        """Running, and healthy where there is a health check."""
        return self.status == "running" and self.health in ("", "healthy")


@dataclass(frozen=True)
class ComposeState:
    """What ComposeProject found."""

    docker: bool = False  # whether the daemon answered
    files: Mapping[str, str] = field(default_factory=dict)  # file name -> SHA-256, of compose.yml and .env
    hashes: Mapping[str, str] | None = (
        None  # service -> config hash of the files on the host; None = they do not load
    )
    recorded: Mapping[str, str] = field(default_factory=dict)  # service -> config hash at the last good `up`
    error: str | None = None  # compose's own words when the files do not load
    containers: Mapping[str, Container] = field(default_factory=dict)  # service -> its container
    orphans: tuple[Container, ...] = ()  # second copies of a service
    foreign: Mapping[str, Container] = field(
        default_factory=dict
    )  # container name of ours -> container that is not of the project
    images: Mapping[str, str] = field(default_factory=dict)  # image reference -> image ID on the host
    seen: Mapping[str, str] = field(
        default_factory=dict
    )  # "service:/path" -> SHA-256 of that file inside the container; missing = cannot be read


class ComposeProject(FactBase[ComposeState]):
    """State of one compose project.

    Args:
        project: compose project name.
        directory: folder with compose.yml and .env.
        names: service -> container name, as a tuple of pairs; finds containers that stand in the way under our name.
        images: references whose image ID is looked up.
        views: "service:/path" pairs: files whose content as the running container sees it is hashed. A bind-mounted single file
            that was replaced by rename stays the old one inside the container, so the host's copy proves nothing.
    """

    def command(
        self,
        project: str,
        directory: str,
        names: tuple[tuple[str, str], ...] = (),
        images: tuple[str, ...] = (),
        views: tuple[str, ...] = (),
    ) -> Command:
        job = {
            "project": project, "directory": directory, "files": [COMPOSE_FILE, ENV_FILE, RECORD_FILE],
            "names": [name for _, name in names], "images": images, "views": views, "compose": COMPOSE.split(),
        }  # fmt: skip
        call = ("difyfleet.facts.compose_script", "project", json.dumps(job))
        return scripted(call, "command -v python3 >/dev/null || exit 0; ")

    @staticmethod
    def default() -> ComposeState:
        return ComposeState()

    def process(self, output: Iterable[str]) -> ComposeState:
        text = "\n".join(output)
        if not text.strip():
            return ComposeState()
        raw = json.loads(text)
        return ComposeState(
            docker=True,
            files={name: digest for name, digest in raw["files"].items() if digest},
            hashes=None if raw["hashes"] is None else _hashes(raw["hashes"].splitlines()),
            recorded=_hashes(raw["recorded"].splitlines()),
            error=raw["error"],
            images={name: image_id for name, image_id in raw["images"].items() if image_id},
            seen={view: digest for view, digest in raw["seen"].items() if digest},
            **_sorted_out(raw["project"], [parse_container(each) for each in raw["containers"]]),
        )


def _hashes(lines: Iterable[str]) -> dict[str, str]:
    """`service hash` lines; warnings that compose mixes in are passed over."""
    words = (line.split() for line in lines)
    return {pair[0]: pair[1] for pair in words if len(pair) == 2 and len(pair[1]) == 64}


def _sorted_out(project: str, found: list[Container]) -> dict[str, Any]:
    """The project's own containers by service, second copies of a service, and those of others by name."""
    own: dict[str, Container] = {}
    orphans: list[Container] = []
    foreign: dict[str, Container] = {}
    unique = {container.id: container for container in found}
    for container in sorted(
        unique.values(), key=lambda each: each.labels.get("com.docker.compose.container-number", "1")
    ):
        if container.project != project:
            foreign[container.name] = container
        elif container.labels.get("com.docker.compose.oneoff") == "True":
            continue
        elif container.service in own:
            orphans.append(container)
        else:
            own[container.service] = container
    return {"containers": own, "orphans": tuple(orphans), "foreign": foreign}


def parse_container(raw: Mapping[str, Any]) -> Container:
    """A container as compose_script.py tells of it."""
    published = [
        f"{binding['HostIp']}:{binding['HostPort']}->{port}"
        for port, bindings in (raw["ports"] or {}).items()
        for binding in bindings or ()
    ]
    return Container(
        id=raw["id"],
        name=raw["name"].lstrip("/"),
        image_id=raw["image_id"],
        image=raw["image"],
        labels=raw["labels"] or {},
        status=raw["status"],
        exit_code=raw["exit_code"],
        pid=raw["pid"],
        health=raw["health"],
        restarts=raw["restarts"],
        restart_policy=raw["restart_policy"],
        networks=frozenset(raw["networks"]),
        aliases={name: frozenset(each or ()) for name, each in raw["networks"].items()},
        published=tuple(sorted(published)),
        limits={name: value for name, value in raw["limits"].items() if value is not None and value > 0},
        started=raw["started"],
    )


class LastHealthAnswer(FactBase[str]):
    """What the newest health check of a container printed.

    Args:
        container: ID or name.
    """

    def command(self, container: str) -> str:
        template = "{{with .State.Health}}{{range .Log}}{{json .Output}}{{println}}{{end}}{{end}}"
        return f"docker inspect --format {shlex.quote(template)} {shlex.quote(container)} 2>/dev/null | grep . | tail -n 1; true"

    @staticmethod
    def default() -> str:
        return ""

    def process(self, output: Iterable[str]) -> str:
        lines = [line for line in output if line.strip()]
        return str(json.loads(lines[-1])) if lines else ""


class ContainerLog(FactBase[list[str]]):
    """The last lines a container wrote.

    Args:
        container: ID or name.
        lines: how many.
    """

    def command(self, container: str, lines: int = 12) -> str:
        return f"docker logs --tail {lines} {shlex.quote(container)} 2>&1 | cut -c1-400; true"

    @staticmethod
    def default() -> list[str]:
        return []

    def process(self, output: Iterable[str]) -> list[str]:
        return [line.rstrip() for line in output if line.strip()]
