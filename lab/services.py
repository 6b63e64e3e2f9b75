"""The small servers of the lab, in one process inside its namespace: DNS, downloads, and web servers that are no mirror.

``python -m lab.services STATE_FOLDER CERTIFICATE KEY``
"""

from __future__ import annotations

import functools
import http.server
import os
import re
import ssl
import sys
import threading
from http import HTTPStatus
from pathlib import Path
from typing import IO, Any

from lab import dhcp, dns

GATEWAY = "10.0.2.2"
BRIDGE = "lab0"
WEB = "10.0.2.6"
FILES_PORT = 8100

_NOT_FOUND = b"<html><head><title>404 Not Found</title></head><body><center><h1>404 Not Found</h1></center></body></html>\n"
_PARKED = b"<html><head><title>dockerpull.org</title></head><body>This domain is parked.</body></html>\n"


def byte_range(header: str | None, size: int) -> tuple[int, int] | None:
    """First and last byte of a ``Range`` header of the form ``bytes=FIRST-[LAST]``; ``None`` = send all.

    :raises ValueError: if the range lies outside a file of ``size`` bytes.
    """
    match = re.fullmatch(r"bytes=(\d+)-(\d*)", header or "")
    if match is None:
        return None
    first, last = int(match[1]), min(int(match[2] or size - 1), size - 1)
    if first > last:
        raise ValueError(f"range {header} outside {size} bytes")
    return first, last


class Files(http.server.SimpleHTTPRequestHandler):
    """Static files with ``Range``, so that an interrupted download can go on."""

    protocol_version = "HTTP/1.1"

    def send_head(self) -> Any:
        path = self.translate_path(self.path)
        if self.headers.get("Range") is None or not os.path.isfile(path):
            return super().send_head()
        size = os.path.getsize(path)
        try:
            window = byte_range(self.headers["Range"], size)
        except ValueError:
            self.send_response(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE)
            self.send_header("Content-Range", f"bytes */{size}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return None
        if window is None:
            return super().send_head()
        first, last = window
        stream = open(path, "rb")  # noqa: SIM115 - the base class closes it
        stream.seek(first)
        self.send_response(HTTPStatus.PARTIAL_CONTENT)
        self.send_header("Content-Type", self.guess_type(path))
        self.send_header("Content-Range", f"bytes {first}-{last}/{size}")
        self.send_header("Content-Length", str(last - first + 1))
        self.end_headers()
        return _Window(stream, last - first + 1)


class _Window:
    """The next ``left`` bytes of a stream, as a file of its own."""

    def __init__(self, stream: IO[bytes], left: int) -> None:
        self._stream, self._left = stream, left

    def read(self, size: int = -1) -> bytes:
        block = self._stream.read(self._left if size < 0 else min(size, self._left))
        self._left -= len(block)
        return block

    def close(self) -> None:
        self._stream.close()


class Page(http.server.BaseHTTPRequestHandler):
    """One answer to everything: what a web server that is no registry says."""

    protocol_version = "HTTP/1.1"
    status = HTTPStatus.NOT_FOUND
    body = _NOT_FOUND

    def _say(self) -> None:
        self.send_response(self.status)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(self.body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(self.body)

    do_GET = do_HEAD = do_POST = _say


class Parked(Page):
    """A parked domain: 200 and a page, whatever the path."""

    status = HTTPStatus.OK
    body = _PARKED


def _server(address: str, port: int, handler: Any) -> http.server.ThreadingHTTPServer:
    http.server.ThreadingHTTPServer.allow_reuse_address = True
    return http.server.ThreadingHTTPServer((address, port), handler)


def main(argv: list[str]) -> int:
    folder, certificate, key = (Path(item) for item in argv)
    parked = _server(WEB, 443, Parked)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    # The handshake belongs to the client's thread: in accept() one silent client would stop the server.
    parked.socket = context.wrap_socket(parked.socket, server_side=True, do_handshake_on_connect=False)
    servers = [
        _server(GATEWAY, FILES_PORT, functools.partial(Files, directory=str(folder / "www"))),
        _server(WEB, 80, Page),
        parked,
    ]
    for server in servers:
        threading.Thread(target=server.serve_forever, daemon=True).start()
    threading.Thread(target=dhcp.serve, args=(BRIDGE, GATEWAY, folder / "dhcp.json"), daemon=True).start()
    dns.serve(GATEWAY, folder / "dns.json", folder / "dns.log")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
