#!/usr/bin/python3
"""Stand-in for Weaviate 1.19.0: the settings of the environment are checked, keys are enforced, the data folder is used.

Readiness and liveness need no key; everything else does, as with ``AUTHENTICATION_APIKEY_ENABLED=true`` and anonymous access
off. The schema (class definitions) is kept in ``PERSISTENCE_DATA_PATH``.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

VERSION = "1.19.0"


def _flag(environ: Mapping[str, str], name: str, default: str = "false") -> bool:
    return environ.get(name, default).strip().lower() in {"true", "1", "on", "enabled"}


def _list(environ: Mapping[str, str], name: str) -> list[str]:
    return [item.strip() for item in environ.get(name, "").split(",") if item.strip()]


@dataclass(frozen=True)
class Settings:
    """Who may do what, and where the data lies."""

    data: Path
    anonymous: bool
    users: Mapping[str, str]  # key -> user
    admins: frozenset[str] | None  # None: no admin list

    @classmethod
    def load(cls, environ: Mapping[str, str]) -> Settings:
        """Read the environment.

        :raises ValueError: as the real one refuses to start: no data path, keys on without a key, several users that do not
            pair with the keys.
        """
        if not environ.get("PERSISTENCE_DATA_PATH"):
            raise ValueError("persistence.dataPath must be set")
        users: dict[str, str] = {}
        if _flag(environ, "AUTHENTICATION_APIKEY_ENABLED"):
            keys = _list(environ, "AUTHENTICATION_APIKEY_ALLOWED_KEYS")
            names = _list(environ, "AUTHENTICATION_APIKEY_USERS")
            if not keys:
                raise ValueError("api-key auth: need at least one valid allowed key")
            if not names:
                raise ValueError("api-key auth: need at least one user")
            if len(names) not in (1, len(keys)):
                raise ValueError(
                    "api-key auth: length of users and keys must match, alternatively provide single user for all keys"
                )
            users = dict(zip(keys, names if len(names) > 1 else names * len(keys), strict=True))
        anonymous = _flag(environ, "AUTHENTICATION_ANONYMOUS_ACCESS_ENABLED", "false" if users else "true")
        if not users and not anonymous:
            raise ValueError("auth: no authentication scheme is enabled and anonymous access is off")
        admins = None
        if _flag(environ, "AUTHORIZATION_ADMINLIST_ENABLED"):
            admins = frozenset(_list(environ, "AUTHORIZATION_ADMINLIST_USERS"))
        return cls(Path(environ["PERSISTENCE_DATA_PATH"]), anonymous, users, admins)

    def refusal(self, authorization: str) -> tuple[int, str] | None:
        """Status and message if a request may not pass."""
        if not authorization:
            if self.anonymous:
                return None
            return 401, "anonymous access not enabled, please provide an auth scheme such as OIDC"
        scheme, _, key = authorization.partition(" ")
        user = self.users.get(key.strip()) if scheme.lower() == "bearer" else None
        if user is None:
            return 401, "unauthorized: invalid api key"
        if self.admins is not None and user not in self.admins:
            return 403, f"forbidden: user '{user}' has insufficient permissions"
        return None


class Schema:
    """Class definitions in a file of the data folder."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "stand-in-schema.json"
        self._lock = threading.Lock()
        folder.mkdir(parents=True, exist_ok=True)
        if not self._file.exists():
            self._write({"classes": []})

    def _write(self, schema: dict[str, Any]) -> None:
        temporary = self._file.with_suffix(".new")
        temporary.write_text(json.dumps(schema))
        temporary.replace(self._file)

    def read(self) -> dict[str, Any]:
        """All class definitions."""
        schema: dict[str, Any] = json.loads(self._file.read_text())
        return schema

    def add(self, definition: dict[str, Any]) -> None:
        """Add a class; :raises ValueError: if its name is taken."""
        with self._lock:
            schema = self.read()
            if any(entry["class"] == definition["class"] for entry in schema["classes"]):
                raise ValueError(f"class name {definition['class']!r} already exists")
            schema["classes"].append(definition)
            self._write(schema)


def handler(settings: Settings, schema: Schema) -> type[BaseHTTPRequestHandler]:
    """The request handler for these settings."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _answer(self, status: int, body: Any = None) -> None:
            content = b"" if body is None else json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("X-Stand-In", "true")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)

        def _refused(self) -> bool:
            refusal = settings.refusal(self.headers.get("Authorization", ""))
            if refusal:
                status, message = refusal
                self._answer(
                    status,
                    {"code": status, "message": message}
                    if status == 401
                    else {"error": [{"message": message}]},
                )
            return refusal is not None

        def do_GET(self) -> None:
            path = self.path.split("?")[0].rstrip("/")
            if path in ("/v1/.well-known/ready", "/v1/.well-known/live"):
                self._answer(200)
            elif self._refused():
                return
            elif path == "/v1/meta":
                self._answer(
                    200, {"hostname": "http://[::]:8080", "modules": {}, "version": VERSION, "stand-in": True}
                )
            elif path == "/v1/schema":
                self._answer(200, schema.read())
            elif path == "/v1/nodes":
                name = os.environ.get("CLUSTER_HOSTNAME", "node1")
                self._answer(200, {"nodes": [{"name": name, "status": "HEALTHY", "version": VERSION}]})
            else:
                self._answer(404, {"code": 404, "message": f"path {path} was not found"})

        do_HEAD = do_GET

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if self._refused():
                return
            if self.path.rstrip("/") != "/v1/schema":
                self._answer(404, {"code": 404, "message": f"path {self.path} was not found"})
                return
            try:
                definition = json.loads(body)
                schema.add(definition)
                self._answer(200, definition)
            except (ValueError, KeyError, TypeError) as error:
                self._answer(422, {"error": [{"message": str(error)}]})

        def log_message(self, format: str, *args: object) -> None:
            """Weaviate logs no requests at its default level."""

    return Handler


def main() -> int:
    """Serve until SIGTERM; 1 if the settings are wrong."""
    parser = argparse.ArgumentParser(prog="weaviate")
    parser.add_argument("--host", default="0.0.0.0")
    parser.add_argument("--port", type=int, default=8080)
    parser.add_argument("--scheme", default="http")
    arguments, _ = parser.parse_known_args()
    try:
        settings = Settings.load(os.environ)
        schema = Schema(settings.data)
    except (ValueError, OSError) as error:
        print(
            json.dumps(
                {"action": "startup", "level": "fatal", "error": str(error), "msg": "could not load config"}
            ),
            file=sys.stderr,
        )
        return 1
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    ThreadingHTTPServer((arguments.host, arguments.port), handler(settings, schema)).serve_forever()
    return 0


if __name__ == "__main__":
    sys.exit(main())
