"""The HTTP interface of the stand-in for Weaviate."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sqlite3
import sys
import threading
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from . import VERSION, graphql, objects
from .settings import Settings


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

    def has(self, name: str) -> bool:
        """Is there a class of this name?"""
        return any(entry["class"] == name for entry in self.read()["classes"])

    def remove(self, name: str) -> None:
        """Remove a class, if it is there."""
        with self._lock:
            schema = self.read()
            schema["classes"] = [entry for entry in schema["classes"] if entry["class"] != name]
            self._write(schema)


class Store:
    """What the interface works on: classes and their objects."""

    def __init__(self, folder: Path) -> None:
        self.schema = Schema(folder)
        self.objects = objects.Objects(folder)

    def add(self, batch: dict[str, Any]) -> list[dict[str, Any]]:
        """Add a batch of objects; a class that is not there is made, as auto-schema does."""
        entries = batch["objects"]
        for name in {entry["class"] for entry in entries}:
            if not self.schema.has(name):
                self.schema.add({"class": name, "vectorizer": "none"})
        self.objects.put(entries)
        return [{**entry, "result": {"status": "SUCCESS"}} for entry in entries]

    def delete(self, match: dict[str, Any]) -> dict[str, Any]:
        """Delete the objects of a class that match a filter."""
        condition = graphql.matcher(match.get("where"))
        count = self.objects.remove(match["class"], keep=lambda properties: not condition(properties))
        return {"match": match, "results": {"matches": count, "successful": count, "failed": 0}}

    def query(self, text: str) -> dict[str, Any]:
        """A GraphQL query; errors are in the answer, with status 200."""
        try:
            get = graphql.parse(text)
            if not self.schema.has(get.class_name):
                message = f'Cannot query field "{get.class_name}" on type "GetObjectsObj".'
                return {
                    "errors": [{"locations": [{"column": 6, "line": 1}], "message": message, "path": None}]
                }
            condition = graphql.matcher(get.arguments.get("where"))
            found = [entry for entry in self.objects.all(get.class_name) if condition(entry.properties)]
            if "nearVector" in get.arguments:
                found = objects.near(found, get.arguments["nearVector"]["vector"])
            elif "bm25" in get.arguments:
                asked = get.arguments["bm25"]
                found = objects.bm25(found, asked["query"], asked.get("properties") or ["text"])
        except (ValueError, KeyError, TypeError) as error:
            return {"errors": [{"locations": [], "message": str(error), "path": None}]}
        return {
            "data": {
                "Get": {
                    get.class_name: [_shown(get, entry) for entry in found[: get.arguments.get("limit", 100)]]
                }
            }
        }


def _shown(get: graphql.Get, entry: objects.Found) -> dict[str, Any]:
    additional = {
        "id": entry.id,
        "vector": entry.vector,
        "distance": entry.distance,
        "score": str(entry.score),
    }
    shown: dict[str, Any] = {name: entry.properties.get(name) for name in get.properties}
    if get.additional:
        shown["_additional"] = {name: additional.get(name) for name in get.additional}
    return shown


def handler(settings: Settings, store: Store) -> type[BaseHTTPRequestHandler]:
    """The request handler for these settings."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _answer(self, status: int, body: Any = None) -> None:
            content = b"" if body is None else json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("X-Stand-In", "true")
            if status != 204:
                self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)

        def _refused(self) -> bool:
            refusal = settings.refusal(self.headers.get("Authorization", ""))
            if refusal:
                status, message = refusal
                body = (
                    {"code": status, "message": message}
                    if status == 401
                    else {"error": [{"message": message}]}
                )
                self._answer(status, body)
            return refusal is not None

        def _unknown(self) -> None:
            self._answer(404, {"code": 404, "message": f"path {self.path} was not found"})

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
                self._answer(200, store.schema.read())
            elif path.startswith("/v1/schema/"):
                name = path.rpartition("/")[2]
                found = next(
                    (entry for entry in store.schema.read()["classes"] if entry["class"] == name), None
                )
                self._answer(200 if found else 404, found)
            elif path == "/v1/nodes":
                name = os.environ.get("CLUSTER_HOSTNAME", "node1")
                self._answer(200, {"nodes": [{"name": name, "status": "HEALTHY", "version": VERSION}]})
            else:
                self._unknown()

        do_HEAD = do_GET

        def do_POST(self) -> None:
            self._change(
                {"/v1/schema": self._add_class, "/v1/batch/objects": store.add, "/v1/graphql": self._query}
            )

        def do_DELETE(self) -> None:
            if self.path.startswith("/v1/schema/"):
                if not self._refused():
                    name = self.path.rpartition("/")[2]
                    store.schema.remove(name)
                    store.objects.remove(name)
                    self._answer(200)
                return
            self._change({"/v1/batch/objects": lambda body: store.delete(body["match"])})

        def _add_class(self, definition: dict[str, Any]) -> dict[str, Any]:
            store.schema.add(definition)
            return definition

        def _query(self, body: dict[str, Any]) -> dict[str, Any]:
            return store.query(body["query"])

        def _change(self, actions: Mapping[str, Callable[[Any], Any]]) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if self._refused():
                return
            action = actions.get(self.path.split("?")[0].rstrip("/"))
            if action is None:
                self._unknown()
                return
            try:
                self._answer(200, action(json.loads(body)))
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
        store = Store(settings.data)
    except (ValueError, OSError, sqlite3.Error) as error:
        print(
            json.dumps(
                {"action": "startup", "level": "fatal", "error": str(error), "msg": "could not load config"}
            ),
            file=sys.stderr,
        )
        return 1
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    ThreadingHTTPServer((arguments.host, arguments.port), handler(settings, store)).serve_forever()
    return 0
