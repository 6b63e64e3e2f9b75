"""What is asserted of Dify once it runs."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timezone

from cryptography import x509
from pyinfra import host

from difyfleet.checks import Check
from difyfleet.facts.compose import ComposeState
from difyfleet.facts.dify import Answer, DifyFront, Inside, ServedCertificate
from difyfleet.facts.files import PathState
from difyfleet.facts.secrets import SECRETS_DIR, HostSecrets
from difyfleet.operations import compose, dify
from difyfleet.operations.dify_settings import SECRETS, body_limit_mb
from difyfleet.spec.models import Dify, HostSpec

_CERTIFICATE_DAYS = 30  # fewer days left than this is worth a warning


def model_server(spec: HostSpec) -> str:
    """What api must be able to reach; empty when Ollama is not on this host."""
    return "http://ollama:11434/api/version" if spec.ollama.enabled else ""


def service_checks(project: compose.Project, state: ComposeState) -> Iterator[Check]:
    """Each of the nine runs and is healthy, and nothing about it differs from the project."""
    found: dict[str, list[str]] = {}
    for difference in compose.differences(project, state):
        found.setdefault(difference.service, []).append(difference.why)
    for service in dify.SERVICES:
        container = state.containers.get(service)
        hint = f"docker logs --tail 100 {project.container_name(service)}"
        if container is None:
            yield Check(
                f"service {service}: running and healthy", False, "absent", "difyfleet apply --role dify"
            )
            continue
        seen = f"{container.status}, {container.health or 'no health check'}, {container.restarts} restarts"
        yield Check(f"service {service}: running and healthy", container.settled, seen, hint)
    words = [f"{service}: {', '.join(why)}" for service, why in found.items()]
    yield Check(
        "compose project: as declared",
        not words,
        "; ".join(words) or f"{len(dify.SERVICES)} services",
        "difyfleet plan --role dify",
    )


def isolation_checks(section: Dify, state: ComposeState) -> Iterator[Check]:
    """Who can be reached from outside, and who can reach out."""
    outside = [
        f"{service} {port}"
        for service, each in state.containers.items()
        if service != "nginx"
        for port in each.published
    ]
    yield Check(
        "ports: only nginx is published",
        not outside,
        ", ".join(outside) or "nothing else",
        "difyfleet apply --role dify",
    )
    nginx = state.containers.get("nginx")
    declared = tuple(
        sorted(
            f"{published.replace('[', '').replace(']', '')}->{port}/tcp"
            for published, port in dify.published_ports(section)
        )
    )
    published = nginx.published if nginx else ()
    yield Check(
        "ports: published as declared",
        published == declared,
        ", ".join(published) or "none",
        f"declared: {', '.join(declared)}",
    )
    sandbox = state.containers.get("sandbox")
    on = sorted(sandbox.networks) if sandbox else []
    yield Check(
        "sandbox: only way out is ssrf_proxy",
        on == [f"{dify.PROJECT}_ssrf_proxy_network"],
        ", ".join(on),
        "difyfleet apply --role dify",
    )


def file_checks(section: Dify, project: compose.Project) -> Iterator[Check]:
    """The files that hold or carry secrets are the wanted ones and closed."""
    for name, text in ((".env", project.env or ""), ("compose.yml", project.text)):
        state = host.get_fact(PathState, path=f"{section.directory}/{name}")
        same = state is not None and state.content == text.encode()
        yield Check(
            f"{name}: as declared",
            same,
            "equal" if same else "differs" if state else "absent",
            "difyfleet plan --role dify",
        )
        private = state is not None and (state.mode, state.owner) == ("0600", "root")
        yield Check(
            f"{name}: readable by root only",
            private,
            f"{state.mode} {state.owner}" if state else "absent",
            "difyfleet apply --role dify",
        )
    opened = [
        f"{name} {kept.mode} {kept.owner}"
        for name, kept in host.get_fact(HostSecrets).items()
        if name in SECRETS.values() and (kept.mode, kept.owner) != ("0600", "root:root")
    ]
    yield Check(
        "secrets: readable by root only",
        not opened,
        ", ".join(opened) or f"{len(SECRETS)} files, 0600 root:root",
        "difyfleet apply --role dify",
    )


def address(section: Dify) -> str:
    """Where the host itself reaches the published ports."""
    return {"0.0.0.0": "127.0.0.1", "::": "[::1]", "": "127.0.0.1"}.get(section.bind, section.bind)


def base_url(section: Dify) -> str:
    """Dify as the host itself reaches it."""
    if section.https.enabled:
        return f"https://{address(section)}:{section.https.port}"
    return f"http://{address(section)}:{section.http_port}"


def front_checks(section: Dify) -> Iterator[Check]:
    """What a visitor gets through nginx."""
    name = "" if section.server_name == "_" else section.server_name.split()[0]
    paths = ("/console/api/setup", "/v1/", "/", "/console/api/forgot-password")
    answers: dict[str, Answer] = host.get_fact(
        DifyFront, base=base_url(section), paths=paths, host_name=name, _timeout=120
    )
    setup, welcome, page, blocked = (answers.get(path, Answer(0, body="no answer")) for path in paths)
    hint = "docker logs --tail 50 dify-nginx-1; docker logs --tail 50 dify-api-1"
    yield Check(
        "http: setup status through nginx", setup.status == 200, f"{setup.status} {step_of(setup)}", hint
    )
    version = setup.headers.get("x-version", "none")
    yield Check(
        "version: api is the pinned release",
        version == section.version,
        f"X-Version {version}",
        "difyfleet apply --role images",
    )
    yield Check(
        "http: service API through nginx",
        welcome.status == 200,
        f"{welcome.status} {welcome.body[:80]!r}",
        hint,
    )
    shown = page.status in (200, 307, 308, 302) and "nginx" not in page.body[:200].lower()
    yield Check(
        "http: web console through nginx",
        shown,
        f"{page.status}, {page.headers.get('content-type', 'no type')}",
        hint,
    )
    yield Check(
        "http: unsafe calls of 0.11.2 are blocked",
        blocked.status == 403,
        f"forgot-password: {blocked.status}",
        "difyfleet apply --role dify",
    )
    if section.https.enabled and section.https.redirect:
        plain = f"http://{address(section)}:{section.http_port}"
        redirected = host.get_fact(DifyFront, base=plain, paths=("/",), host_name=name).get("/", Answer(0))
        goes = redirected.headers.get("location", "nowhere")
        yield Check(
            "http: sent on to HTTPS",
            redirected.status == 308 and goes.startswith("https://"),
            f"{redirected.status} to {goes}",
            hint,
        )


def step_of(setup: Answer) -> str:
    """Whether the first account exists, and what the first visitor is asked for."""
    if '"not_started"' in setup.body:
        return f"no account yet; the first visit asks for the password in {SECRETS_DIR}/{SECRETS['init_password']}"
    return "account exists" if '"finished"' in setup.body else repr(setup.body[:80])


def inside_checks(spec: HostSpec, inside: Inside) -> Iterator[Check]:
    """What no request from outside can tell: worker, limits, the way to Ollama."""
    code, said = inside.worker_ping
    yield Check(
        "worker: answers a ping through the broker",
        code == 0 and "pong" in said.lower(),
        last_line(said),
        "docker logs --tail 50 dify-worker-1",
    )
    body = body_limit_mb(spec.dify)
    given = inside.nginx_limit[1].split()
    in_nginx = given[1].rstrip(";") if len(given) > 1 else "unknown"
    in_dify = inside.api_limit[1].strip()
    same = in_dify == str(spec.dify.upload_limit_mb) and in_nginx == f"{body}m"
    yield Check(
        "upload limit: the same number everywhere",
        same,
        f"Dify {in_dify} MB, nginx {in_nginx}",
        "difyfleet apply --role dify",
    )
    if inside.model_server is not None:
        code, said = inside.model_server
        yield Check(
            "ollama: reachable from inside api", code == 0, last_line(said), "difyfleet apply --role ollama"
        )


def last_line(text: str) -> str:
    """The last line with something on it, shortened."""
    return next((line.strip()[:160] for line in reversed(text.splitlines()) if line.strip()), "no answer")


def certificate_checks(section: Dify) -> Iterator[Check]:
    """The served certificate is the declared one, and how long it will do."""
    if section.https.certificate is None:
        return
    declared = x509.load_pem_x509_certificate(section.https.certificate.read_bytes())
    name = "" if section.server_name == "_" else section.server_name.split()[0]
    pem = host.get_fact(
        ServedCertificate, address=address(section), port=section.https.port, server_name=name
    )
    served = x509.load_pem_x509_certificate(pem.encode()) if pem else None
    evidence = (
        f"{served.subject.rfc4514_string()}, serial {served.serial_number:x}" if served else "no TLS answer"
    )
    yield Check(
        "certificate: the declared one is served", served == declared, evidence, "difyfleet apply --role dify"
    )
    if served:
        days = (served.not_valid_after_utc - datetime.now(timezone.utc)).days
        yield Check(
            "certificate: valid now",
            days >= 0,
            f"until {served.not_valid_after_utc:%Y-%m-%d}",
            "put a new certificate in place and apply",
        )
        hint = "renew it, then difyfleet apply --role dify"
        yield Check(
            "certificate: not about to end",
            days >= _CERTIFICATE_DAYS,
            f"{days} days left",
            hint,
            warn_only=True,
        )
