"""The Ollama client against recorded answers of the real server 0.4.7."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from typing import Any

import pytest
import requests
from requests.adapters import BaseAdapter

from difyfleet.clients.ollama import ModelNotFound, OllamaClient, OllamaError, PullStep, Unreachable

TAGS = {
    "models": [
        {
            "name": "qwen2.5:7b",
            "model": "qwen2.5:7b",
            "modified_at": "2024-12-15T03:01:26.402Z",
            "size": 4683087332,
            "digest": "845dbda0ea48ed749caafd9e6037047aa19acfcfd82e704d7ca97d631a0b697e",
            "details": {
                "parent_model": "",
                "format": "gguf",
                "family": "qwen2",
                "families": ["qwen2"],
                "parameter_size": "7.6B",
                "quantization_level": "Q4_K_M",
            },
        }
    ]
}
GENERATED = {
    "model": "llama3.2",
    "response": "The capital of France is Paris.",
    "done": True,
    "done_reason": "stop",
    "total_duration": 3_500_000_000,
    "load_duration": 1_500_000_000,
    "eval_count": 8,
}


class Replies(BaseAdapter):
    """Answers by method and path; keeps what was asked."""

    def __init__(self, replies: dict[str, Any]) -> None:
        super().__init__()
        self.replies = replies
        self.asked: list[tuple[str, Any]] = []

    def send(self, request: requests.PreparedRequest, **kwargs: Any) -> requests.Response:  # type: ignore[override]
        key = f"{request.method} {request.path_url}"
        self.asked.append((key, json.loads(request.body) if request.body else None))
        reply = self.replies[key]
        if isinstance(reply, Exception):
            raise reply
        status, body = reply if isinstance(reply, tuple) else (200, reply)
        response = requests.Response()
        response.status_code, response.request, response.url = status, request, str(request.url)
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        response.raw = io.BytesIO(raw)
        return response

    def close(self) -> None:
        """Nothing to close."""


def make(replies: dict[str, Any]) -> tuple[OllamaClient, Replies]:
    session = requests.Session()
    adapter = Replies(replies)
    session.mount("http://", adapter)
    return OllamaClient(session), adapter


def test_tags() -> None:
    ollama, _ = make({"GET /api/tags": TAGS})
    model = ollama.tags()[0]
    assert (model.name, model.id, model.size, model.parameter_size) == (
        "qwen2.5:7b",
        "845dbda0ea48",
        4683087332,
        "7.6B",
    )


def test_no_models_is_null_in_the_answer() -> None:
    ollama, _ = make({"GET /api/tags": {"models": None}, "GET /api/ps": {"models": None}})
    assert (ollama.tags(), ollama.ps()) == ([], [])


def test_generate_is_short_repeatable_and_not_streamed() -> None:
    ollama, adapter = make({"POST /api/generate": GENERATED})
    answer = ollama.generate("llama3.2", "capital?", num_predict=9)
    assert (answer.text, answer.tokens, answer.tokens_per_second) == (
        "The capital of France is Paris.",
        8,
        4.0,
    )
    assert adapter.asked[0][1] == {
        "model": "llama3.2",
        "prompt": "capital?",
        "stream": False,
        "options": {"num_predict": 9, "temperature": 0, "seed": 1},
    }


def test_stop_unloads_with_keep_alive_zero() -> None:
    ollama, adapter = make({"POST /api/generate": {"done": True, "done_reason": "unload"}})
    ollama.stop("llama3.2")
    assert adapter.asked[0][1] == {"model": "llama3.2", "keep_alive": 0, "stream": False}


@pytest.mark.parametrize(
    ("about", "only"),
    [
        ({"details": {"family": "nomic-bert", "families": ["nomic-bert"]}}, True),
        ({"details": {"family": "llama", "families": None}}, False),
        ({"capabilities": ["embedding"], "details": {"family": "qwen3"}}, True),
        ({"capabilities": ["completion", "tools"], "details": {"family": "bert"}}, False),
    ],
)
def test_embedding_only(about: dict[str, Any], only: bool) -> None:
    ollama, _ = make({"POST /api/show": about})
    assert ollama.embedding_only("m") is only


def test_ask_embeds_with_an_embedding_model() -> None:
    ollama, _ = make(
        {
            "POST /api/show": {"details": {"family": "nomic-bert"}},
            "POST /api/embed": {"embeddings": [[0.1, 0.2, 0.3]]},
        }
    )
    assert ollama.ask("nomic-embed-text").startswith("a vector of 3 numbers in ")


def test_ask_takes_an_empty_answer_for_a_failure() -> None:
    ollama, _ = make(
        {
            "POST /api/show": {"details": {"family": "llama"}},
            "POST /api/generate": GENERATED | {"response": " \n"},
        }
    )
    with pytest.raises(OllamaError, match="the answer is empty"):
        ollama.ask("llama3.2")


def test_unknown_model() -> None:
    ollama, _ = make({"POST /api/show": (404, {"error": "model 'x' not found"})})
    with pytest.raises(ModelNotFound, match="model 'x' not found") as caught:
        ollama.show("x")
    assert caught.value.status == 404


def test_nothing_listens() -> None:
    ollama, _ = make({"GET /api/version": requests.ConnectionError("refused")})
    with pytest.raises(Unreachable, match=r"nothing answers at http://127.0.0.1:11434"):
        ollama.version()


def test_answer_that_is_not_json() -> None:
    ollama, _ = make({"GET /api/version": b"<html>login</html>"})
    with pytest.raises(OllamaError, match="not JSON"):
        ollama.version()


def lines(*steps: dict[str, Any]) -> bytes:
    return b"".join(json.dumps(step).encode() + b"\n" for step in steps)


def pulled(*steps: dict[str, Any]) -> Iterator[PullStep]:
    ollama, _ = make({"POST /api/pull": lines(*steps)})
    return ollama.pull("llama3.2")


DIGEST = "sha256:dde5aa3fc5ffc17176b5e8bdc82f587b24b2678c6c66101bf7da77af9f7ccdff"


def test_pull_yields_its_steps() -> None:
    steps = list(
        pulled(
            {"status": "pulling manifest"},
            {"status": "pulling dde5aa3fc5ff", "digest": DIGEST, "total": 2019377376, "completed": 1048576},
            {"status": "success"},
        )
    )
    assert steps[1] == PullStep("pulling dde5aa3fc5ff", DIGEST, 2019377376, 1048576)


def test_failed_pull_is_http_200_with_an_error_line() -> None:
    with pytest.raises(OllamaError, match="file does not exist") as caught:
        list(pulled({"status": "pulling manifest"}, {"error": "pull model manifest: file does not exist"}))
    assert caught.value.status == 200


def test_pull_that_just_stops_is_no_success() -> None:
    with pytest.raises(OllamaError, match="ended after 'verifying sha256 digest' without success"):
        list(pulled({"status": "verifying sha256 digest"}))
