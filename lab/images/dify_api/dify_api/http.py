"""Requests, answers and the route table, on the standard library's threading HTTP server.

A route is a function registered with :func:`route`; it gets a :class:`Request` and returns a :class:`Response` or a value
for a JSON body. Errors are exceptions that know their body: the real server has several shapes of them.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from email.message import Message
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from . import VERSION

log = logging.getLogger("dify_api.http")

_NOT_FOUND = (
    "<!doctype html>\n<html lang=en>\n<title>404 Not Found</title>\n<h1>Not Found</h1>\n<p>The requested URL was not found "
    "on the server. If you entered the URL manually please check your spelling and try again.</p>\n"
)


@dataclass
class Request:
    """One request; ``app`` is what the server was started with."""

    app: Any
    method: str
    path: str
    query: Mapping[str, str]
    headers: Message
    body: bytes
    client: str
    parameters: Mapping[str, str] = field(default_factory=dict)
    account: Any = None  # row of the console's account, or the workspace's owner behind a service key
    tenant: str = ""  # id of the workspace

    def __getitem__(self, name: str) -> str:
        """A part of the path."""
        return self.parameters[name]

    def json(self) -> Any:
        """The JSON body.

        :raises ApiError: 415 if the content type is another, 400 if it cannot be parsed.
        """
        if not self.headers.get("Content-Type", "").lower().startswith("application/json"):
            raise ApiError(
                415, "unsupported_media_type",
                "Did not attempt to load JSON data because the request Content-Type was not 'application/json'.",
            )  # fmt: skip
        try:
            return json.loads(self.body)
        except ValueError:
            raise ApiError(
                400,
                "bad_request",
                "The browser (or proxy) sent a request that this server could not understand.",
            ) from None

    def cookie(self, name: str) -> str:
        """Value of a cookie, or an empty string."""
        for part in self.headers.get("Cookie", "").split(";"):
            key, _, value = part.strip().partition("=")
            if key == name:
                return value
        return ""


@dataclass
class Response:
    """An answer: ``body`` is bytes, text (HTML) or a value for JSON."""

    body: Any
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    stream: Iterator[str] | None = (
        None  # server-sent events, one text after the other; the body is then ignored
    )

    def encoded(self) -> tuple[str, bytes]:
        """Content type and bytes. JSON ends with a newline, as flask-restful writes it."""
        if isinstance(self.body, bytes):
            return self.headers.pop("Content-Type", "application/json"), self.body
        if isinstance(self.body, str):
            return "text/html; charset=utf-8", self.body.encode()
        return "application/json", json.dumps(self.body).encode() + b"\n"


class ApiError(Exception):
    """The common error shape: code, message, status."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.response = Response({"code": code, "message": message, "status": status}, status)


class FieldError(ApiError):
    """A field of the body or the query is missing or wrong: ``params`` names it and there is no ``status``."""

    def __init__(self, name: str, message: str) -> None:
        super().__init__(400, "invalid_param", message)
        self.response = Response({"code": "invalid_param", "message": message, "params": name}, 400)


class MissingField(FieldError):
    """A required field is absent.

    :param where: "JSON body" or "query string".
    """

    def __init__(self, name: str, where: str = "JSON body") -> None:
        super().__init__(name, f"Missing required parameter in the {where}")


Handler = Callable[[Request], Any]
_routes: list[tuple[str, re.Pattern[str], Handler]] = []


def no_content() -> Response:
    """204, as deletions answer."""
    return Response(b"", 204)


_UUID = "[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"


def route(method: str, pattern: str) -> Callable[[Handler], Handler]:
    """Register a handler. ``<name>`` in the pattern matches one path segment, ``<uuid:name>`` one that is a UUID."""
    compiled = re.compile(
        re.sub(r"<(uuid:)?(\w+)>", lambda part: f"(?P<{part[2]}>{_UUID if part[1] else '[^/]+'})", pattern)
        + "$"
    )

    def register(handler: Handler) -> Handler:
        _routes.append((method, compiled, handler))
        return handler

    return register


def crashed(console: bool) -> Response:
    """What the real server answers after an exception; the console's shape differs from the service API's."""
    if console:
        return Response({"message": "Internal Server Error", "code": "unknown"}, 500)
    message = (
        "The server encountered an internal error and was unable to complete your request. Either the server is overloaded "
        "or there is an error in the application."
    )
    return Response({"code": "internal_server_error", "message": message, "status": 500}, 500)


def dispatch(request: Request) -> Response:
    """Find the route and run it; every exception becomes an answer."""
    matched = False
    for method, expression, handler in _routes:
        match = expression.match(request.path)
        if not match:
            continue
        matched = True
        if method != request.method and not (method == "GET" and request.method == "HEAD"):
            continue
        request.parameters = {name: unquote(value) for name, value in match.groupdict().items()}
        try:
            result = handler(request)
            return result if isinstance(result, Response) else Response(result)
        except ApiError as error:
            return error.response
        except ValueError as error:
            return Response({"code": "invalid_param", "message": str(error), "status": 400}, 400)
        except Exception:
            log.exception("Exception on %s [%s]", request.path, request.method)
            return crashed(request.path.startswith("/console/"))
    if matched:
        return ApiError(
            405, "method_not_allowed", "The method is not allowed for the requested URL."
        ).response
    return Response(_NOT_FOUND, 404)


def handler_class(app: Any, deploy_env: str) -> type[BaseHTTPRequestHandler]:
    """The request handler for one application object."""

    class RequestHandler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        server_version = "gunicorn"
        sys_version = ""
        timeout = 360

        def _serve(self) -> None:
            parts = urlsplit(self.path)
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            query = {
                name: values[0] for name, values in parse_qs(parts.query, keep_blank_values=True).items()
            }
            client = self.headers.get("X-Forwarded-For", self.client_address[0]).split(",")[0].strip()
            request = Request(app, self.command, parts.path, query, self.headers, body, client)
            response = dispatch(request)
            if response.stream is not None:
                self._send_events(response.stream)
                return
            content_type, content = response.encoded()
            self._start(response.status, {"Content-Type": content_type, **response.headers})
            if response.status != 204:
                self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)

        def _start(self, status: int, headers: Mapping[str, str]) -> None:
            self.send_response(status)
            for name, value in {**headers, "X-Version": VERSION, "X-Env": deploy_env}.items():
                self.send_header(name, value)

        def _send_events(self, events: Iterator[str]) -> None:
            """Chunked, each event at once; a client that goes away ends the generation."""
            self._start(
                200, {"Content-Type": "text/event-stream; charset=utf-8", "Transfer-Encoding": "chunked"}
            )
            self.end_headers()
            try:
                for event in events:
                    data = event.encode()
                    self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
                    self.wfile.flush()
                self.wfile.write(b"0\r\n\r\n")
            except OSError:
                self.close_connection = True

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = _serve

        def log_message(self, format: str, *args: object) -> None:
            log.info("%s %s", self.address_string(), format % args)

    return RequestHandler
