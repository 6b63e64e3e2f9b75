"""A model server with Ollama's interface for the contract tests: the names of the recordings, answers at once, hashed word vectors.

It keeps what it was asked, and answers like the server of the recordings when a model or a path is unknown.
"""

from __future__ import annotations

import json
import math
import re
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

CHAT = ("smollm2:135m",)
EMBEDDING = ("hash-embed:latest", "nomic-embed-text:latest")
NUMBERS = 1531  # of a vector
ANSWER = "It is written in the books of the harbour."


def vector(text: str) -> list[float]:
    """Words hashed into a unit vector: texts that share words are near."""
    numbers = [0.0] * NUMBERS
    for word in re.findall(r"\w+", text.lower()):
        numbers[zlib.crc32(word.encode()) % NUMBERS] += 1.0
    length = math.sqrt(sum(number * number for number in numbers)) or 1.0
    return [number / length for number in numbers]


class ModelServer:
    """Serves on an address until it is closed; ``asked`` has path and body of every request."""

    def __init__(self, host: str = "127.0.0.1", port: int = 0) -> None:
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self._host = host
        self._server = self._start(port)

    def _start(self, port: int) -> ThreadingHTTPServer:
        server = ThreadingHTTPServer((self._host, port), _handler(self))
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return server

    @property
    def url(self) -> str:
        """Its base URL, without a slash at the end."""
        host, port = self._server.server_address[:2]
        return f"http://{host!s}:{port}"

    def close(self) -> None:
        """Stop answering; connections are refused then."""
        self._server.shutdown()
        self._server.server_close()

    @contextmanager
    def down(self) -> Iterator[None]:
        """Refuse connections for a while."""
        port = int(self._server.server_address[1])
        self.close()
        try:
            yield
        finally:
            self._server = self._start(port)


def _handler(owner: ModelServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def _answer(self, status: int, *bodies: Any) -> None:
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            for body in bodies:
                self.wfile.write(json.dumps(body).encode() + b"\n")

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)))
            owner.asked.append((self.path, body))
            known = {"/api/chat": CHAT, "/api/embed": EMBEDDING}.get(self.path)
            if known is None:
                self._answer(404, {"error": "not found"})
            elif body["model"] not in known:
                self._answer(404, {"error": f'model "{body["model"]}" not found, try pulling it first'})
            elif self.path == "/api/embed":
                self._answer(200, {"embeddings": [vector(text) for text in body["input"]]})
            elif body["stream"]:
                pieces = [
                    {"message": {"content": piece}, "done": False} for piece in re.findall(r"\s?\S+", ANSWER)
                ]
                self._answer(200, *pieces, {"message": {"content": ""}, "done": True, **_COUNTS})
            else:
                self._answer(200, {"message": {"content": ANSWER}, "done": True, **_COUNTS})

        def log_message(self, format: str, *args: object) -> None:
            """Says nothing."""

    return Handler


_COUNTS = {"prompt_eval_count": 100, "eval_count": 9}
