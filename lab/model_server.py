"""Ollama's model registry: manifests and blobs of a folder over TLS, with Range, HEAD and a brake.

``model_server.py --store FOLDER --listen ADDRESS:PORT --certificate FILE --key FILE [--rate-file FILE]``

The folder has the layout of Ollama's own ``models`` folder. No token is asked for. A blob is answered by a redirect to another
host name, here the server's own address, as the real registry redirects to its content network; Ollama 0.4.7 refuses any other
answer ("no Location header in response"), so the certificate must hold the address too. ``LAB_MODEL_RATE`` (bytes/s for each
connection) slows blobs down, so that a pull can be interrupted; a number in the rate file wins over it, at once, also for
transfers that run.
"""

from __future__ import annotations

import argparse
import os
import re
import signal
import ssl
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import IO, Protocol

MANIFEST_TYPE = "application/vnd.docker.distribution.manifest.v2+json"
_HOST = "registry.ollama.ai"
_MANIFEST = re.compile(r"^/v2/([\w.-]+)/([\w.-]+)/manifests/([\w.-]+)$")
_BLOB = re.compile(r"^/v2/[\w.-]+/[\w.-]+/blobs/sha256:([0-9a-f]{64})$")
_CONTENT = re.compile(r"^/content/sha256/([0-9a-f]{64})$")
_RANGE = re.compile(r"^bytes=(\d*)-(\d*)$")
_BLOCK = 1 << 18
_TICK = 0.1  # s: with a brake on, this much of a second's bytes is sent at a time


class Writer(Protocol):
    """What bytes can be written to."""

    def write(self, data: bytes, /) -> int: ...


class Counted:
    """A writer that knows how many bytes went through it."""

    def __init__(self, target: Writer) -> None:
        self._target = target
        self.bytes = 0

    def write(self, data: bytes, /) -> int:
        """Pass them on."""
        written = self._target.write(data)
        self.bytes += len(data)
        return written


class RangeError(ValueError):
    """The range lies outside the file."""


def byte_range(header: str, size: int) -> tuple[int, int] | None:
    """First and last byte of a ``Range`` header; None = the whole file (no header, or a form that is not served).

    :raises RangeError: if it starts behind the end.
    """
    match = _RANGE.match(header)
    if not match or match.groups() == ("", ""):
        return None
    first, last = match.groups()
    if first == "":
        return max(size - int(last), 0), size - 1
    if int(first) >= size:
        raise RangeError(f"{header} of {size} bytes")
    return int(first), min(int(last), size - 1) if last else size - 1


class Rate:
    """Bytes per second for each connection; 0 = unlimited."""

    def __init__(self, file: Path | None, default: int) -> None:
        self._file, self._default = file, default

    def now(self) -> int:
        """The rate at this moment."""
        try:
            return int(self._file.read_text()) if self._file else self._default
        except (OSError, ValueError):
            return self._default


def copy(source: IO[bytes], target: Writer, length: int, rate: Rate) -> None:
    """Send ``length`` bytes, no faster than the rate."""
    while length > 0:
        limit = rate.now()
        block = source.read(min(length, _BLOCK, max(int(limit * _TICK), 1) if limit else _BLOCK))
        if not block:
            return
        target.write(block)
        length -= len(block)
        if limit:
            time.sleep(len(block) / limit)


def handler(store: Path, rate: Rate, address: str) -> type[BaseHTTPRequestHandler]:
    """The request handler for one folder.

    :param address: ``host`` or ``host:port`` to which blobs are redirected.
    """

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = 60
        status: object = "-"

        def _head(self, status: int, length: int, **headers: str) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name.replace("_", "-"), value)
            self.send_header("Content-Length", str(length))
            self.end_headers()

        def _missing(self) -> None:
            body = b'{"errors":[{"code":"MANIFEST_UNKNOWN","message":"file does not exist"}]}'
            self._head(404, len(body), Content_Type="application/json")
            if self.command != "HEAD":
                self.wfile.write(body)

        def _manifest(self, namespace: str, model: str, tag: str) -> None:
            path = store / "manifests" / _HOST / namespace / model / tag
            if ".." in (namespace, model, tag) or not path.is_file():
                self._missing()
                return
            content = path.read_bytes()
            self._head(200, len(content), Content_Type=MANIFEST_TYPE)
            if self.command != "HEAD":
                self.body.write(content)

        def _content(self, digest: str) -> None:
            path = store / "blobs" / f"sha256-{digest}"
            if not path.is_file():
                self._missing()
                return
            size = path.stat().st_size
            try:
                wanted = byte_range(self.headers.get("Range", ""), size)
            except RangeError:
                self._head(416, 0, Content_Range=f"bytes */{size}")
                return
            first, last = wanted or (0, size - 1)
            headers = {
                "Content_Type": "application/octet-stream",
                "Accept_Ranges": "bytes",
                "ETag": f'"{digest}"',
            }
            if wanted:
                headers["Content_Range"] = f"bytes {first}-{last}/{size}"
            self._head(206 if wanted else 200, last - first + 1, **headers)
            if self.command != "HEAD":
                with path.open("rb") as source:
                    source.seek(first)
                    copy(source, self.body, last - first + 1, rate)

        def do_GET(self) -> None:
            path = self.path.split("?")[0]
            manifest, blob, content = _MANIFEST.match(path), _BLOB.match(path), _CONTENT.match(path)
            self.body = Counted(self.wfile)
            try:
                if path.rstrip("/") == "/v2":
                    self._head(200, 0, Docker_Distribution_Api_Version="registry/2.0")
                elif manifest:
                    self._manifest(*manifest.groups())
                elif blob and self.command == "HEAD":
                    self._content(blob.group(1))
                elif blob:
                    self._head(307, 0, Location=f"https://{address}/content/sha256/{blob.group(1)}")
                elif content:
                    self._content(content.group(1))
                else:
                    self._missing()
            except (BrokenPipeError, ConnectionResetError, ssl.SSLError, TimeoutError):
                self.close_connection = True
            self.log_message('"%s" %s %s', self.requestline, self.status, self.body.bytes)

        do_HEAD = do_GET

        def log_request(self, code: object = "-", size: object = "-") -> None:
            """Not yet: the line is written when it is known how many bytes of content went out."""
            self.status = code

        def log_message(self, format: str, *args: object) -> None:
            moment = time.strftime("%H:%M:%S")
            print(
                f"{moment} {self.client_address[0]} {format % args} {self.headers.get('Range', '-')}",
                flush=True,
            )

    return Handler


class Server(ThreadingHTTPServer):
    """TLS is shaken hands on in the connection's own thread: a client that says nothing does not stop the others."""

    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 64

    def handle_error(self, request: object, client_address: object) -> None:
        """Port probes and clients that hang up are no news."""


def main(argv: list[str]) -> int:
    """Serve until SIGTERM."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    for option in ("--store", "--listen", "--certificate", "--key"):
        parser.add_argument(option, required=True)
    parser.add_argument("--rate-file", type=Path)
    arguments = parser.parse_args(argv)
    address, _, port = arguments.listen.rpartition(":")
    rate = Rate(arguments.rate_file, int(os.environ.get("LAB_MODEL_RATE") or 0))
    server = Server(
        (address, int(port)), handler(Path(arguments.store), rate, arguments.listen.removesuffix(":443"))
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(arguments.certificate, arguments.key)
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    print(f"model registry: {arguments.store} at {arguments.listen}", flush=True)
    server.serve_forever()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
