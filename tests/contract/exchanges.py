"""Recorded exchanges of the real Dify 0.11.2, and how an answer is compared with one.

In a recording, ``<NAME>`` stands for a secret. In a request it is replaced by what the test knows or an earlier answer gave; in
an answer it matches any text and remembers it under that name. Values that differ from one installation to the next (ids,
times) are compared by shape.
"""

from __future__ import annotations

import http.client
import json
import re
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

RECORDINGS = Path(__file__).parent / "dify-0.11.2"
HEADERS = ("Content-Type", "X-Version", "X-Env", "Set-Cookie", "Content-Length")
TIMEOUT = 20  # s

_PLACEHOLDER = re.compile(r"<([A-Z_0-9]+)>")
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_SHAPES = {
    "id": lambda value: isinstance(value, str) and _UUID.fullmatch(value) is not None,
    "pid": lambda value: isinstance(value, int),
    "created_at": lambda value: isinstance(value, int),
    "last_login_at": lambda value: isinstance(value, int),
    "last_login_ip": lambda value: isinstance(value, str) and value.count(".") == 3,
    "setup_at": lambda value: bool(datetime.fromisoformat(value)) and "." not in value,
}


@dataclass
class Answer:
    """What a server said."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


def recording(number: int) -> dict[str, Any]:
    """The recorded exchange of that number."""
    (path,) = RECORDINGS.glob(f"{number:03d}-*.json")
    return {"name": path.stem, **json.loads(path.read_text())}


def send(address: str, method: str, path: str, headers: dict[str, str], body: bytes | None) -> Answer:
    """One request to ``host:port``."""
    connection = http.client.HTTPConnection(address, timeout=TIMEOUT)
    try:
        connection.request(method, path, body, headers)
        response = connection.getresponse()
        return Answer(response.status, dict(response.headers.items()), response.read())
    finally:
        connection.close()


def _filled(value: Any, known: dict[str, str]) -> Any:
    if isinstance(value, dict):
        return {name: _filled(item, known) for name, item in value.items()}
    return _PLACEHOLDER.sub(lambda match: known[match[1]], value) if isinstance(value, str) else value


def replay(address: str, exchange: dict[str, Any], known: dict[str, str]) -> Answer:
    """Send a recorded request again.

    :param known: what the placeholders stand for; a ``session`` cookie in it is sent along.
    """
    headers = _filled(exchange.get("request_headers", {}), known)
    body = None
    if "request_json" in exchange:
        headers.setdefault("Content-Type", "application/json")
        body = json.dumps(_filled(exchange["request_json"], known)).encode()
    elif "request_raw_body" in exchange:
        body = exchange["request_raw_body"].encode()
    if "with cookie" in exchange["name"].replace("-", " "):
        headers["Cookie"] = f"session={known['SESSION_COOKIE']}"
    path = exchange["path"]
    if exchange.get("query"):
        path += "?" + "&".join(f"{name}={value}" for name, value in _filled(exchange["query"], known).items())
    return send(address, exchange["method"], path, headers, body)


def _same(expected: Any, actual: Any, where: str, known: dict[str, str]) -> list[str]:
    """Differences between a recorded value and an answered one, as lines of text."""
    field = where.rpartition(".")[2]
    if field in _SHAPES and expected is not None:
        return [] if _SHAPES[field](actual) else [f"{where}: {actual!r} is not shaped like {expected!r}"]
    if isinstance(expected, str) and (match := _PLACEHOLDER.fullmatch(expected)):
        known[match[1]] = str(actual)
        return [] if isinstance(actual, str) and actual else [f"{where}: {actual!r} instead of a secret"]
    if isinstance(expected, dict) and isinstance(actual, dict):
        problems = (
            [f"{where}: keys {sorted(expected)} != {sorted(actual)}"]
            if expected.keys() != actual.keys()
            else []
        )
        for name in expected.keys() & actual.keys():
            problems += _same(expected[name], actual[name], f"{where}.{name}", known)
        return problems
    if isinstance(expected, list) and isinstance(actual, list) and len(expected) == len(actual):
        pairs = zip(expected, actual, strict=True)
        return [
            line
            for i, (left, right) in enumerate(pairs)
            for line in _same(left, right, f"{where}.{i}", known)
        ]
    return (
        []
        if expected == actual and type(expected) is type(actual)
        else [f"{where}: {actual!r} != {expected!r}"]
    )


def _depends_on_installation(exchange: dict[str, Any]) -> bool:
    """Has the recorded body values whose length may differ (a secret, a pid, an address)?"""
    text = json.dumps(exchange.get("response_json", ""))
    return _PLACEHOLDER.search(text) is not None or '"pid"' in text or '"last_login_ip"' in text


def differences(exchange: dict[str, Any], answer: Answer, known: dict[str, str]) -> list[str]:
    """How an answer differs from the recorded one; learns the secrets that it carries."""
    problems = []
    if answer.status != exchange["status"]:
        problems.append(f"status {answer.status} != {exchange['status']}")
    for header in HEADERS:
        expected = exchange.get("response_headers", {}).get(header)
        actual = answer.headers.get(header)
        if expected is None or (header == "Content-Length" and _depends_on_installation(exchange)):
            continue
        if header == "Set-Cookie":
            pattern = re.sub(
                r"<[A-Z_]+>",
                "(?P<session>[^;]+)",
                re.escape(expected).replace(r"\<", "<").replace(r"\>", ">"),
            )
            match = re.fullmatch(pattern, actual or "")
            if match:
                known["SESSION_COOKIE"] = match["session"]
            else:
                problems.append(f"Set-Cookie: {actual!r} is not shaped like {expected!r}")
        elif expected != actual:
            problems.append(f"{header}: {actual!r} != {expected!r}")
    if "response_text" in exchange and answer.body.decode() != exchange["response_text"]:
        problems.append(f"body {answer.body!r} != {exchange['response_text']!r}")
    if "response_json" in exchange:
        body = answer.json()
        if exchange["path"] == "/health" and isinstance(body, dict):
            assert body.pop("stand-in", None) is True, "/health must say that it is a stand-in"
        problems += _same(exchange["response_json"], body, "body", known)
    return [f"{exchange['name']}: {problem}" for problem in problems]
