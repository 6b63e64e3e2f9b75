"""Recorded exchanges played back to the client: a request that differs from the recorded one fails the test.

Compared are method, path, query, JSON body (whole), multipart file name, type, size and form fields, and the bearer token. The answer is the
recorded one. Two sets: dify-0.11.2 (pgvector) and dify-0.11.2-weaviate (numbers from 700 on), both from real servers.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable, Iterator, Mapping
from email.parser import BytesParser
from email.policy import HTTP
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import requests
from requests.adapters import BaseAdapter
from urllib3.response import HTTPResponse

from difyfleet.clients.dify import Dify
from difyfleet.secrets import Secret

HERE = Path(__file__).parent
PING = "/console/api/ping"
BASE = "http://dify.example"
TABLE: dict[str, list[str]] = {}  # method of the client -> the exchanges it was tested with


def exchange(number: int) -> dict[str, Any]:
    """The recording of that number."""
    folder = "dify-0.11.2" if number < 700 else "dify-0.11.2-weaviate"
    (path,) = (HERE / folder).glob(f"{number:03d}-*.json")
    recorded: dict[str, Any] = {"name": path.stem, **json.loads(path.read_text())}
    return recorded


def replays(method: str, *numbers: int) -> Callable[[Any], Any]:
    """Mark a test as the one of a client method against these exchanges; it gets them, in order, as its fixture `server`."""
    TABLE.setdefault(method, []).extend(exchange(number)["name"] for number in numbers)

    def mark(test: Any) -> Any:
        test.exchanges = (*numbers, *getattr(test, "exchanges", ()))
        return test

    return mark


class Replay(BaseAdapter):
    """Answers with the given recordings, one after the other; a polled one (`changes`) with each of its states in turn."""

    def __init__(self, *numbers: int) -> None:
        super().__init__()
        self.todo = [step for number in numbers for step in _steps(exchange(number))]
        self.pings = 0
        self.sent: list[requests.PreparedRequest] = []

    def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:
        path = urlsplit(request.url or "").path
        if path == PING and (not self.todo or self.todo[0]["path"] != PING):
            self.pings += 1
            return _response(request, exchange(6))
        self.sent.append(request)
        assert self.todo, f"one request more than recorded: {request.method} {path}"
        recorded = self.todo.pop(0)
        expected, given = wanted(recorded), described(request)
        assert given == expected, f"{recorded['name']}: sent {given}, recorded {expected}"
        return _response(request, recorded)

    def close(self) -> None:
        """Nothing is open."""


def client(server: Replay, **options: Any) -> Dify:
    """A client whose requests go to the recordings, logged in as the next of them was."""
    session = requests.Session()
    session.trust_env = False
    session.mount(BASE, server)
    dify = Dify(session, BASE, **options)
    token = _bearer(server.todo[0]) if server.todo else None
    if token:
        dify.apps._transport.token = Secret(token)
    return dify


def _bearer(recorded: Mapping[str, Any]) -> str | None:
    return _token(recorded.get("request_headers", {}).get("Authorization", ""))


def _token(header: str) -> str | None:
    """The bearer token; those of different logins, and of different apps, count as one."""
    return re.sub(r"(TOKEN|KEY)_\w+>", r"\1>", header.removeprefix("Bearer ")) or None


def _steps(recorded: dict[str, Any]) -> Iterator[dict[str, Any]]:
    if "changes" not in recorded:
        yield recorded
    for change in recorded.get("changes", ()):
        yield {**recorded, "status": change["status"], "response_json": change["response_json"]}


def wanted(recorded: Mapping[str, Any]) -> dict[str, Any]:
    """What the recorded request was."""
    # 127 was sent with the source in the query too
    query = {} if "request_multipart" in recorded else recorded.get("query") or {}
    return {
        "method": recorded["method"],
        "path": recorded["path"],
        "query": {key: str(value) for key, value in query.items()},
        "token": _bearer(recorded),
        "body": recorded.get("request_json"),
        "multipart": recorded.get("request_multipart"),
    }


def described(request: requests.PreparedRequest) -> dict[str, Any]:
    """The same of a request that is sent."""
    url = urlsplit(request.url or "")
    content_type = str(request.headers.get("Content-Type", ""))
    body = request.body.encode() if isinstance(request.body, str) else request.body
    return {
        "method": request.method,
        "path": requests.utils.unquote(url.path),
        "query": dict(parse_qsl(url.query)),
        "token": _token(str(request.headers.get("Authorization", ""))),
        "body": json.loads(body) if isinstance(body, bytes) and content_type == "application/json" else None,
        "multipart": _multipart(body, content_type) if content_type.startswith("multipart/") else None,
    }


def _multipart(body: Any, content_type: str) -> dict[str, Any]:
    # requests writes names in raw UTF-8, as browsers do; the email parser wants them decoded first
    head = f"Content-Type: {content_type}\r\n\r\n".encode()
    files: dict[str, Any] = {}
    form: dict[str, Any] = {}
    for part in BytesParser(policy=HTTP).parsebytes(head + body).iter_parts():
        disposition = part["Content-Disposition"].encode("utf-8", "surrogateescape").decode()
        name = re.search(r'\bname="([^"]*)"', disposition)
        file_name = re.search(r'filename="([^"]*)"', disposition)
        payload = part.get_payload(decode=True)
        assert name is not None
        assert isinstance(payload, bytes)
        if file_name:
            files[name[1]] = {
                "filename": file_name[1],
                "content_type": part.get_content_type(),
                "size": len(payload),
            }
        else:
            form[name[1]] = payload.decode()
    return {"file_fields": files, "form": form}


def _response(request: requests.PreparedRequest, recorded: Mapping[str, Any]) -> requests.Response:
    first = recorded.get("response_sse_first_lines")
    if first:
        # kept are the first eight lines and the last four, which overlap in a short stream
        rest = max(0, recorded["raw_lines_total"] - len(first))
        last = recorded.get("response_sse_last_lines", [])
        body = "".join(f"{line}\n\n" for line in [*first, *last[len(last) - min(rest, len(last)) :]]).encode()
    elif "response_json" in recorded:
        body = json.dumps(recorded["response_json"]).encode()
    else:
        body = recorded.get("response_text", "").encode()
    response = requests.Response()
    response.status_code = recorded["status"]
    response.headers.update(recorded.get("response_headers", {}))
    response.headers.pop("Content-Length", None)
    response.raw = HTTPResponse(io.BytesIO(body), preload_content=False)
    response.request = request
    response.url = request.url or ""
    cookie = recorded.get("response_headers", {}).get("Set-Cookie")
    if cookie:
        name, _, value = cookie.split(";")[0].partition("=")
        response.cookies.set(name, value, domain="dify.example", path="/")
    return response
