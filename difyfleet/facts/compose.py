"""A compose project as it stands on a host: its files, what compose makes of them, its containers and their images."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pyinfra.api import FactBase

COMPOSE_FILE = "compose.yml"
ENV_FILE = ".env"
RECORD_FILE = ".difyfleet-hashes"  # config hashes of the containers after the last good `up`

# The caller's environment would win over .env, so compose never sees it.
COMPOSE = "env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root docker compose"

# Selected fields only: .Config.Env holds secrets and .State.Health.Log is long. `.State.Health` itself is missing without a health
# check and docker inspect then fails, so the health comes from the status text of docker ps.
_INSPECT = (
    '{"id":{{json .Id}},"name":{{json .Name}},"image_id":{{json .Image}},"image":{{json .Config.Image}},'
    '"labels":{{json .Config.Labels}},"status":{{json .State.Status}},"exit_code":{{json .State.ExitCode}},"pid":{{json .State.Pid}},'
    '"started":{{json .State.StartedAt}},'
    '"restarts":{{json .RestartCount}},"restart_policy":{{json .HostConfig.RestartPolicy.Name}},'
    '"networks":{{json .NetworkSettings.Networks}},"ports":{{json .NetworkSettings.Ports}},'
    '"limits":{"memory":{{json .HostConfig.Memory}},"pids":{{json .HostConfig.PidsLimit}},"nano_cpus":{{json .HostConfig.NanoCpus}}}}'
)


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
    ) -> str:
        label = "com.docker.compose.project"
        ps = "docker ps -a --no-trunc --format '{{.ID}} {{.Status}}'"
        listed = [f"{ps} --filter label={label}={project}"]
        if names:
            listed.append(
                f"{ps} " + " ".join(f"--filter {shlex.quote(f'name=^/{name}$')}" for _, name in names)
            )
        parts = [
            "command -v docker >/dev/null 2>&1 || exit 0",
            "timeout 20 docker version --format '{{.Server.Version}}' >/dev/null 2>&1 || exit 0",
            f"echo @docker; echo {shlex.quote(project)}",
            f"if cd {shlex.quote(directory)} 2>/dev/null; then echo @files; sha256sum {COMPOSE_FILE} {ENV_FILE} 2>/dev/null; "
            f"if [ -f {COMPOSE_FILE} ]; then if h=$({COMPOSE} -p {project} -f {COMPOSE_FILE} config --hash '*' 2>&1); "
            f"then echo @hashes; else echo @error; fi; printf '%s\\n' \"$h\"; fi; echo @recorded; cat {RECORD_FILE} 2>/dev/null; fi",
            # a container in both lists may have two status texts ("Up 4 seconds", "Up 5 seconds"): unique by ID only
            f"ps=$({'; '.join(listed)}); echo @status; printf '%s\\n' \"$ps\"; ids=$(printf '%s\\n' \"$ps\" | cut -d' ' -f1 | sort -u)",
            f'echo @containers; [ -z "$ids" ] || docker inspect --type container --format {shlex.quote(_INSPECT)} $ids 2>/dev/null',
            *_image_lines(images),
            *_view_lines(project, views),
            "true",
        ]
        return "; ".join(parts)

    @staticmethod
    def default() -> ComposeState:
        return ComposeState()

    def process(self, output: Iterable[str]) -> ComposeState:
        sections = _sections(output)
        if "docker" not in sections:
            return ComposeState()
        (project,) = sections["docker"]
        status = dict(line.split(" ", 1) for line in sections.get("status", ()))
        return ComposeState(
            docker=True,
            files={line.split()[1].lstrip("*"): line.split()[0] for line in sections.get("files", ())},
            hashes=_hashes(sections["hashes"]) if "hashes" in sections else None,
            recorded=_hashes(sections.get("recorded", ())),
            error="\n".join(sections["error"]) if "error" in sections else None,
            images={
                name: image_id
                for name, image_id in map(str.split, sections.get("images", ()))
                if image_id != "-"
            },
            seen={view: digest for view, digest in map(str.split, sections.get("seen", ())) if digest != "-"},
            **_sorted_out(
                project, [parse_container(line, status) for line in sections.get("containers", ())]
            ),
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


def _image_lines(images: tuple[str, ...]) -> list[str]:
    """`reference ID` lines: one question for all images, and one for each only when some are missing."""
    if not images:
        return []
    quoted = " ".join(map(shlex.quote, images))
    inspect = "docker image inspect --format '{{.Id}}'"  # for one that is missing it prints an empty line
    return [
        "echo @images",
        f'i=$({inspect} {quoted} 2>/dev/null) && {{ printf \'%s\\n\' "$i" | for n in {quoted}; do read -r d; echo "$n" "$d"; done; }}'
        f' || for n in {quoted}; do echo "$n" "$({inspect} "$n" 2>/dev/null | grep . || echo -)"; done',
    ]


def _view_lines(project: str, views: tuple[str, ...]) -> list[str]:
    """`service:/path SHA-256` lines, read through /proc/PID/root of the service's running container."""
    if not views:
        return []
    pids = '{{.State.Pid}} {{index .Config.Labels "com.docker.compose.project"}}:{{index .Config.Labels "com.docker.compose.service"}}'
    lines = [
        f"echo @seen; [ -z \"$ids\" ] || p=$(docker inspect --type container --format '{pids}' $ids 2>/dev/null)"
    ]
    for view in views:
        service, path = view.split(":", 1)
        pid = (
            f"$(printf '%s\\n' \"$p\" | sed -n 's/^\\([1-9][0-9]*\\) {project}:{service}$/\\1/p' | head -n 1)"
        )
        lines.append(
            f'd={pid}; [ -z "$d" ] || {{ h=$(sha256sum < "/proc/$d/root"{shlex.quote(path)} 2>/dev/null | cut -c1-64); '
            f'echo {shlex.quote(view)} "${{h:--}}"; }}'
        )
    return lines


def _sections(output: Iterable[str]) -> dict[str, list[str]]:
    sections: dict[str, list[str]] = {}
    current: list[str] = []
    for line in output:
        if line.startswith("@"):
            current = sections.setdefault(line[1:].strip(), [])
        elif line.strip():
            current.append(line)
    return sections


def parse_health(status: str) -> str:
    """Health out of docker ps's status text (`Up 3 minutes (healthy)`); empty without a health check or when not running."""
    found = re.search(r"\((?:health: )?(healthy|unhealthy|starting)\)", status)
    return found[1] if found else ""


def parse_container(line: str, status: Mapping[str, str]) -> Container:
    """One line of `docker inspect` in this module's format, and docker ps's status text by container ID."""
    raw: dict[str, Any] = json.loads(line)
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
        health=parse_health(status.get(raw["id"], "")),
        restarts=raw["restarts"],
        restart_policy=raw["restart_policy"],
        networks=frozenset(raw["networks"] or ()),
        aliases={
            name: frozenset(each.get("Aliases") or ()) for name, each in (raw["networks"] or {}).items()
        },
        published=tuple(sorted(published)),
        limits={
            name: value for name, value in raw.get("limits", {}).items() if value is not None and value > 0
        },
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
