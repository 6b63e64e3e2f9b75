"""The wire to Ollama: what the real server's built-in provider sends, and its words when that fails."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

CONNECT_TIMEOUT = 10.0  # s
READ_TIMEOUT = 300.0  # s; a cold model on a processor takes its time
_TOP_LEVEL = ("keep_alive", "format")  # parameters that are not among Ollama's options


class OllamaError(Exception):
    """The model server cannot be reached, or refuses.

    :param unavailable: no connection or an HTTP error of the embedding call; otherwise the chat call was answered by an error.
    """

    def __init__(self, text: str, unavailable: bool) -> None:
        super().__init__(text)
        self.unavailable = unavailable

    @property
    def invocation(self) -> str:
        """The text as the real server puts it when a model is used."""
        return f"[ollama] {'Server Unavailable Error, ' if self.unavailable else 'Error: '}{self}"


@dataclass
class Reply:
    """A whole answer of the model. Tokens as Ollama counts them."""

    text: str = ""
    prompt_tokens: int = 0
    answer_tokens: int = 0


@dataclass(frozen=True)
class Model:
    """A model with the credentials that were saved for it."""

    name: str
    base_url: str
    mode: str = "chat"
    parameters: dict[str, Any] = field(default_factory=dict)

    def _body(self, messages: list[dict[str, str]], stream: bool) -> tuple[str, dict[str, Any]]:
        options = {
            key: value for key, value in self.parameters.items() if key not in _TOP_LEVEL and value != []
        }
        body = {"model": self.name, "stream": stream, "options": options}
        body.update({key: self.parameters[key] for key in _TOP_LEVEL if key in self.parameters})
        if self.mode == "chat":
            return "/api/chat", {**body, "messages": messages}
        return "/api/generate", {**body, "prompt": "\n\n".join(message["content"] for message in messages)}

    def chat(self, messages: list[dict[str, str]]) -> Reply:
        """One whole answer.

        :raises OllamaError: if there is none.
        """
        path, body = self._body(messages, False)
        with _post(self.base_url, path, body) as response:
            answer = json.loads(response.read())
        return Reply(_piece(answer), answer.get("prompt_eval_count", 0), answer.get("eval_count", 0))

    def stream(self, messages: list[dict[str, str]], reply: Reply) -> Iterator[str]:
        """The answer piece by piece; the reply is filled while it comes.

        :raises OllamaError: if there is none, or the model server ends it early.
        """
        path, body = self._body(messages, True)
        with _post(self.base_url, path, body) as response:
            for line in response:
                answer = json.loads(line)
                if "error" in answer:
                    raise OllamaError(str(answer["error"]), unavailable=False)
                reply.prompt_tokens = answer.get("prompt_eval_count", reply.prompt_tokens)
                reply.answer_tokens = answer.get("eval_count", reply.answer_tokens)
                reply.text += _piece(answer)
                yield _piece(answer)

    def embed(self, text: str) -> list[float]:
        """The vector of one text; the real server sends one text per request too.

        :raises OllamaError: if there is none.
        """
        body = {"input": [text], "model": self.name, "options": {"use_mmap": True}}
        with _post(self.base_url, "/api/embed", body) as response:
            vector: list[float] = json.loads(response.read())["embeddings"][0]
            return vector

    def validate(self, embedding: bool) -> None:
        """What saving credentials really calls: one word embedded, or a chat of at most five tokens.

        :raises OllamaError: if the model does not answer.
        """
        if embedding:
            self.embed("ping")
        else:
            probe = Model(self.name, self.base_url, self.mode, {"num_predict": 5})
            probe.chat([{"role": "user", "content": "ping"}])


def _piece(answer: dict[str, Any]) -> str:
    if "message" in answer:
        return str(answer["message"].get("content", ""))
    return str(answer.get("response", ""))


class _Answer:
    """A response that closes its connection at the end."""

    def __init__(self, connection: http.client.HTTPConnection, response: http.client.HTTPResponse) -> None:
        self._connection, self._response = connection, response

    def __enter__(self) -> http.client.HTTPResponse:
        return self._response

    def __exit__(self, *_: object) -> None:
        self._connection.close()


def _post(base_url: str, path: str, body: dict[str, Any]) -> _Answer:
    """:raises OllamaError: no connection, or an HTTP status other than 200."""
    parts = urlsplit(base_url if "//" in base_url else f"http://{base_url}")
    secure = parts.scheme == "https"
    port = parts.port or (443 if secure else 80)
    kind = http.client.HTTPSConnection if secure else http.client.HTTPConnection
    url = parts.path.rstrip("/") + path
    connection = kind(parts.hostname or "", port, timeout=CONNECT_TIMEOUT)
    try:
        connection.connect()
        connection.sock.settimeout(READ_TIMEOUT)
        connection.request("POST", url, json.dumps(body), {"Content-Type": "application/json"})
        response = connection.getresponse()
    except (OSError, http.client.HTTPException) as error:
        connection.close()
        pool = f"{'HTTPS' if secure else 'HTTP'}ConnectionPool(host='{parts.hostname}', port={port})"
        raise OllamaError(f"{pool}: {_cause(error, url)}", unavailable=True) from None
    if response.status != 200:
        text = response.read().decode(errors="replace").strip()
        reason = response.reason
        connection.close()
        if path == "/api/embed":
            shown = base_url.rstrip("/") + path
            raise OllamaError(f"{response.status} Client Error: {reason} for url: {shown}", unavailable=True)
        raise OllamaError(f"API request failed with status code {response.status}: {text}", unavailable=False)
    return _Answer(connection, response)


def _cause(error: Exception, url: str) -> str:
    """As urllib3 words it."""
    if isinstance(error, TimeoutError):
        return f"Read timed out. (read timeout={READ_TIMEOUT:g})"
    kind = "NameResolutionError" if isinstance(error, socket.gaierror) else "NewConnectionError"
    text = f"Failed to establish a new connection: {error}"
    return (
        f"Max retries exceeded with url: {url} (Caused by {kind}"
        f"('<urllib3.connection.HTTPConnection object at {id(error):#x}>: {text}'))"
    )
