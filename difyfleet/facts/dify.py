"""Dify as it answers: through its nginx, and from inside its containers."""

from __future__ import annotations

import base64
import re
import shlex
from collections.abc import Iterable
from dataclasses import dataclass, field

from pyinfra.api import FactBase

_BODY = 4096  # bytes of an answer that are kept
_PINGS = 4  # a worker whose Redis was just recreated needs a while to come back to it by itself


@dataclass(frozen=True)
class Answer:
    """One HTTP answer; status 0 = none, and `body` holds curl's words."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)  # names in lower case
    body: str = ""


class DifyFront(FactBase[dict[str, Answer]]):
    """What nginx answers on the host, by path.

    Args:
        base: origin, e.g. http://127.0.0.1:80. Certificates are not verified here (see ServedCertificate).
        paths: paths to GET.
        host_name: Host header and TLS server name; empty = the address.
        timeout: seconds per path.
    """

    def command(self, base: str, paths: tuple[str, ...], host_name: str = "", timeout: int = 20) -> str:
        header = f"-H {shlex.quote(f'Host: {host_name}')} " if host_name else ""
        each = (
            f"echo @{shlex.quote(path)}; curl -isSk --max-time {timeout} {header}{shlex.quote(base + path)} 2>&1 | head -c {_BODY} | base64 -w0; echo"
            for path in paths
        )
        return "; ".join(each)

    @staticmethod
    def default() -> dict[str, Answer]:
        return {}

    def process(self, output: Iterable[str]) -> dict[str, Answer]:
        answers: dict[str, Answer] = {}
        path = ""
        for line in output:
            if line.startswith("@"):
                path = line[1:]
            elif line:
                answers[path] = parse_answer(base64.b64decode(line))
        return answers


def parse_answer(raw: bytes) -> Answer:
    """An answer as `curl -i` prints it."""
    text = raw.decode("utf-8", "replace")
    head, _, body = text.partition("\r\n\r\n")
    first, *lines = head.split("\r\n")
    found = re.match(r"HTTP/\S+ (\d{3})", first)
    if not found:
        return Answer(0, body=text.strip())
    headers = {
        name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)
    }
    return Answer(int(found[1]), headers, body)


class ServedCertificate(FactBase[str | None]):
    """The certificate (PEM) that a TLS server on the host shows; None = no TLS there.

    Args:
        address: address on the host.
        port: TCP port.
        server_name: name to ask for; empty = none.
    """

    def command(self, address: str, port: int, server_name: str = "") -> str:
        target = f"{address}:{port}"
        sni = f"-servername {shlex.quote(server_name)}" if server_name else ""
        python = f"import ssl; print(ssl.get_server_certificate(({address!r}, {port})))"
        return (
            f"if command -v openssl >/dev/null; then timeout 15 openssl s_client -connect {shlex.quote(target)} {sni} </dev/null 2>/dev/null"
            f" | openssl x509 2>/dev/null; else timeout 15 python3 -c {shlex.quote(python)} 2>/dev/null; fi; true"
        )

    @staticmethod
    def default() -> None:
        return None

    def process(self, output: Iterable[str]) -> str | None:
        text = "\n".join(line for line in output if line.strip())
        return f"{text}\n" if "BEGIN CERTIFICATE" in text else None


@dataclass(frozen=True)
class Inside:
    """What the containers say of themselves. Pairs are (exit code, output)."""

    worker_ping: tuple[int, str] = (-1, "")
    api_limit: tuple[int, str] = (-1, "")
    nginx_limit: tuple[int, str] = (-1, "")
    model_server: tuple[int, str] | None = None


class DifyInside(FactBase[Inside]):
    """Questions asked from inside the containers.

    Args:
        project: compose project name.
        model_server: URL that api must reach; empty = not asked.
        timeout: seconds per question; celery loads all of Dify before it pings.
    """

    def command(self, project: str, model_server: str = "", timeout: int = 90) -> str:
        ping = "celery -A app.celery inspect ping -d celery@$HOSTNAME -t 15 2>&1"
        fetch = (
            "import sys, urllib.request as r; print(r.urlopen(sys.argv[1], timeout=10).read(200).decode())"
        )
        asked = {
            "worker_ping": f"{project}-worker-1 sh -c {shlex.quote(ping)}",
            "api_limit": f"{project}-api-1 printenv UPLOAD_FILE_SIZE_LIMIT",
            "nginx_limit": f"{project}-nginx-1 sh -c {shlex.quote('nginx -T 2>/dev/null | grep client_max_body_size')}",
        }
        if model_server:
            asked["model_server"] = (
                f"{project}-api-1 python3 -c {shlex.quote(fetch)} {shlex.quote(model_server)} 2>&1"
            )
        parts = ["command -v docker >/dev/null || exit 0"]
        for name, arguments in asked.items():
            tries = " ".join(map(str, range(_PINGS if name == "worker_ping" else 1)))
            parts.append(
                f"for n in {tries}; do o=$(timeout {timeout} docker exec {arguments} 2>&1); r=$?; "
                f"[ $r = 0 ] && break; sleep 2; done; printf '@%s %s\\n%s\\n' {name} $r \"$o\""
            )
        return "; ".join(parts)

    @staticmethod
    def default() -> Inside:
        return Inside()

    def process(self, output: Iterable[str]) -> Inside:
        answers: dict[str, tuple[int, str]] = {}
        name = ""
        for line in output:
            found = re.fullmatch(r"@(\w+) (\d+)", line)
            if found:
                name = found[1]
                answers[name] = (int(found[2]), "")
            elif name and line.strip():
                code, text = answers[name]
                answers[name] = (code, f"{text}\n{line.rstrip()}".lstrip("\n"))
        return Inside(**answers)
