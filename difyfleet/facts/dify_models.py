"""Ollama as Dify's own containers reach it: asked from inside api (chats, searches) and worker (indexing)."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable
from dataclasses import dataclass, field

from pyinfra.api import FactBase

CONTAINERS = ("api", "worker")

# Runs inside Dify's containers with nothing but Python's own library; its arguments come on standard input.
_SCRIPT = """
import json, sys, time, urllib.error, urllib.request
asked = json.load(sys.stdin)
def call(path, body=None, timeout=10):
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(asked["base_url"] + path, data, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=timeout) as answer:
            return json.load(answer), None
    except urllib.error.HTTPError as error:
        return None, f"HTTP {error.code}: {error.read(300).decode(errors='replace')}"
    except Exception as error:
        return None, f"{type(error).__name__}: {getattr(error, 'reason', error)}"
tags, error = call("/api/tags")
found = {"tags": [model["name"] for model in (tags or {}).get("models") or []], "error": error, "answers": {}}
for model in asked["models"] if tags else []:
    started = time.time()
    if model["type"] == "text-embedding":
        got, error = call("/api/embed", {"model": model["name"], "input": "ping"}, asked["timeout"])
        size = len(((got or {}).get("embeddings") or [[]])[0])
    else:
        options = {"num_predict": 1}
        if model["context"]:
            options["num_ctx"] = model["context"]
        body = {"model": model["name"], "messages": [{"role": "user", "content": "ping"}], "stream": False, "options": options}
        got, error = call("/api/chat", body, asked["timeout"])
        size = 0
    found["answers"][model["name"]] = {"seconds": round(time.time() - started, 2), "dimension": size, "error": error}
print(json.dumps(found))
"""


@dataclass(frozen=True)
class ModelAnswer:
    """What became of one question to a model. `dimension` is the length of an embedding model's vectors, 0 for others."""

    seconds: float
    dimension: int
    error: str | None


@dataclass(frozen=True)
class Reach:
    """What one container sees of Ollama."""

    tags: tuple[str, ...] = ()
    error: str | None = None
    answers: dict[str, ModelAnswer] = field(default_factory=dict)


@dataclass(frozen=True)
class Asked:
    """One model to have answer. `context` is the num_ctx that its assistants use (Ollama loads a model anew for another one)."""

    name: str
    type: str
    context: int = 0


class OllamaFromDify(FactBase[dict[str, Reach]]):
    """By container (api, worker): the models that Ollama lists, and how those asked for answer.

    Args:
        project: compose project name.
        base_url: Ollama as the containers are to reach it.
        models: models that should answer once each (which loads them); empty = only list.
        timeout: seconds for one model's answer, loading included.
    """

    def command(self, project: str, base_url: str, models: tuple[Asked, ...] = (), timeout: int = 300) -> str:
        asked = {
            "base_url": base_url.rstrip("/"),
            "timeout": timeout,
            "models": [{"name": m.name, "type": m.type, "context": m.context} for m in models],
        }
        text, limit = shlex.quote(json.dumps(asked)), 30 + timeout * len(models)
        parts = ["command -v docker >/dev/null || exit 0"]
        for container in CONTAINERS:
            run = f"timeout {limit} docker exec -i {shlex.quote(f'{project}-{container}-1')} python3 -c {shlex.quote(_SCRIPT)}"
            parts.append(f"echo @{container}; printf %s {text} | {run} 2>&1 || true")
        return "; ".join(parts)

    @staticmethod
    def default() -> dict[str, Reach]:
        return {}

    def process(self, output: Iterable[str]) -> dict[str, Reach]:
        said: dict[str, list[str]] = {}
        container = ""
        for line in output:
            if line.startswith("@") and line[1:] in CONTAINERS:
                container = line[1:]
                said[container] = []
            elif container and line.strip():
                said[container].append(line.strip())
        return {name: _parsed(lines) for name, lines in said.items()}


def _parsed(lines: list[str]) -> Reach:
    try:
        found = json.loads(lines[-1])
        answers = {
            name: ModelAnswer(float(each["seconds"]), int(each["dimension"]), each["error"])
            for name, each in found["answers"].items()
        }
        return Reach(tuple(found["tags"]), found["error"], answers)
    except (IndexError, ValueError, KeyError, TypeError):
        return Reach(error=lines[-1][:200] if lines else "the container said nothing")


def limit_of(models: tuple[Asked, ...], timeout: int = 300) -> int:
    """Seconds that the whole fact may take (for get_fact's _timeout)."""
    return len(CONTAINERS) * (30 + timeout * len(models)) + 30
