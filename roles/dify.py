"""Dify: nine containers behind one nginx, the only one of them that can be reached from outside."""

from __future__ import annotations

from collections.abc import Iterator

from pyinfra import host

from difyfleet.checks import Check
from difyfleet.facts.dify import DifyInside
from difyfleet.facts.secrets import SECRETS_DIR
from difyfleet.operations import compose, dify, files, networks, secrets
from difyfleet.operations.config_set import config_set
from difyfleet.operations.dify_settings import SECRETS
from difyfleet.spec.models import HostSpec
from difyfleet.stack import Part
from roles import _dify_checks as look

NAME = "dify"
_SETTLE = 180  # seconds that checks give containers which are still starting (after a reboot, say)


def wanted(spec: HostSpec) -> bool:
    return spec.dify.enabled


def converge(spec: HostSpec) -> None:
    section = spec.dify
    kept = {
        name: value
        for name, value in dify.wanted_secrets(section).items()
        if name != SECRETS["init_password"]
    }
    sealed = {SECRETS[field]: dify.db_initialised(section) for field in ("db_password", "secret_key")}

    files.directory(SECRETS_DIR.rsplit("/", 1)[0], mode="0755", name="difyfleet folder")
    files.directory(SECRETS_DIR, mode="0700", name="secrets folder")
    dify.same_database_password(section, name="database password is the one the data was made with")
    secrets.keep(kept, guards=sealed, name="secrets")
    dify.keep_init_password(section, name="password of the first visit (INIT_PASSWORD)")

    dify.volumes(section, name="data folders")


def begin(spec: HostSpec) -> None:
    """The second part, when the images are there: they judge their own configuration. The stores begin to start."""
    section = spec.dify
    config_set(
        f"{section.directory}/ssrf_proxy",
        dify.squid_files(section),
        image=section.images.ssrf_proxy,
        mount_at="/etc/squid",
        judge=["squid", "-k", "parse", "-f", "/etc/squid/squid.conf"],
        name="squid.conf",
    )
    config_set(
        f"{section.directory}/nginx",
        dify.nginx_files(section),
        image=section.images.nginx,
        mount_at="/etc/nginx",
        judge=["nginx", "-t"],
        name="nginx configuration",
    )
    if not section.https.enabled:
        files.absent(f"{section.directory}/nginx/ssl/dify.key", name="no TLS key left behind")
    dify.env_file(spec, name=".env")
    dify.compose_file(spec, name="compose.yml")
    networks.network(networks.STACK, name="network that Ollama is on")
    dify.begun(spec, name="stores and proxies, waited for after Open WebUI's start")


def start(spec: HostSpec) -> None:
    """The third part, after Open WebUI's claim: the stores are ready by now."""
    dify.containers(spec, name="containers")


begun, started = Part(NAME, wanted, begin), Part(NAME, wanted, start)


def checks(spec: HostSpec) -> Iterator[Check]:
    section = spec.dify
    project = dify.planned(spec)
    if project is None:
        yield Check("secrets: on the host", False, "some are missing", "difyfleet apply --role dify")
        return
    state = compose.settled_state(host, project, _SETTLE)
    yield from look.service_checks(project, state)
    yield from look.isolation_checks(section, state)
    yield from look.file_checks(section, project)
    yield from look.front_checks(section)
    yield from look.inside_checks(
        spec,
        host.get_fact(DifyInside, project=dify.PROJECT, model_server=look.model_server(spec), _timeout=400),
    )
    if section.https.enabled:
        yield from look.certificate_checks(section)
