"""content.models: why Dify could not use a model, in words that say what to do."""

from __future__ import annotations

import pytest

from difyfleet.content import models
from difyfleet.facts.dify_models import ModelAnswer, Reach
from difyfleet.spec.content import Assistant, Knowledge, Parameters
from difyfleet.spec.models import Admin, HostSpec

SPEC = HostSpec(
    name="llm",
    address="10.9.9.9",
    admin=Admin(email="ops@example.com"),
    knowledge={"m": Knowledge(indexing="economy")},
    assistants={
        "a": Assistant(knowledge=["m"]),
        "b": Assistant(parameters=Parameters(context=8192)),
        "c": Assistant(model="llama3.2"),
    },
)
GOOD = Reach(("qwen2.5:7b", "llama3.2:latest"), None, {"qwen2.5:7b": ModelAnswer(0.1, 0, None)})


def test_nothing_is_wrong() -> None:
    assert models.trouble(SPEC, {"api": GOOD, "worker": GOOD}, ["qwen2.5:7b", "llama3.2"]) is None


@pytest.mark.parametrize(
    ("worker", "what", "hint"),
    [
        (None, "no such container", "difyfleet apply --role dify"),
        (
            Reach(error="URLError: [Errno 111] Connection refused"),
            "Connection refused",
            "127.0.0.1 there is the container itself",
        ),
        (Reach(error="URLError: timed out"), "timed out", "firewall"),
        (Reach(error="HTTP 404: page not found"), "HTTP 404", "without /api at its end"),
        (Reach(("llama3.2:latest",)), "no model qwen2.5:7b; it has: llama3.2:latest", "ollama.models"),
        (Reach(("qwen2.5:14b",)), "no model qwen2.5:7b", "with the tag that is there"),
        (
            Reach(
                ("qwen2.5:7b",),
                None,
                {"qwen2.5:7b": ModelAnswer(9, 0, "HTTP 500: model requires more system memory")},
            ),
            "does not answer: HTTP 500: model requires more system memory",
            "docker logs --tail 50 ollama",
        ),
    ],
)
def test_what_is_wrong_from_inside_the_worker(worker: Reach | None, what: str, hint: str) -> None:
    seen = {"api": GOOD} | ({"worker": worker} if worker else {})
    error = models.trouble(SPEC, seen, ["qwen2.5:7b"])
    assert error is not None
    assert error.where == "dify-worker-1"
    assert what in error.what
    assert hint in (error.hint or "")


def test_models_are_loaded_as_their_assistants_use_them() -> None:
    """Ollama loads a model anew for another num_ctx; a check must not do that to a 5 GB model."""
    assert models.contexts(SPEC) == {"qwen2.5:7b": 8192}


def test_names_with_and_without_a_tag() -> None:
    assert [models.tagged(name) for name in ("a", "a:b", "r:5000/a", "r:5000/a:b")] == [
        "a:latest",
        "a:b",
        "r:5000/a:latest",
        "r:5000/a:b",
    ]
