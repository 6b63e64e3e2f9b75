"""What a compose project should be, and how what runs differs from it. Pure: texts and facts in, words out.

What differs is read from three places. The stamp (a label) is a digest of everything a service is made of: its definition, the
.env values it uses, the content of the files mounted into it; it is computed here, so a plan is exact although the new files
are not on the host yet. Compose's own config hash shows that somebody ran compose with other files. The rest (image ID, state,
health, restart policy, networks, files as the container sees them) is compared directly, because neither hash knows of it.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

from difyfleet.facts.compose import COMPOSE_FILE, ENV_FILE, ComposeState, Container
from difyfleet.once import once

STAMP = "io.difyfleet.stamp"
_STAMPED = re.compile(rf'{re.escape(STAMP)}: "([0-9a-f]{{32}})"')
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the same in C, ten times as quick


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
        restart_when: service -> words in its health check's answer that a restart mends; tried once, after RESTART_PATIENCE seconds of them.
    """

    name: str
    directory: str
    text: str = field(repr=False)
    env: str | None = field(default=None, repr=False)
    mounted: Mapping[str, Mapping[str, str]] = field(default_factory=dict, repr=False)
    stages: tuple[tuple[str, ...], ...] = ()
    restart_when: Mapping[str, str] = field(default_factory=dict)

    @property
    def services(self) -> dict[str, dict[str, Any]]:
        return dict(_loaded(self.text)["services"])

    def container_name(self, service: str) -> str:
        return str(self.services[service].get("container_name") or f"{self.name}-{service}-1")

    def networks(self, service: str) -> frozenset[str] | None:
        """Docker's names of the networks a service is on; None = it has a network_mode of its own."""
        if "network_mode" in self.services[service]:
            return None
        declared: Mapping[str, Any] = _loaded(self.text).get("networks") or {}
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


@functools.lru_cache(maxsize=64)
def _loaded(text: str) -> Any:
    """The parsed file; read only. The same text is asked for dozens of times, and those of many hosts differ in their stamps only."""
    numbers = itertools.count()
    document = _parsed(_STAMPED.sub(lambda _: f'{STAMP}: "stamp:{next(numbers)}"', text))
    stamps = {f"stamp:{number}": stamp for number, stamp in enumerate(_STAMPED.findall(text))}
    services = {}
    for name, definition in document["services"].items():
        labels = definition.get("labels")
        stamp = stamps.pop(str(labels.get(STAMP)), None) if isinstance(labels, dict) else None
        services[name] = {**definition, "labels": {**labels, STAMP: stamp}} if stamp else definition
    return {**document, "services": services} if not stamps else _parsed(text)


@functools.lru_cache(maxsize=16)
def _parsed(text: str) -> Any:
    return yaml.load(text, Loader=_Loader)  # noqa: S506 - a safe loader


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


@once(64)
def stamped(text: str, env: str | None = None, mounted: Mapping[str, Mapping[str, str]] | None = None) -> str:
    """compose.yml text with every `stamp:SERVICE` replaced by that service's stamp.

    A template writes, in each service: `labels: {io.difyfleet.stamp: "stamp:SERVICE"}`. Only the .env values that the service
    refers to as ${KEY} count, so a changed key recreates just the services that use it.
    """
    values = env_values(env)
    for service, definition in _loaded(text)["services"].items():
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
            upgraded = state.recorded.get(service) == container.config_hash
            why = (
                "this Compose version reads its definition differently"
                if upgraded
                else "was recreated from other files"
            )
            yield Difference(service, why)
        wanted_image = state.images.get(str(definition["image"]))
        if wanted_image and container.image_id != wanted_image:
            yield Difference(
                service,
                f"image {container.image} {short(container.image_id)}, wanted {definition['image']} {short(wanted_image)}",
            )
        if container.name != name:
            yield Difference(service, f"named {container.name}, wanted {name}", recreate=True)
        yield from _state_differences(service, definition, container)
        yield from _reach_differences(service, definition, container, project.networks(service))
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

    for limit, found in container.limits.items():
        declared = _declared_limit(definition, limit)
        if found != declared:
            yield Difference(service, f"{limit} limit {found}, wanted {declared or 'none'}", recreate=True)


def _declared_limit(definition: Mapping[str, Any], limit: str) -> int:
    """A limit of a definition in Docker's unit; 0 = none. Our files write memory in MiB (`512m`) and never limit CPUs."""
    if limit == "memory":
        return int(str(definition.get("mem_limit", "0m")).removesuffix("m")) * 1024**2
    return int(definition.get("pids_limit", 0)) if limit == "pids" else 0


def _reach_differences(
    service: str, definition: Mapping[str, Any], container: Container, wanted: frozenset[str] | None
) -> Iterator[Difference]:
    """From where a running container can be reached: its networks, its name on them, its published ports."""
    if container.status != "running" or wanted is None:
        return
    words = [f"not on network {each}" for each in sorted(wanted - container.networks)]
    words += [f"on network {each}, not wanted" for each in sorted(container.networks - wanted)]
    words += [
        f"on network {network} without its name {service}"
        for network, names in container.aliases.items()
        if network in wanted and service not in names
    ]
    yield from (Difference(service, each, recreate=True) for each in words)
    declared = tuple(sorted(map(_port, definition.get("ports") or ())))
    if container.published != declared:
        was, want = (", ".join(ports) or "nothing" for ports in (container.published, declared))
        yield Difference(service, f"publishes {was}, wanted {want}", recreate=True)


def _port(entry: Any) -> str:
    """A port of a definition as docker shows it: `0.0.0.0:80->80/tcp`."""
    if isinstance(entry, Mapping):
        return f"{entry['host_ip']}:{entry['published']}->{entry['target']}/tcp"
    published, _, target = str(entry).rpartition(":")
    return f"{published.replace('[', '').replace(']', '')}->{target}/tcp"


def short(image_id: str) -> str:
    """An image ID as docker abbreviates it."""
    return image_id.removeprefix("sha256:")[:12]


def surplus(project: Project, state: ComposeState) -> list[Container]:
    """Containers of the project that nothing declares."""
    return [
        container for service, container in state.containers.items() if service not in project.services
    ] + list(state.orphans)
