"""roles.dify: each check holds on a good answer and fails on the bad one it is there for."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from difyfleet.checks import Check
from difyfleet.facts.compose import ComposeState, Container
from difyfleet.facts.dify import Answer, DifyFront, Inside, ServedCertificate
from difyfleet.facts.files import FileState, PathState
from difyfleet.facts.secrets import HostSecrets, KeptSecret
from difyfleet.operations import compose
from difyfleet.operations import dify as operations
from difyfleet.operations.dify_settings import SECRETS, settings
from difyfleet.secrets import Secret
from difyfleet.spec.models import Admin, Dify, Docker, HostSpec
from roles import _dify_checks, dify
from tests.unit.fakehost import fact, fake_host

VALUES = {field: Secret(f"{field}-canary-value") for field in SECRETS}
PROJECT = operations.project(Dify(), Docker(), settings(Dify(), VALUES))


def failed(checks: Iterable[Check]) -> list[str]:
    found = list(checks)
    assert found
    return [check.name for check in found if not check.ok]


def container(service: str, **changes: Any) -> Container:
    labels = {
        compose.STAMP: PROJECT.services[service]["labels"][compose.STAMP],
        "com.docker.compose.service": service,
    }
    made = Container(
        service,
        f"dify-{service}-1",
        "sha256:1",
        "x",
        labels,
        "running",
        0,
        5,
        "healthy",
        0,
        "always",
        PROJECT.networks(service) or frozenset(),
    )
    if service == "nginx":
        made = dataclasses.replace(made, published=("0.0.0.0:80->80/tcp",))
    return dataclasses.replace(made, **changes)


def state(**changed: Container | None) -> ComposeState:
    found = {service: container(service) for service in operations.SERVICES} | changed
    return ComposeState(
        docker=True, containers={service: each for service, each in found.items() if each is not None}
    )


def test_services() -> None:
    assert failed(_dify_checks.service_checks(PROJECT, state())) == []
    bad = state(
        worker=container("worker", status="exited"), redis=container("redis", health="unhealthy"), web=None
    )
    assert failed(_dify_checks.service_checks(PROJECT, bad)) == [
        "service worker: running and healthy",
        "service web: running and healthy",
        "service redis: running and healthy",
        "compose project: as declared",
    ]


def test_restarts_are_shown() -> None:
    (api, *_) = _dify_checks.service_checks(PROJECT, state(api=container("api", restarts=4)))
    assert api.evidence == "running, healthy, 4 restarts"


def test_isolation() -> None:
    assert failed(_dify_checks.isolation_checks(Dify(), state())) == []
    published = state(db=container("db", published=("0.0.0.0:5432->5432/tcp",)))
    assert failed(_dify_checks.isolation_checks(Dify(), published)) == ["ports: only nginx is published"]
    assert failed(_dify_checks.isolation_checks(Dify(http_port=8088), state())) == [
        "ports: published as declared"
    ]
    free = state(
        sandbox=container("sandbox", networks=frozenset({"dify_default", "dify_ssrf_proxy_network"}))
    )
    assert failed(_dify_checks.isolation_checks(Dify(), free)) == ["sandbox: only way out is ssrf_proxy"]


def file(text: str, mode: str = "0600") -> FileState:
    return FileState("file", mode, "root", "root", content=text.encode())


def file_checks(env: FileState | None, secret_mode: str = "0600") -> list[str]:
    facts = {
        fact(PathState, path="/opt/dify/.env"): env,
        fact(PathState, path="/opt/dify/compose.yml"): file(PROJECT.text),
        fact(HostSecrets): {
            name: KeptSecret(VALUES[field], secret_mode, "root:root") for field, name in SECRETS.items()
        },
    }
    with fake_host(facts):
        return failed(_dify_checks.file_checks(Dify(), PROJECT))


def test_files() -> None:
    text = PROJECT.env or ""
    assert file_checks(file(text)) == []
    assert file_checks(file(text + "#")) == [".env: as declared"]
    assert file_checks(file(text, "0644")) == [".env: readable by root only"]
    assert file_checks(None) == [".env: as declared", ".env: readable by root only"]
    assert file_checks(file(text), "0644") == ["secrets: readable by root only"]


GOOD = {
    "/console/api/setup": Answer(200, {"x-version": "0.11.2"}, '{"step": "not_started"}'),
    "/v1/": Answer(200, {}, '{"welcome": "Dify OpenAPI"}'),
    "/": Answer(307, {"location": "/apps"}),
    "/console/api/forgot-password": Answer(403),
}


def front(answers: dict[str, Answer], section: Dify | None = None, plain: Answer | None = None) -> list[str]:
    section = section or Dify()
    paths = tuple(GOOD)
    facts = {
        fact(DifyFront, base=_dify_checks.base_url(section), paths=paths, host_name="", _timeout=120): answers
    }
    if plain:
        facts[fact(DifyFront, base="http://127.0.0.1:80", paths=("/",), host_name="")] = {"/": plain}
    with fake_host(facts):
        return failed(_dify_checks.front_checks(section))


def test_front() -> None:
    assert front(GOOD) == []
    assert front(GOOD | {"/console/api/setup": Answer(500, {"x-version": "0.11.2"})}) == [
        "http: setup status through nginx"
    ]
    assert front(GOOD | {"/console/api/setup": Answer(200, {"x-version": "0.15.3"})}) == [
        "version: api is the pinned release"
    ]
    assert front(GOOD | {"/": Answer(502, body="<html>nginx")}) == ["http: web console through nginx"]
    assert front(GOOD | {"/": Answer(200, body="<html>Welcome to nginx!")}) == [
        "http: web console through nginx"
    ]
    assert front(GOOD | {"/console/api/forgot-password": Answer(400)}) == [
        "http: unsafe calls of 0.11.2 are blocked"
    ]
    assert len(front({})) == 5


def test_the_first_visitor_is_told_where_the_password_is() -> None:
    assert "/etc/difyfleet/secrets/dify_init_password" in _dify_checks.step_of(GOOD["/console/api/setup"])
    assert (
        _dify_checks.step_of(Answer(200, {}, '{"step": "finished", "setup_at": "2026-01-01T00:00:00"}'))
        == "account exists"
    )
    assert _dify_checks.step_of(Answer(500, {}, "Internal Server Error")) == "'Internal Server Error'"


def test_redirect_to_https() -> None:
    section = Dify(https={"enabled": True, "certificate": "c", "key": "k"})
    assert front(GOOD, section, Answer(308, {"location": "https://127.0.0.1/"})) == []
    assert front(GOOD, section, Answer(200)) == ["http: sent on to HTTPS"]


@pytest.mark.parametrize(
    ("bind", "address"),
    [("0.0.0.0", "127.0.0.1"), ("::", "[::1]"), ("10.0.0.5", "10.0.0.5"), ("127.0.0.1", "127.0.0.1")],
)
def test_the_host_reaches_itself_where_it_listens(bind: str, address: str) -> None:
    assert _dify_checks.base_url(Dify(bind=bind, http_port=81)) == f"http://{address}:81"


def test_inside() -> None:
    host = HostSpec(name="h", address="h", admin=Admin(email="a@example.com"))
    good = Inside(
        (0, "-> celery@x: OK\n pong\n1 node online."),
        (0, "15"),
        (0, "client_max_body_size 110m;"),
        (0, '{"version":"0.4.7"}'),
    )
    assert failed(_dify_checks.inside_checks(host, good)) == []
    silent = dataclasses.replace(good, worker_ping=(69, "Error: No nodes replied within time constraint"))
    assert failed(_dify_checks.inside_checks(host, silent)) == ["worker: answers a ping through the broker"]
    for limits in (
        {"api_limit": (0, "50M")},
        {"nginx_limit": (0, "    client_max_body_size 15m;")},
        {"nginx_limit": (1, "")},
    ):
        assert failed(_dify_checks.inside_checks(host, dataclasses.replace(good, **limits))) == [
            "upload limit: the same number everywhere"
        ]
    assert failed(
        _dify_checks.inside_checks(
            host, dataclasses.replace(good, model_server=(1, "Name or service not known"))
        )
    ) == ["ollama: reachable from inside api"]
    assert failed(_dify_checks.inside_checks(host, dataclasses.replace(good, model_server=None))) == []


def certificate(days: int) -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "d.lan")])
    now = datetime.now(timezone.utc)
    made = x509.CertificateBuilder(
        name,
        name,
        key.public_key(),
        x509.random_serial_number(),
        now - timedelta(days=9),
        now + timedelta(days, 60),
    )
    return made.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def certificates(folder: Path, declared: bytes, served: bytes | None) -> list[str]:
    (folder / "c.pem").write_bytes(declared)
    section = Dify(https={"enabled": True, "certificate": folder / "c.pem", "key": folder / "k.pem"})
    with fake_host(
        {
            fact(ServedCertificate, address="127.0.0.1", port=443, server_name=""): served.decode()
            if served
            else None
        }
    ):
        return failed(_dify_checks.certificate_checks(section))


def test_certificate(tmp_path: Path) -> None:
    good, soon, over = certificate(90), certificate(20), certificate(-1)
    assert certificates(tmp_path, good, good) == []
    assert certificates(tmp_path, good, certificate(90)) == ["certificate: the declared one is served"]
    assert certificates(tmp_path, soon, soon) == ["certificate: not about to end"]
    assert certificates(tmp_path, over, over) == ["certificate: valid now", "certificate: not about to end"]
    assert certificates(tmp_path, good, None) == ["certificate: the declared one is served"]


def test_secrets_that_are_not_there_are_one_failed_check() -> None:
    host = HostSpec(name="h", address="h", admin=Admin(email="a@example.com"))
    with fake_host({fact(HostSecrets): {}}):
        assert failed(dify.checks(host)) == ["secrets: on the host"]
