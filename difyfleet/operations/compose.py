"""A compose project as declared: planned from facts, brought up stage by stage, waited for until it is healthy.

What differs is read from three places. The stamp (a label) is a digest of everything a service is made of: its definition, the
.env values it uses, the content of the files mounted into it; it is computed here, so a plan is exact although the new files
are not on the host yet. Compose's own config hash shows that somebody ran compose with other files. The rest (image ID, state,
health, restart policy, networks, files as the container sees them) is compared directly, because neither hash knows of it.

Use: render compose.yml with `labels: {io.difyfleet.stamp: "stamp:SERVICE"}` in each service and no secret in its text (${KEY} and
.env instead), `text = stamped(rendered, env, mounted)`, put .env (0600), the mounted files and compose.yml (with
`validate=validate_command(...)`) in that order, then `up(Project(...))`.
"""

from __future__ import annotations

import hashlib
import json
import re
import shlex
import time
from collections.abc import Collection, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import yaml
from pyinfra import host

from difyfleet.errors import HostError
from difyfleet.facts.compose import (
    COMPOSE,
    COMPOSE_FILE,
    ENV_FILE,
    RECORD_FILE,
    ComposeProject,
    ComposeState,
    Container,
    ContainerLog,
)
from difyfleet.operations.base import Change, call, operation
from difyfleet.operations.onhost import execute
from difyfleet.progress import report
from difyfleet.secrets import mask

STAMP = "io.difyfleet.stamp"
_LOOP = 3  # restarts while we wait that mean "in a loop", not "a hiccup at start"
_UP_TIMEOUT = 300  # seconds `up -d` may take: images are local and it waits for nothing
_POLL = 1.0  # seconds between two looks
_QUIET = 4.0  # seconds a service without a health check must run before it counts as up


@dataclass(frozen=True)
class Project:
    """What a compose project should be.

    Args:
        name: compose project name.
        directory: its folder on the host.
        text: content of compose.yml, stamped (see `stamped`).
        env: content of .env; None = the project has none.
        mounted: service -> path inside the container -> content of a bind-mounted configuration file.
        stages: services started together; a stage begins when the one before it is healthy. Empty = one stage.
    """

    name: str
    directory: str
    text: str = field(repr=False)
    env: str | None = field(default=None, repr=False)
    mounted: Mapping[str, Mapping[str, str]] = field(default_factory=dict, repr=False)
    stages: tuple[tuple[str, ...], ...] = ()

    @property
    def services(self) -> dict[str, dict[str, Any]]:
        loaded = yaml.safe_load(self.text)
        return dict(loaded["services"])

    def container_name(self, service: str) -> str:
        return str(self.services[service].get("container_name") or f"{self.name}-{service}-1")

    def networks(self, service: str) -> frozenset[str] | None:
        """Docker's names of the networks a service is on; None = it has a network_mode of its own."""
        if "network_mode" in self.services[service]:
            return None
        declared: Mapping[str, Any] = yaml.safe_load(self.text).get("networks") or {}
        keys = self.services[service].get("networks") or ["default"]
        return frozenset(str((declared.get(key) or {}).get("name") or f"{self.name}_{key}") for key in keys)

    def fact_arguments(self) -> dict[str, Any]:
        """Arguments of the ComposeProject fact for this project."""
        services = self.services
        return {
            "project": self.name,
            "directory": self.directory,
            "names": tuple((service, self.container_name(service)) for service in services),
            "images": tuple(dict.fromkeys(str(definition["image"]) for definition in services.values())),
            "views": tuple(f"{service}:{path}" for service, files in self.mounted.items() for path in files),
        }

    def files_match(self, state: ComposeState) -> bool:
        """Whether compose.yml and .env on the host are the wanted ones."""
        wanted = {COMPOSE_FILE: self.text} | ({ENV_FILE: self.env} if self.env is not None else {})
        return all(state.files.get(name) == _sha256(text) for name, text in wanted.items())


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def env_values(env: str | None) -> dict[str, str]:
    """KEY=value lines of a .env as difyfleet writes them: values bare or in single quotes."""
    pairs = (
        line.split("=", 1) for line in (env or "").splitlines() if "=" in line and not line.startswith("#")
    )
    return {
        key: value[1:-1] if len(value) > 1 and value[0] == value[-1] == "'" else value for key, value in pairs
    }


def stamped(text: str, env: str | None = None, mounted: Mapping[str, Mapping[str, str]] | None = None) -> str:
    """compose.yml text with every `stamp:SERVICE` replaced by that service's stamp.

    A template writes, in each service: `labels: {io.difyfleet.stamp: "stamp:SERVICE"}`. Only the .env values that the service
    refers to as ${KEY} count, so a changed key recreates just the services that use it.
    """
    values = env_values(env)
    for service, definition in yaml.safe_load(text)["services"].items():
        canonical = json.dumps(definition, sort_keys=True)
        used = {key: values.get(key) for key in re.findall(r"\$\{([A-Za-z_][A-Za-z0-9_]*)", canonical)}
        content = json.dumps([canonical, used, dict((mounted or {}).get(service, {}))], sort_keys=True)
        text = text.replace(f'stamp:{service}"', f'{_sha256(content)[:32]}"')
    return text


@dataclass(frozen=True)
class Difference:
    """One thing that is not as declared. `recreate`: compose would not mend it by itself."""

    service: str
    why: str
    recreate: bool = False


def differences(project: Project, state: ComposeState) -> Iterator[Difference]:
    """What differs between the declared project and the host, in the order of the services."""
    matching = project.files_match(state)
    for service, definition in project.services.items():
        name = project.container_name(service)
        container = state.containers.get(service)
        if name in state.foreign:
            yield Difference(
                service,
                f"{name} is a container of somebody else ({state.foreign[name].image}), it is set aside",
            )
        if container is None:
            yield Difference(service, "absent")
            continue
        wanted_stamp = (definition.get("labels") or {}).get(STAMP)
        other_making = bool(wanted_stamp) and container.labels.get(STAMP) != wanted_stamp
        if other_making:
            yield Difference(service, "made from another configuration")
        elif container.config_hash != _expected_hash(service, definition, state, matching):
            yield Difference(service, "was recreated from other files")
        wanted_image = state.images.get(str(definition["image"]))
        if wanted_image and container.image_id != wanted_image:
            yield Difference(
                service,
                f"image {container.image} {short(container.image_id)}, wanted {definition['image']} {short(wanted_image)}",
            )
        yield from _state_differences(service, definition, container)
        wanted_networks = project.networks(service)
        if (
            container.status == "running"
            and wanted_networks is not None
            and container.networks != wanted_networks
        ):
            missing, surplus = wanted_networks - container.networks, container.networks - wanted_networks
            words = [f"not on network {each}" for each in sorted(missing)] + [
                f"on network {each}, not wanted" for each in sorted(surplus)
            ]
            yield Difference(service, ", ".join(words), recreate=True)
        for path, content in project.mounted.get(service, {}).items():
            seen = state.seen.get(f"{service}:{path}")
            if (
                container.status == "running"
                and not other_making
                and seen is not None
                and seen != _sha256(content)
            ):
                yield Difference(service, f"sees another {path}", recreate=True)


def _expected_hash(service: str, definition: Mapping[str, Any], state: ComposeState, matching: bool) -> str:
    """The config hash the container should carry: compose's of the files on the host when they are the wanted ones, else as recorded.

    Newer compose (2.40) does not resolve env_file in `config --hash` but does in `up`, so there only the record counts. Without
    either there is nothing to compare with, and the container's own hash is as good as any.
    """
    comparable = matching and state.hashes is not None and "env_file" not in definition
    known = state.hashes if comparable and state.hashes is not None else state.recorded
    return known.get(service) or state.containers[service].config_hash


def _state_differences(
    service: str, definition: Mapping[str, Any], container: Container
) -> Iterator[Difference]:
    if container.status == "restarting":
        yield Difference(
            service,
            f"restarting in a loop (exit code {container.exit_code}, {container.restarts} restarts)",
            recreate=True,
        )
    elif container.status != "running":
        code = f" ({container.exit_code})" if container.status == "exited" else ""
        yield Difference(
            service,
            f"{container.status}{code}, wanted running",
            recreate=container.status not in ("exited", "created"),
        )
    elif container.health == "unhealthy":
        yield Difference(service, "unhealthy", recreate=True)
    policy = str(definition.get("restart", "no"))
    if container.restart_policy != policy:
        yield Difference(
            service, f"restart policy {container.restart_policy}, wanted {policy}", recreate=True
        )


def short(image_id: str) -> str:
    """An image ID as docker abbreviates it."""
    return image_id.removeprefix("sha256:")[:12]


def surplus(project: Project, state: ComposeState) -> list[Container]:
    """Containers of the project that nothing declares."""
    return [
        container for service, container in state.containers.items() if service not in project.services
    ] + list(state.orphans)


@operation
def up(project: Project, wait_timeout: int = 300) -> Generator[Any, None, None]:
    """Every service of the project runs as declared and is healthy. Writes no file: put compose.yml and .env there first.

    Args:
        project: what is wanted.
        wait_timeout: seconds one stage may take until it is healthy.

    Raises:
        HostError: while executing: the files do not load, an image is missing, a service does not come up (with the end of its log).
    """
    state = host.get_fact(ComposeProject, **project.fact_arguments())
    if not state.docker:
        yield Change(f"{', '.join(project.services)}: docker does not answer, known after apply")
        yield call(bring_up, project, wait_timeout)
        return
    found = list(differences(project, state))
    extra = surplus(project, state)
    for difference in found:
        yield Change(f"{difference.service}: {difference.why}")
    for container in extra:
        yield Change(f"{container.name}: not declared, removed")
    if found or extra:
        yield call(bring_up, project, wait_timeout)


def bring_up(on: Any, project: Project, wait_timeout: int) -> None:
    """Bring the project up stage by stage. Runs at execute time, when the files are on the host."""
    state: ComposeState = on.get_fact(ComposeProject, **project.fact_arguments())
    if not state.docker:
        raise HostError("docker does not answer", where=project.name, hint="systemctl status docker")
    if state.hashes is None:
        raise HostError(
            f"compose does not load {project.directory}/{COMPOSE_FILE}: {mask(state.error or 'no such file')}",
            where=project.name,
            hint=f"cd {project.directory} && docker compose -p {project.name} config --quiet",
        )
    missing = sorted({str(each["image"]) for each in project.services.values()} - set(state.images))
    if missing:
        raise HostError(
            f"images are not on the host: {', '.join(missing)}",
            where=project.name,
            hint="difyfleet apply --role images",
        )
    for name, container in state.foreign.items():
        run(on, set_aside_command(name, container.id))
    for container in surplus(project, state):
        run(on, f"docker rm -f {container.id}")
    for container in state.containers.values():
        if container.status == "paused":
            run(on, f"docker unpause {container.id}")
    forced = {each.service for each in differences(project, state) if each.recreate}
    differing = {each.service for each in differences(project, state)}
    restarts = {container.id: container.restarts for container in state.containers.values()}
    for stage in project.stages or (tuple(project.services),):
        for command in up_commands(project, [service for service in stage if service in differing], forced):
            run(on, command)
        wait_settled(on, project, stage, wait_timeout, restarts)
    run(on, record_command(project))


def record_command(project: Project) -> str:
    """Keep the config hashes of what now runs, so that a plan can tell containers that somebody recreated from edited files."""
    labels = '{{.Label "com.docker.compose.service"}} {{.Label "com.docker.compose.config-hash"}}'
    return (
        f"cd {shlex.quote(project.directory)} && (umask 077; docker ps -a --filter label=com.docker.compose.project={project.name}"
        f" --format {shlex.quote(labels)} > {RECORD_FILE}.new) && mv -f {RECORD_FILE}.new {RECORD_FILE}"
    )


def validate_command(project: str, directory: str) -> str:
    """The shell command that judges a new compose.yml before it replaces the old one (see operations.files.put)."""
    return f"cd {shlex.quote(directory)} && {COMPOSE} -p {project} -f %s config --quiet"


def set_aside_command(name: str, container_id: str) -> str:
    """Stop a container that holds our name and keep it under another: its data is not ours to delete."""
    return (
        f"docker update --restart no {container_id} && docker stop {container_id} && docker rename {container_id} "
        f"{shlex.quote(f'{name}-replaced-{container_id[:12]}')}"
    )


def up_commands(project: Project, services: Sequence[str], recreate: Collection[str] = ()) -> list[str]:
    """Commands that create or start services; those of `recreate` are removed first, whatever compose thinks of them.

    No --no-deps and no --force-recreate: the first changes the config hash of services with depends_on (seen in 2.26), the second
    would recreate the dependencies too. Stages have brought those up already, so `up` does not wait for them.
    """
    if not services:
        return []
    base = f"cd {shlex.quote(project.directory)} && timeout {_UP_TIMEOUT} {COMPOSE} -p {project.name} -f {COMPOSE_FILE}"
    again = [service for service in services if service in recreate]
    remove = [f"{base} rm --stop --force {' '.join(map(shlex.quote, again))}"] if again else []
    return [*remove, f"{base} up -d --no-build --pull never {' '.join(map(shlex.quote, services))}"]


def run(on: Any, command: str) -> None:
    """Run one changing command; its last words are the error."""
    ok, words = execute(on, command)
    if not ok:
        raise HostError(
            mask(words) or "the command failed without a word", where=command.rsplit(" -f ", 1)[-1][-100:]
        )


def wait_settled(
    on: Any,
    project: Project,
    services: Sequence[str],
    timeout: int,
    restarts: Mapping[str, int] | None = None,
) -> None:
    """Wait until these services run and are healthy; one without a health check must run for a few seconds without a restart.

    Args:
        timeout: seconds.
        restarts: restart counts by container ID from before; only new restarts count as a loop.

    Raises:
        HostError: one of them restarts in a loop, stays unhealthy, or the time is over; with the end of its log.
    """
    deadline = time.monotonic() + timeout
    before = restarts or {}
    sick: dict[str, int] = {}
    quiet: dict[tuple[str, int], float] = {}
    while True:
        state: ComposeState = on.get_fact(ComposeProject, **project.fact_arguments())
        waiting: dict[str, Container] = {}
        for service in services:
            container = state.containers.get(service)
            if container is None:
                raise HostError(f"{service}: the container is gone", where=project.name)
            sick[service] = sick.get(service, 0) + 1 if container.health == "unhealthy" else 0
            if (
                container.restarts - before.get(container.id, 0) >= _LOOP
                or sick[service] >= _LOOP
                or container.status in ("exited", "dead")
            ):
                raise failure(on, project, container)
            since = quiet.setdefault((container.id, container.restarts), time.monotonic())
            if not container.settled or (not container.health and time.monotonic() - since < _QUIET):
                waiting[service] = container
        if not waiting:
            return
        if time.monotonic() > deadline:
            raise failure(on, project, next(iter(waiting.values())), f" after {timeout} s")
        words = ", ".join(
            f"{service} ({container.health or container.status})" for service, container in waiting.items()
        )
        report(on.name, f"{project.name}: waiting for {words}")
        time.sleep(_POLL)


def failure(on: Any, project: Project, container: Container, suffix: str = "") -> HostError:
    """An error that names the service, its state and the end of its log."""
    what = f"{container.service} is {container.health or container.status}"
    if container.status == "restarting" or container.restarts >= _LOOP:
        what = f"{container.service} restarts in a loop ({container.restarts} restarts, exit code {container.exit_code})"
    log = "\n    ".join(mask(line) for line in on.get_fact(ContainerLog, container=container.id))
    return HostError(
        f"{what}{suffix}; the end of its log:\n    {log or '(empty)'}",
        where=project.name,
        hint=f"docker logs --tail 100 {container.name}",
    )


def settled_state(on: Any, project: Project, timeout: int) -> ComposeState:
    """The project's state once nothing is starting any more, or after `timeout` seconds. For checks: reads only, fails never."""
    deadline = time.monotonic() + timeout
    while True:
        state: ComposeState = on.get_fact(ComposeProject, **project.fact_arguments())
        starting = [
            service
            for service, each in state.containers.items()
            if each.health == "starting" or each.status == "restarting"
        ]
        if not starting or time.monotonic() > deadline:
            return state
        report(on.name, f"{project.name}: waiting for {', '.join(starting)}")
        time.sleep(_POLL)
