"""Runs ON THE HOST (Python >= 3.7, standard library): hands images and models to the fleet's other hosts over HTTP, for the time of a run.

    python3 serve.py FOLDER        FOLDER/config.json (root only): token, port, idle (seconds), models (folder, or "")

Listens on the port, or on one of the nine after it, and writes which into FOLDER/port. Ends, and removes FOLDER, when nobody has asked for
anything for `idle` seconds. Every request needs the header `Authorization: Bearer TOKEN`.

    GET /image/REFERENCE           the stream of `docker save`, chunked; cut off without its end if that fails
    GET /blob/sha256-HEX           a blob of Ollama; Range is understood
    GET /manifest/PATH             a manifest of Ollama, by its path below `manifests`
"""

from __future__ import annotations

import hmac
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time
import urllib.parse
from http.server import BaseHTTPRequestHandler, HTTPServer
from socketserver import ThreadingMixIn
from typing import Any

BLOCK = 1 << 20
REFERENCE = re.compile(r"[a-zA-Z0-9][\w./:@-]*")
PATH = re.compile(r"[\w.-]+(/[\w.-]+)*")


class Server(ThreadingMixIn, HTTPServer):
    """Counts what is under way, so that it knows when nobody needs it any more."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, address: Any, config: Any) -> None:
        HTTPServer.__init__(self, address, Handler)
        self.config = config
        self.lock = threading.Lock()
        self.busy, self.last = 0, time.monotonic()

    def count(self, step: int) -> None:
        with self.lock:
            self.busy += step
            self.last = time.monotonic()

    def watch(self) -> None:
        """Ends the server when it has been idle for long enough."""
        while self.busy or time.monotonic() - self.last < self.config["idle"]:
            time.sleep(1)
        self.shutdown()


class Handler(BaseHTTPRequestHandler):
    """One request."""

    protocol_version = "HTTP/1.1"
    timeout = 120  # seconds a taker may stand still
    server: Any

    def do_GET(self) -> None:
        self.server.count(1)
        try:
            self.answer()
        except OSError:  # the taker went away
            self.close_connection = True
        finally:
            self.server.count(-1)

    def answer(self) -> None:
        """Say who may not, send what there is."""
        given = self.headers.get("Authorization", "")
        if not hmac.compare_digest(given.encode(), ("Bearer " + self.server.config["token"]).encode()):
            return self.refuse(403)
        kind, _, name = urllib.parse.unquote(self.path.lstrip("/")).partition("/")
        models = self.server.config["models"]
        if kind == "image" and REFERENCE.fullmatch(name):
            return self.image(name)
        if kind == "blob" and models and re.fullmatch(r"sha256-[0-9a-f]{64}", name):
            return self.file(os.path.join(models, "blobs", name))
        if kind == "manifest" and models and PATH.fullmatch(name) and ".." not in name:
            return self.file(os.path.join(models, "manifests", name))
        return self.refuse(404)

    def refuse(self, status: int) -> None:
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def file(self, path: str) -> None:
        """A file, or what of it is asked for."""
        if not os.path.isfile(path):
            return self.refuse(404)
        with open(path, "rb") as stream:
            size = os.fstat(stream.fileno()).st_size
            asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
            first = int(asked.group(1)) if asked else 0
            if first >= size > 0:
                return self.refuse(416)
            self.send_response(206 if asked else 200)
            if asked:
                self.send_header("Content-Range", f"bytes {first}-{size - 1}/{size}")
            self.send_header("Content-Length", str(size - first))
            self.end_headers()
            stream.seek(first)
            shutil.copyfileobj(stream, self.wfile, BLOCK)
        return None

    def image(self, name: str) -> None:
        """The stream of `docker save`. Its end is only sent when docker says that it was the end."""
        saving = subprocess.Popen(
            ["docker", "image", "save", name], stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        assert saving.stdout is not None
        try:
            block = saving.stdout.read(BLOCK)
            if not block:
                return self.refuse(404)
            self.send_response(200)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            while block:
                self.wfile.write(b"%x\r\n" % len(block) + block + b"\r\n")
                block = saving.stdout.read(BLOCK)
            if saving.wait() == 0:
                self.wfile.write(b"0\r\n\r\n")
            else:
                self.close_connection = True
        finally:
            saving.kill()
            saving.communicate()
        return None

    def log_message(self, format: str, *args: Any) -> None:
        """The journal need not hold every request."""


def listen(config: Any) -> Server:
    """A server on the first port that is free."""
    for port in range(config["port"], config["port"] + 10):
        try:
            return Server(("0.0.0.0", port), config)
        except OSError as error:
            last = error
    raise last


def main(folder: str) -> None:
    """Serve until nobody asks."""
    with open(os.path.join(folder, "config.json")) as stream:
        config = json.load(stream)
    try:
        server = listen(config)
        temp = os.path.join(folder, "port.new")
        with open(temp, "w") as stream:
            stream.write(str(server.server_port))
        os.rename(temp, os.path.join(folder, "port"))
        threading.Thread(target=server.watch, daemon=True).start()
        server.serve_forever(0.5)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main(sys.argv[1])
