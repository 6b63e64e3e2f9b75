"""Asking mirrors: the script that runs on the host, against servers of every kind on loopback."""

from __future__ import annotations

import contextlib
import http.server
import json
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from difyfleet.facts.mirrors import Answer, MirrorProbe, MirrorRecord

IMAGE = "library/nginx:1.27.3"
REGISTRY = {"Docker-Distribution-Api-Version": "registry/2.0", "Content-Type": "application/json"}
MANIFEST = "/v2/library/nginx/manifests/1.27.3"


class _Handler(http.server.BaseHTTPRequestHandler):
    """Answers from the server's table: path -> (status, headers, body)."""

    def do_GET(self) -> None:
        table: Any = self.server.table  # type: ignore[attr-defined]
        status, headers, body = (
            table(self) if callable(table) else table.get(self.path, (404, REGISTRY, "{}"))
        )
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        with contextlib.suppress(OSError):
            self.wfile.write(body.encode())

    def log_message(self, *_: object) -> None:
        pass


@contextlib.contextmanager
def serving(table: Any) -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.table = table  # type: ignore[attr-defined]
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


def ask(*urls: str, timeout: float = 0.6, image: str = IMAGE) -> dict[str, Answer]:
    command = MirrorProbe().command(urls=urls, timeout=timeout, image=image)
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, timeout=30)
    assert done.returncode == 0
    return MirrorProbe().process(done.stdout.split("\n")[:-1])


def verdict(table: Any, **options: Any) -> tuple[bool, str]:
    with serving(table) as url:
        answer = ask(url, **options)[url]
    return answer.alive, answer.reason


def test_a_registry_that_has_the_image() -> None:
    assert verdict({"/v2/": (200, REGISTRY, "{}"), MANIFEST: (200, REGISTRY, "{}")}) == (
        True,
        f"serves {IMAGE}",
    )


def test_a_registry_without_the_image_is_alive() -> None:
    assert verdict({"/v2/": (200, REGISTRY, "{}")}) == (True, f"answers, does not have {IMAGE}")


def test_nothing_is_asked_for_without_an_image() -> None:
    assert verdict({"/v2/": (200, REGISTRY, "{}")}, image="") == (True, "answers")


def test_the_token_that_a_401_asks_for() -> None:
    def table(request: Any) -> Any:
        if request.path.startswith("/token?"):
            assert "scope=repository%3Alibrary%2Fnginx%3Apull" in request.path
            assert "service=s" in request.path
            return 200, {"Content-Type": "application/json"}, json.dumps({"token": "t"})
        if request.headers.get("Authorization") == "Bearer t":
            return 200, REGISTRY, "{}"
        host = request.headers["Host"]
        return 401, {**REGISTRY, "Www-Authenticate": f'Bearer realm="http://{host}/token",service="s"'}, "{}"

    assert verdict(table) == (True, f"serves {IMAGE}")


def test_a_dead_token_service_makes_a_mirror_dead() -> None:
    challenge = {**REGISTRY, "Www-Authenticate": 'Bearer realm="http://127.0.0.1:1/token"'}
    alive, reason = verdict(lambda request: (401, challenge, "{}"))
    assert (alive, reason) == (False, "its token service 127.0.0.1:1 fails: connection refused")


@pytest.mark.parametrize(
    ("table", "reason"),
    [
        ({"/v2/": (404, {"Content-Type": "text/html"}, "<html>")}, "/v2/ answers HTTP 404, a web page"),
        ({"/v2/": (200, {"Content-Type": "text/html"}, "<html>")}, "a web page, not a registry"),
        (
            {"/v2/": (200, {"Content-Type": "application/json"}, "{}")},
            "/v2/ answers without Docker-Distribution-Api-Version",
        ),
        ({"/v2/": (401, REGISTRY, "{}")}, "/v2/ answers 401 without a challenge"),
        ({"/v2/": (403, REGISTRY, "{}")}, "/v2/ answers HTTP 403"),
        ({"/v2/": (200, REGISTRY, "{}"), MANIFEST: (403, REGISTRY, "{}")}, f"refuses {IMAGE}: HTTP 403"),
        (
            {"/v2/": (200, REGISTRY, "{}"), MANIFEST: (200, {"Content-Type": "text/html"}, "<html>")},
            f"refuses {IMAGE}: HTTP 200, a web page",
        ),
    ],
)
def test_what_is_no_mirror(table: Any, reason: str) -> None:
    assert verdict(table) == (False, reason)


def test_a_slow_manifest_is_not_death() -> None:
    def table(request: Any) -> Any:
        if request.path != "/v2/":
            time.sleep(1.5)
        return 200, REGISTRY, "{}"

    assert verdict(table) == (True, f"answers, slow with {IMAGE}")


def test_all_at_once_and_one_answer_each() -> None:
    silent = socket.create_server(("127.0.0.1", 0))  # connects, never answers
    urls = [f"http://127.0.0.1:{silent.getsockname()[1]}", "http://127.0.0.1:1", "http://nowhere.invalid"]
    began = time.monotonic()
    with silent, serving({"/v2/": (200, REGISTRY, "{}")}) as good:
        answers = ask(*urls, good, timeout=1)
    assert (
        time.monotonic() - began < 6
    )  # 1 s each would be one after the other; name look-ups may take their time
    assert [answers[url].alive for url in (*urls, good)] == [False, False, False, True]
    assert answers[urls[0]].reason == "silent for 1 s"
    assert answers[urls[1]].reason == "connection refused"
    assert answers[urls[2]].reason.startswith(("no such name in DNS", "DNS does not answer", "silent"))


def test_the_record() -> None:
    text = '{"mirrors": {"https://a": {"alive": true, "reason": "answers", "seconds": 0.1, "when": "then"}, "https://b": 5}}'
    assert MirrorRecord().process([text]) == {"https://a": Answer(True, "answers", 0.1, "then")}
    assert MirrorRecord().process(["{broken"]) == {}
