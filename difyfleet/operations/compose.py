"""Bringing a compose project up as declared: planned from facts, stage by stage, waited for until it is healthy.

Use: render compose.yml with `labels: {io.difyfleet.stamp: "stamp:SERVICE"}` in each service and no secret in its text (${KEY} and
.env instead), `text = stamped(rendered, env, mounted)`, put .env (0600), the mounted files and compose.yml (with
`validate=validate_command(...)`) in that order, then `up(Project(...))`.
"""

from __future__ import annotations

import shlex
import time
from collections.abc import Collection, Generator, Mapping, Sequence
from typing import Any

from pyinfra import host

from difyfleet.errors import HostError
from difyfleet.facts.compose import (
    COMPOSE,
    COMPOSE_FILE,
    RECORD_FILE,
    ComposeProject,
    ComposeState,
    Container,
    ContainerLog,
    LastHealthAnswer,
)
from difyfleet.operations.base import Change, call, operation
from difyfleet.operations.compose_project import (
    STAMP,
    Project,
    differences,
    env_values,
    short,
    stamped,
    surplus,
)
from difyfleet.operations.onhost import execute
from difyfleet.progress import report
from difyfleet.secrets import mask

__all__ = [
    "STAMP",
    "Project",
    "differences",
    "env_values",
    "settled_state",
    "short",
    "stamped",
    "surplus",
    "up",
    "validate_command",
]

_LOOP = 3  # restarts while we wait that mean "in a loop", not "a hiccup at start"
_UP_TIMEOUT = 300  # seconds `up -d` may take: images are local and it waits for nothing
_POLL = 1.0  # seconds between two looks
RESTART_PATIENCE = 20.0  # seconds a service may say words of `restart_when` before it is restarted, once
_QUIET = 4.0  # seconds a service without a health check must run before it counts as up


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
        yield Change(f"{container.name}: not declared, removed", loses_data=True)
    if found or extra:
        yield call(bring_up, project, wait_timeout)
    elif {name: each.config_hash for name, each in state.containers.items()} != state.recorded:
        yield Change(f"{project.directory}/{RECORD_FILE}: not of the containers that run")
        yield call(bring_up, project, wait_timeout)  # they may be starting: `begun` does not wait


@operation
def begun(project: Project, services: tuple[str, ...]) -> Generator[Any, None, None]:
    """Until the project has come up once, these services are started and not waited for: they become ready while other operations go
    on, and `up` waits. Afterwards everything is left to `up`.

    Args:
        services: those that need no other one.
    """
    state = host.get_fact(ComposeProject, **project.fact_arguments())
    differing = {each.service for each in differences(project, state)}
    todo = tuple(service for service in services if service in differing)
    if todo and not state.recorded:
        yield Change(f"{', '.join(todo)}: not started yet, waited for later")
        yield call(begin, project, todo)


def begin(on: Any, project: Project, services: tuple[str, ...]) -> None:
    """Start services of a project and do not wait for them. Nothing is recorded, so that `up` knows that it has to wait.

    Raises:
        HostError: the files do not load, an image is missing.
    """
    _, differing, forced = _prepare(on, project)
    for command in up_commands(project, [each for each in services if each in differing], forced):
        run(on, command)


def bring_up(on: Any, project: Project, wait_timeout: int) -> None:
    """Bring the project up stage by stage. Runs at execute time, when the files are on the host."""
    state, differing, forced = _prepare(on, project)
    restarts = {container.id: container.restarts for container in state.containers.values()}
    for stage in project.stages or (tuple(project.services),):
        for command in up_commands(project, [service for service in stage if service in differing], forced):
            run(on, command)
        wait_settled(on, project, stage, wait_timeout, restarts)
    run(on, record_command(project))


def _prepare(on: Any, project: Project) -> tuple[ComposeState, set[str], set[str]]:
    """Take away what is in the way. Gives the state that was found, and the services that differ and that are to be recreated."""
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
    found = list(differences(project, state))
    return state, {each.service for each in found}, {each.service for each in found if each.recreate}


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
    ailing: dict[str, float] = {}
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
            if _wants_restart(on, project, container, ailing):
                run(on, f"docker restart {container.id}")
                sick[service] = 0
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


def _wants_restart(on: Any, project: Project, container: Container, ailing: dict[str, float]) -> bool:
    """Whether a service has said long enough what only a restart mends. True once per container.

    Args:
        ailing: container ID -> when the words were first seen; kept by the caller, infinite once it was restarted.
    """
    words = project.restart_when.get(container.service)
    if words is None or container.status != "running" or container.health == "healthy":
        return False
    if words not in on.get_fact(LastHealthAnswer, container=container.id):
        return False
    since = ailing.setdefault(container.id, time.monotonic())
    if time.monotonic() - since < RESTART_PATIENCE:
        return False
    ailing[container.id] = float("inf")
    report(on.name, f"{project.name}: {container.service} is restarted once ({words})")
    return True


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
