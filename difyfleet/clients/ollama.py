"""Ollama's HTTP API (0.4.7 and later), typed. Knows nothing of pyinfra: give it a requests session and a base URL."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import requests

SHORT, LOAD, PULL = (
    30.0,
    600.0,
    300.0,
)  # seconds without a byte: plain questions, answers that may load a model, pull progress

QUESTION = "Reply with one short sentence: what is the capital of France?"


class OllamaError(Exception):
    """Ollama refused or failed. `status` is the HTTP status, 0 where there was no answer, 200 for an error inside a stream."""

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.status = status


class ModelNotFound(OllamaError):
    """No model of that name (HTTP 404)."""


class Unreachable(OllamaError):
    """Nothing answers at the address."""


@dataclass(frozen=True)
class ModelInfo:
    """One line of GET /api/tags."""

    name: str
    digest: str  # 64 hex digits, SHA-256 of the manifest
    size: int  # bytes
    family: str
    parameter_size: str
    quantization: str
    modified_at: str

    @property
    def id(self) -> str:
        """The 12 digits that `ollama list` shows."""
        return self.digest[:12]


@dataclass(frozen=True)
class RunningModel:
    """One line of GET /api/ps."""

    name: str
    digest: str
    size: int  # bytes in memory
    size_vram: int  # bytes of it on a GPU; 0 = all on the CPU
    expires_at: str


@dataclass(frozen=True)
class Answer:
    """What a model said, with Ollama's own timings."""

    text: str
    done_reason: str
    tokens: int  # generated
    total_seconds: float
    load_seconds: float

    @property
    def tokens_per_second(self) -> float:
        spent = self.total_seconds - self.load_seconds
        return self.tokens / spent if spent > 0 else 0.0


@dataclass(frozen=True)
class PullStep:
    """One line of a pull's stream. digest, total and completed (bytes) only while a blob is transferred."""

    status: str
    digest: str | None = None
    total: int = 0
    completed: int = 0


class OllamaClient:
    """One Ollama server.

    Args:
        session: how requests travel; difyfleet.remote.http.session(host) sends them through SSH.
        base_url: `http://127.0.0.1:11434`, without a path.

    Every method raises:
        ModelNotFound: the model named is not there.
        Unreachable: no connection, or silence longer than the time-out.
        OllamaError: any other refusal, with the server's own words.
    """

    def __init__(self, session: requests.Session, base_url: str = "http://127.0.0.1:11434") -> None:
        self._session = session
        self._base = base_url.rstrip("/")

    def version(self) -> str:
        return str(self._ask("GET", "/api/version")["version"])

    def tags(self) -> list[ModelInfo]:
        """All models on disk, as the server sees them."""
        return [parse_model(entry) for entry in self._ask("GET", "/api/tags").get("models") or ()]

    def ps(self) -> list[RunningModel]:
        """Models in memory."""
        return [
            RunningModel(
                str(entry["name"]),
                str(entry["digest"]),
                int(entry.get("size", 0)),
                int(entry.get("size_vram", 0)),
                str(entry.get("expires_at", "")),
            )
            for entry in self._ask("GET", "/api/ps").get("models") or ()
        ]

    def show(self, model: str) -> dict[str, Any]:
        """Details: modelfile, parameters, template, license, details, model_info, and capabilities since 0.6.4."""
        return self._ask("POST", "/api/show", {"model": model})

    def embedding_only(self, model: str) -> bool:
        """Whether the model can embed but not write. 0.4.7 tells no capabilities; its embedding models are of a BERT family."""
        about = self.show(model)
        capabilities = about.get("capabilities")
        if capabilities:
            return "completion" not in capabilities
        families = (about.get("details") or {}).get("families") or [
            (about.get("details") or {}).get("family") or ""
        ]
        return any("bert" in str(family) for family in families)

    def generate(
        self,
        model: str,
        prompt: str,
        *,
        num_predict: int = 16,
        keep_alive: str | int | None = None,
        timeout: float = LOAD,
    ) -> Answer:
        """One answer, not streamed; loads the model if needed. Same prompt, same answer (temperature 0, fixed seed).

        Args:
            num_predict: tokens at most.
            keep_alive: how long the model stays loaded afterwards; None = the server's default.
            timeout: seconds, model load included.
        """
        body: dict[str, Any] = {
            "model": model,
            "prompt": prompt,
            "stream": False,
            "options": {"num_predict": num_predict, "temperature": 0, "seed": 1},
        }
        if keep_alive is not None:
            body["keep_alive"] = keep_alive
        reply = self._ask("POST", "/api/generate", body, timeout=timeout)
        return _answer(reply, str(reply.get("response", "")))

    def chat(
        self, model: str, messages: list[dict[str, str]], *, num_predict: int = 64, timeout: float = LOAD
    ) -> Answer:
        """One chat turn, not streamed. messages: dicts of role and content."""
        body = {
            "model": model,
            "messages": messages,
            "stream": False,
            "options": {"num_predict": num_predict, "temperature": 0, "seed": 1},
        }
        reply = self._ask("POST", "/api/chat", body, timeout=timeout)
        return _answer(reply, str((reply.get("message") or {}).get("content", "")))

    def embed(self, model: str, texts: list[str], *, timeout: float = LOAD) -> list[list[float]]:
        """One vector per text."""
        return list(
            self._ask("POST", "/api/embed", {"model": model, "input": texts}, timeout=timeout)["embeddings"]
        )

    def stop(self, model: str) -> None:
        """Unload a model from memory, which is what `ollama stop` does."""
        self._ask("POST", "/api/generate", {"model": model, "keep_alive": 0, "stream": False})

    def delete(self, model: str) -> None:
        self._ask("DELETE", "/api/delete", {"model": model})

    def copy(self, source: str, destination: str) -> None:
        self._ask("POST", "/api/copy", {"source": source, "destination": destination})

    def pull(self, model: str) -> Iterator[PullStep]:
        """Pull a model, yielding its progress. The pull ends when the caller goes away, so long pulls belong to the host instead.

        A failed pull answers HTTP 200 and says so in its last line, therefore only a last status of `success` counts.
        """
        response = self._send(
            "POST", "/api/pull", {"model": model, "stream": True}, timeout=PULL, stream=True
        )
        last = ""
        try:
            for line in response.iter_lines():
                if not line:
                    continue
                step = json.loads(line)
                if "error" in step:
                    raise OllamaError(f"pull {model}: {step['error']}", 200)
                last = str(step.get("status", ""))
                yield PullStep(
                    last, step.get("digest"), int(step.get("total", 0)), int(step.get("completed", 0))
                )
        except requests.RequestException as error:
            raise Unreachable(f"pull {model}: the stream broke after {last!r}: {error}") from error
        finally:
            response.close()
        if last != "success":
            raise OllamaError(f"pull {model}: the stream ended after {last!r} without success", 200)

    def ask(self, model: str) -> str:
        """Have a model do its work once: what it answered and in how many seconds, for people. Embedding models embed a text.

        Raises:
            OllamaError: no answer, or an empty one.
        """
        begun = time.monotonic()
        if self.embedding_only(model):
            vectors = self.embed(model, [QUESTION])
            if not vectors or not vectors[0]:
                raise OllamaError("it returned no vector")
            return f"a vector of {len(vectors[0])} numbers in {time.monotonic() - begun:.1f} s"
        answer = self.generate(model, QUESTION, num_predict=10)
        text = " ".join(answer.text.split())
        if not text:
            raise OllamaError(f"the answer is empty ({answer.tokens} tokens, {answer.done_reason})")
        seconds = time.monotonic() - begun
        return f"“{text[:80]}” in {seconds:.1f} s (load {answer.load_seconds:.1f} s, {answer.tokens} tokens)"

    def wait(self, seconds: float = 60.0) -> str:
        """The version, as soon as the server answers."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                return self.version()
            except OllamaError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.5)

    def _ask(
        self, method: str, path: str, body: dict[str, Any] | None = None, *, timeout: float = SHORT
    ) -> dict[str, Any]:
        response = self._send(method, path, body, timeout=timeout)
        if not response.content.strip():
            return {}
        try:
            reply = response.json()
        except ValueError as error:
            raise OllamaError(
                f"{path} answered something that is not JSON: {response.text[:120]!r}", response.status_code
            ) from error
        return reply if isinstance(reply, dict) else {}

    def _send(
        self, method: str, path: str, body: dict[str, Any] | None, *, timeout: float, stream: bool = False
    ) -> requests.Response:
        try:
            response = self._session.request(
                method, f"{self._base}{path}", json=body, timeout=timeout, stream=stream
            )
        except requests.Timeout as error:
            raise Unreachable(f"Ollama did not answer {path} within {timeout:g} s") from error
        except (requests.RequestException, OSError) as error:
            raise Unreachable(f"nothing answers at {self._base}: {error}") from error
        if response.status_code >= 400:
            message = _error_text(response)
            kind = ModelNotFound if response.status_code == 404 else OllamaError
            raise kind(message, response.status_code)
        return response


def parse_model(entry: dict[str, Any]) -> ModelInfo:
    """One element of /api/tags' `models`."""
    details = entry.get("details") or {}
    return ModelInfo(
        name=str(entry["name"]),
        digest=str(entry["digest"]),
        size=int(entry["size"]),
        family=str(details.get("family", "")),
        parameter_size=str(details.get("parameter_size", "")),
        quantization=str(details.get("quantization_level", "")),
        modified_at=str(entry.get("modified_at", "")),
    )


def _answer(reply: dict[str, Any], text: str) -> Answer:
    return Answer(
        text=text,
        done_reason=str(reply.get("done_reason", "")),
        tokens=int(reply.get("eval_count", 0)),
        total_seconds=int(reply.get("total_duration", 0)) / 1e9,
        load_seconds=int(reply.get("load_duration", 0)) / 1e9,
    )


def _error_text(response: requests.Response) -> str:
    try:
        error = response.json()["error"]
    except (ValueError, KeyError, TypeError):
        return f"HTTP {response.status_code}: {response.text[:200]}"
    return str(error.get("message", error)) if isinstance(error, dict) else str(error)
