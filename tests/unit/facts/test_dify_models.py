"""facts.dify_models: the script that runs inside Dify's containers, against a server that answers as Ollama 0.4.7 does."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

import pytest

from difyfleet.facts.dify_models import _SCRIPT, Asked, ModelAnswer, OllamaFromDify, Reach, limit_of


class Ollama(BaseHTTPRequestHandler):
    """Two models; anything else is 404 as Ollama says it."""

    asked: ClassVar[list[tuple[str, Any]]] = []

    def do_GET(self) -> None:
        self._answer(200, {"models": [{"name": "qwen2.5:7b"}, {"name": "nomic-embed-text:latest"}]})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.asked.append((self.path, body))
        if body["model"] == "gone":
            self._answer(404, {"error": 'model "gone" not found, try pulling it first'})
        elif self.path == "/api/embed":
            self._answer(200, {"embeddings": [[0.1] * 768]})
        else:
            self._answer(200, {"message": {"content": "pong"}, "done": True})

    def _answer(self, status: int, body: Any) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        """Quiet."""


@pytest.fixture
def url() -> Iterator[str]:
    Ollama.asked.clear()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Ollama)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def seen(url: str, *models: Asked) -> Reach:
    """What the fact's own script says, run here instead of in a container."""
    command = OllamaFromDify().command("dify", url, models, timeout=5)
    sent = next(word for word in shlex.split(command) if word.startswith("{"))
    done = subprocess.run(
        [sys.executable, "-c", _SCRIPT], input=sent, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return OllamaFromDify().process(["@api", *done.stdout.splitlines()])["api"]


def test_tags_and_answers(url: str) -> None:
    found = seen(url + "/", Asked("qwen2.5:7b", "llm", 8192), Asked("nomic-embed-text", "text-embedding"))
    assert found.tags == ("qwen2.5:7b", "nomic-embed-text:latest")
    assert found.error is None
    assert {name: (answer.dimension, answer.error) for name, answer in found.answers.items()} == {
        "qwen2.5:7b": (0, None),
        "nomic-embed-text": (768, None),
    }
    assert Ollama.asked[0][1]["options"] == {"num_predict": 1, "num_ctx": 8192}, "loaded the way it is used"


def test_a_model_that_is_not_pulled(url: str) -> None:
    found = seen(url, Asked("gone", "llm"))
    assert found.answers["gone"].error is not None
    assert found.answers["gone"].error.startswith("HTTP 404: ")
    assert "try pulling it first" in found.answers["gone"].error


def test_nobody_listens() -> None:
    found = seen("http://127.0.0.1:9", Asked("qwen2.5:7b", "llm"))
    assert found.error is not None
    assert "refused" in found.error.lower()
    assert (found.tags, found.answers) == ((), {})


def test_a_name_that_is_not_known() -> None:
    found = seen("http://no-such-host.invalid:11434")
    assert found.error is not None
    assert found.error.startswith("URLError: ")


def test_what_the_containers_say() -> None:
    said = [
        "@api",
        '{"tags": ["a:1"], "error": null, "answers": {"a:1": {"seconds": 0.5, "dimension": 0, "error": null}}}',
        "@worker",
        "Error response from daemon: No such container: dify-worker-1",
    ]
    assert OllamaFromDify().process(said) == {
        "api": Reach(("a:1",), None, {"a:1": ModelAnswer(0.5, 0, None)}),
        "worker": Reach(error="Error response from daemon: No such container: dify-worker-1"),
    }
    assert OllamaFromDify().process(["@api"]) == {"api": Reach(error="the container said nothing")}
    assert OllamaFromDify().process([]) == {}, "no docker on the host"


def test_nothing_is_in_the_command_but_names_and_numbers() -> None:
    command = OllamaFromDify().command("dify", "http://ollama:11434", (Asked("a", "llm"),), timeout=10)
    assert command.startswith("command -v docker >/dev/null || exit 0; ")
    assert "timeout 40 docker exec -i dify-api-1 python3 -c" in command
    assert "timeout 40 docker exec -i dify-worker-1 python3 -c" in command
    assert limit_of((Asked("a", "llm"),), 10) == 110
