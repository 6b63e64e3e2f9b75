"""Recorded exchanges of real Dify 0.11.2 servers, sent again to another server.

In a recording, ``<NAME>`` stands for a secret. In a request it is replaced by what the test knows or an earlier answer gave. So are
the ids of the recorded installation: see tests/contract/comparison.py for how they are learned and compared.
"""

from __future__ import annotations

import http.client
import json
import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from tests.contract import uploads

HERE = Path(__file__).parent
TIMEOUT = 60  # s
_PLACEHOLDER = re.compile(r"<([A-Z_0-9]+)>")
# what differs from one installation to the next: ids, batches, codes of web apps
IDENTITY = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|\b20\d{18}\b")

_CLASS = re.compile(
    r"[0-9a-f]{8}(?:_[0-9a-f]{4}){3}_[0-9a-f]{12}"
)  # an id in the name of a vector store's class


@dataclass
class Answer:
    """What a server said."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


def recording(number: int) -> dict[str, Any]:
    """The recorded exchange of that number; from 700 on with weaviate, below with pgvector."""
    folder = "dify-0.11.2" if number < 700 else "dify-0.11.2-weaviate"
    (path,) = (HERE / folder).glob(f"{number:03d}-*.json")
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


def filled(value: Any, known: dict[str, str]) -> Any:
    """A recorded value with this installation's secrets and ids, and other texts that the test replaces (``known`` too)."""
    if isinstance(value, dict):
        return {name: filled(item, known) for name, item in value.items()}
    if isinstance(value, list):
        return [filled(item, known) for item in value]
    if not isinstance(value, str):
        return value
    for text in [name for name in known if name.startswith(("http://", "host="))]:
        value = value.replace(text, known[text])
    value = _PLACEHOLDER.sub(lambda match: known.get(match[1], match[0]), value)
    value = _CLASS.sub(lambda match: known.get(match[0].replace("_", "-"), match[0]).replace("-", "_"), value)
    return IDENTITY.sub(lambda match: known.get(match[0], match[0]), value)


def replay(address: str, exchange: dict[str, Any], known: dict[str, str]) -> Answer:
    """Send a recorded request again; one that was polled is sent until the answer has the last recorded states.

    :param known: what stands for the recorded secrets, ids and addresses; a ``session`` cookie in it is sent along.
    """
    headers = filled(exchange.get("request_headers", {"Authorization": "Bearer <ACCESS_TOKEN>"}), known)
    body = None
    if "request_json" in exchange:
        headers.setdefault("Content-Type", "application/json")
        body = json.dumps(filled(exchange["request_json"], known)).encode()
    elif "request_multipart" in exchange:
        headers["Content-Type"], body = uploads.multipart(exchange["request_multipart"])
    elif "request_raw_body" in exchange:
        body = exchange["request_raw_body"].encode()
    if "with cookie" in exchange["name"].replace("-", " "):
        headers["Cookie"] = f"session={known['SESSION_COOKIE']}"
    path = quote(filled(exchange["path"], known), safe="/")
    if exchange.get("query"):
        path += "?" + urlencode(filled(exchange["query"], known))
    method = exchange["method"]
    if "changes" not in exchange:
        return send(address, method, path, headers, body)
    wanted = states(last(exchange))
    deadline = time.monotonic() + TIMEOUT
    while True:
        answer = send(address, method, path, headers, body)
        if answer.status != 200 or states(answer.json()) == wanted or time.monotonic() > deadline:
            return answer
        time.sleep(0.05)


def last(exchange: dict[str, Any]) -> Any:
    """The last recorded answer of an exchange that was polled."""
    return exchange.get("last_response_json") or exchange["changes"][-1]["response_json"]


def states(body: Any) -> list[str]:
    """How many documents are in which state."""
    return sorted(entry["indexing_status"] for entry in body["data"])
