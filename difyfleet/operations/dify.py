"""Dify on a host: secrets first, then .env and compose.yml made from them, then nine containers in stages."""

from __future__ import annotations

import shlex
from collections.abc import Generator
from pathlib import Path
from typing import Any

from pyinfra import host, state

from difyfleet.errors import HostError
from difyfleet.facts.files import PathState
from difyfleet.facts.secrets import SECRETS_DIR, HostSecrets
from difyfleet.once import once
from difyfleet.operations import compose, files
from difyfleet.operations.base import Change, declaring, operation, shell
from difyfleet.operations.config_set import ConfigFile
from difyfleet.operations.dify_settings import SECRETS, Settings, body_limit_mb, settings
from difyfleet.operations.networks import STACK
from difyfleet.operations.render import render
from difyfleet.secrets import Secret, generate
from difyfleet.spec.models import Dify, Docker, HostSpec
from difyfleet.spec.secret_values import value_of

PROJECT = "dify"
SERVICES = ("api", "worker", "web", "db", "redis", "sandbox", "ssrf_proxy", "weaviate", "nginx")
# 0.11.2 swallows a migration that failed (database late, lock held) and serves a database without tables until it is started again
RESTART_WHEN = {"api": "HTTP Error 500"}
# api makes the tables that worker needs; nginx starts when the names of api and web are known
STAGES = (("db", "redis", "weaviate", "sandbox", "ssrf_proxy", "web"), ("api", "nginx"), ("worker",))

# Folder below DIRECTORY/volumes -> mode, and whether root must own it (the images of db and redis give theirs away).
VOLUMES: dict[str, tuple[str, bool]] = {
    "app/storage": ("0700", True),  # uploads and the workspaces' private keys; api and worker are root
    "db/data": ("0755", True),  # PostgreSQL's own folder below it is 0700 of its own user
    "redis/data": ("0755", False),
    "weaviate": ("0700", True),
    "sandbox/dependencies": ("0755", True),
}

# The operations' own steps, to be part of an operation here.
_put: Any = vars(files.put)["steps"]
_up: Any = vars(compose.up)["steps"]
_begun: Any = vars(compose.begun)["steps"]

_START_INTERVAL_SINCE = 25  # Docker Engine; before that compose refuses healthcheck.start_interval


def db_initialised(dify: Dify) -> str:
    """The file that exists once PostgreSQL has sealed its data with a password."""
    return f"{dify.directory}/volumes/db/data/pgdata/PG_VERSION"


def wanted_secrets(dify: Dify) -> dict[str, Secret | None]:
    """Kept name -> value of the inventory, or None = generated once on the host."""
    return {kept: value_of(getattr(dify.secrets, field)) for field, kept in SECRETS.items()}


@operation
@declaring(lambda dify: dify.secrets.db_password)
def same_database_password(dify: Dify) -> Generator[Any, None, None]:
    """Refuse another database password once the data exists: PostgreSQL reads it at its first start only.

    Raises:
        HostError: the inventory gives another one than the data was made with.
    """
    name = SECRETS["db_password"]
    wanted = wanted_secrets(dify)[name]
    kept = host.get_fact(HostSecrets).get(name)
    if (
        wanted is None
        or kept is None
        or kept.value == wanted
        or host.get_fact(PathState, path=db_initialised(dify)) is None
    ):
        return
    raise HostError(
        "the inventory gives another database password than the data was made with; PostgreSQL does not take it from .env",
        where="dify.secrets.db_password",
        hint=f"put the old value back (it is in {SECRETS_DIR}/{name}), or change it in the database first: "
        f"docker exec -it dify-db-1 psql -U postgres -c '\\password', then write the same value into {SECRETS_DIR}/{name}",
    )
    yield  # makes this a generator


@operation
@declaring(lambda dify: dify.secrets.init_password)
def keep_init_password(dify: Dify) -> Generator[Any, None, None]:
    """INIT_PASSWORD, which guards the first account until somebody has made it. Dify takes 30 characters at most, so it is short."""
    name = SECRETS["init_password"]
    path = f"{SECRETS_DIR}/{name}"
    wanted = wanted_secrets(dify)[name]
    kept = host.get_fact(HostSecrets).get(name)
    if kept is None or (wanted is not None and wanted != kept.value):
        yield Change(f"{path}: {'absent' if kept is None else 'the inventory gives another value'}")
        value = wanted or generate(12)
    elif (kept.mode, kept.owner) != ("0600", "root:root"):
        yield Change(f"{path}: mode {kept.mode} {kept.owner}, wanted 0600 root:root")
        value = kept.value
    else:
        return
    yield files.put_command(path, value.reveal().encode(), mode="0600", owner="root", group="root")


@operation
@declaring(lambda dify: (dify.directory, VOLUMES))
def volumes(dify: Dify) -> Generator[Any, None, None]:
    """The data folders with explicit modes: openEuler's umask is 0077, and containers with other users must get through."""
    commands = []
    parents = [dify.directory, f"{dify.directory}/volumes"]
    parents += sorted({f"{dify.directory}/volumes/{path.split('/')[0]}" for path in VOLUMES if "/" in path})
    wanted = [(path, "0755", True) for path in parents]
    wanted += [
        (f"{dify.directory}/volumes/{path}", mode, by_root) for path, (mode, by_root) in VOLUMES.items()
    ]
    for path, mode, by_root in wanted:
        found = host.get_fact(PathState, path=path)
        quoted = shlex.quote(path)
        if found is None:
            yield Change(f"{path}: absent")
            commands.append(f"mkdir -p {quoted} && chmod {mode} {quoted}")
            continue
        if found.kind != "directory":
            raise HostError(
                f"{path} is a {found.kind}, a directory must be there",
                hint=f"look at it and move it away: ls -ld {path}",
            )
        owner, group = ("root", "root") if by_root else (found.owner, found.group)
        differing = files.attribute_changes(path, found, mode=mode, owner=owner, group=group)
        for why in differing:
            yield Change(why)
        if differing:
            commands.append(f"chmod {mode} {quoted}" + (f" && chown root:root {quoted}" if by_root else ""))
    if commands:
        yield shell("; ".join(["set -e", *commands]))


def nginx_files(dify: Dify) -> dict[str, ConfigFile]:
    """Path below /etc/nginx -> file."""
    values = {"dify": dify, "body_limit_mb": body_limit_mb(dify)}
    found = {
        "nginx.conf": ConfigFile(render("dify/nginx.conf.j2", **values)),
        "proxy.conf": ConfigFile(render("dify/proxy.conf.j2", **values)),
        "conf.d/default.conf": ConfigFile(render("dify/default.conf.j2", **values)),
    }
    if dify.https.enabled:
        found["ssl/dify.crt"] = ConfigFile(_pem(dify.https.certificate, "certificate"), opaque=True)
        found["ssl/dify.key"] = ConfigFile(_pem(dify.https.key, "key"), mode="0600", opaque=True)
    return found


def _pem(path: Path | None, what: str) -> str:
    if path is None:
        raise HostError(
            f"HTTPS is switched on but no {what} is named",
            where=f"dify.https.{what}",
            hint=f"add dify.https.{what}: FILE.pem",
        )
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise HostError(f"cannot read the {what} {path}: {error}", where=f"dify.https.{what}") from error


def squid_files(dify: Dify) -> dict[str, ConfigFile]:
    """Path below /etc/squid -> file."""
    return {"squid.conf": ConfigFile(render("dify/squid.conf.j2", dify=dify))}


def known_secrets() -> dict[str, Secret] | None:
    """Secrets by field as the host keeps them; None while some are still to be generated."""
    present = host.get_fact(HostSecrets)
    if any(kept not in present for kept in SECRETS.values()):
        return None
    return {field: present[kept].value for field, kept in SECRETS.items()}


def published_ports(dify: Dify) -> list[tuple[str, int]]:
    """("bind:port", port inside nginx) for each published port."""
    bind = f"[{dify.bind}]" if ":" in dify.bind else dify.bind
    ports = [(f"{bind}:{dify.http_port}", 80)]
    return [*ports, (f"{bind}:{dify.https.port}", 443)] if dify.https.enabled else ports


@once(64)
def env_text(made: Settings) -> str:
    """The text of .env."""
    return render("dify/env.j2", sections=made.sections)


@once(64)
def _compose_text(dify: Dify, docker: Docker, made: Settings, nginx_files: list[str]) -> str:
    return render(
        "dify/compose.yml.j2",
        project=PROJECT,
        dify=dify,
        docker=docker,
        keys=made.services,
        nginx_files=nginx_files,
        ports=published_ports(dify),
        network=STACK,
        start_interval=int(docker.version.split(".")[0]) >= _START_INTERVAL_SINCE,
    )


def project(dify: Dify, docker: Docker, made: Settings) -> compose.Project:
    """The compose project of this host."""
    nginx = nginx_files(dify)
    mounted = {
        "nginx": {f"/etc/nginx/{path}": file.content for path, file in nginx.items()},
        "ssrf_proxy": {f"/etc/squid/{path}": file.content for path, file in squid_files(dify).items()},
    }
    text, env = _compose_text(dify, docker, made, list(nginx)), env_text(made)
    return compose.Project(
        PROJECT, dify.directory, compose.stamped(text, env, mounted), env, mounted, STAGES, RESTART_WHEN
    )


def planned(spec: HostSpec) -> compose.Project | None:
    """The project with the host's secrets in it; None while they are not known."""
    secrets = known_secrets()
    return None if secrets is None else project(spec.dify, spec.docker, settings(spec.dify, secrets))


def _after_apply(what: str) -> Generator[Any, None, None]:
    """What a plan says of a thing that depends on secrets which are not generated yet."""
    if state.is_executing:
        raise HostError(
            "Dify's secrets are not on the host", where=SECRETS_DIR, hint="difyfleet apply --role dify"
        )
    yield Change(f"{what}: known after apply (secrets are generated first)")
    yield shell("true")


def _declared(spec: HostSpec) -> compose.Project:
    """The project as the inventory alone says it: with its own secrets, and a mark where the host generates one."""
    given = wanted_secrets(spec.dify)
    secrets = {field: given[kept] or Secret("") for field, kept in SECRETS.items()}
    return project(spec.dify, spec.docker, settings(spec.dify, secrets))


@operation
@declaring(lambda spec: _declared(spec).env)
def env_file(spec: HostSpec) -> Generator[Any, None, None]:
    """DIRECTORY/.env, root only."""
    wanted = planned(spec)
    path = f"{spec.dify.directory}/.env"
    if wanted is None:
        yield from _after_apply(path)
        return
    yield from _put(path, wanted.env or "", mode="0600")


@operation
@declaring(lambda spec: _declared(spec).text)
def compose_file(spec: HostSpec) -> Generator[Any, None, None]:
    """DIRECTORY/compose.yml; a text that compose does not load never replaces the old one."""
    wanted = planned(spec)
    path = f"{spec.dify.directory}/compose.yml"
    if wanted is None:
        yield from _after_apply(path)
        return
    validate = compose.validate_command(PROJECT, spec.dify.directory)
    yield from _put(path, wanted.text, mode="0600", validate=validate)


@operation
@declaring(lambda spec: _declared(spec))
def begun(spec: HostSpec) -> Generator[Any, None, None]:
    """At the first start: what needs no other service is started and not waited for."""
    wanted = planned(spec)
    if wanted is None:
        yield from _after_apply(", ".join(STAGES[0]))
        return
    yield from _begun(wanted, STAGES[0])


@operation
@declaring(lambda spec: (_declared(spec), spec.dify.start_timeout))
def containers(spec: HostSpec) -> Generator[Any, None, None]:
    """All nine services as declared and healthy."""
    wanted = planned(spec)
    if wanted is None:
        yield from _after_apply(", ".join(SERVICES))
        return
    yield from _up(wanted, wait_timeout=spec.dify.start_timeout)
