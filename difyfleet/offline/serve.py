"""A bundle as a registry: Docker's and Ollama's protocols from the same blobs, read-only, plain HTTP.

For hosts that reach the controller but nothing beyond. Only what images and models consist of is given out, never a document.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socket import AF_INET6
from typing import Any

from difyfleet.offline.layout import full_name, tag_of
from difyfleet.offline.manifest import Manifest, blob_name
from difyfleet.offline.reader import Bundle
from difyfleet.offline.store import CHUNK

_PATH = re.compile(r"/v2/(?P<name>.+)/(?P<kind>manifests|blobs)/(?P<wanted>[^/]+)")
_RANGE = re.compile(r"bytes=(\d+)-(\d*)")
_OCI = "application/vnd.oci.image.manifest.v1+json"
_DOCKER = "application/vnd.docker.distribution.manifest.v2+json"
TIMEOUT = 120  # seconds that a client may take between two reads


class Shelf:
    """What can be asked for.

    Args:
        manifest: of the bundle. Blobs that a delta leaves out are not on the shelf.
    """

    def __init__(self, manifest: Manifest) -> None:
        self.manifests: dict[
            tuple[str, str], tuple[str, str]
        ] = {}  # (name, tag or digest) -> (digest, media type)
        for image in manifest.images:
            tag = tag_of(image.reference)
            if tag is not None:
                registry, _, rest = full_name(tag).partition("/")
                name, _, version = rest.rpartition(":")
                for alias in (name, f"{registry}/{name}"):
                    self.manifests[alias, version] = image.manifest, _OCI
                    self.manifests[alias, image.manifest] = image.manifest, _OCI
        for model in manifest.models:  # manifests/registry.ollama.ai/library/qwen2.5/7b
            name, _, version = model.path.split("/", 2)[2].rpartition("/")
            self.manifests.setdefault((name, version), (model.manifest, _DOCKER))
        carried = manifest.carried
        given_out = {digest for image in manifest.images for digest in image.digests()}
        given_out |= {digest for model in manifest.models for digest in model.digests()}
        self.blobs = {digest: size for digest, size in carried.items() if digest in given_out}


def server(bundle: Bundle, address: str, port: int, said: Callable[[str], None]) -> ThreadingHTTPServer:
    """A server that listens and has yet to run (`serve_forever`).

    Args:
        said: gets one line for each request.

    Raises:
        OSError: the address cannot be had.
    """
    shelf = Shelf(bundle.manifest)

    class Handler(_Handler):
        pass

    Handler.bundle, Handler.shelf, Handler.said = bundle, shelf, staticmethod(said)

    class Server(ThreadingHTTPServer):
        daemon_threads = True

    if ":" in address:
        Server.address_family = AF_INET6
    return Server((address, port), Handler)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = TIMEOUT
    bundle: Bundle
    shelf: Shelf
    said: Any

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path in ("/v2", "/v2/"):
            self._whole(200, b"{}", {"Content-Type": "application/json"})
            return
        match = _PATH.fullmatch(path)
        if match is None:
            self._refuse("NAME_UNKNOWN")
        elif match["kind"] == "manifests":
            self._manifest(match["name"], match["wanted"])
        else:
            self._blob(match["wanted"])

    do_HEAD = do_GET

    def _manifest(self, name: str, wanted: str) -> None:
        digest, media_type = self.shelf.manifests.get((name, wanted), ("", ""))
        if digest not in self.shelf.blobs:
            self._refuse("MANIFEST_UNKNOWN")
            return
        headers = {"Content-Type": media_type, "Docker-Content-Digest": digest}
        self._whole(200, self.bundle.read(blob_name(digest)), headers)

    def _blob(self, digest: str) -> None:
        size = self.shelf.blobs.get(digest)
        if size is None:
            self._refuse("BLOB_UNKNOWN")
            return
        headers = {
            "Content-Type": "application/octet-stream",
            "Docker-Content-Digest": digest,
            "Accept-Ranges": "bytes",
            "Location": self.path,  # Ollama 0.4.7 takes no answer without one (server/download.go)
        }
        first, last, status = 0, size - 1, 200
        match = _RANGE.fullmatch(self.headers.get("Range", ""))
        if match is not None:
            first, last, status = int(match[1]), min(int(match[2] or last), last), 206
            if first > last:
                self._whole(416, b"", {"Content-Range": f"bytes */{size}"})
                return
            headers["Content-Range"] = f"bytes {first}-{last}/{size}"
        self._head(status, last - first + 1, headers)
        if self.command == "HEAD":
            return
        with self.bundle.open(blob_name(digest)) as file:
            file.seek(first)
            left = last - first + 1
            while left > 0 and (piece := file.read(min(CHUNK, left))):
                self.wfile.write(piece)
                left -= len(piece)

    def _refuse(self, code: str) -> None:
        body = json.dumps({"errors": [{"code": code, "message": "not in this bundle"}]}).encode()
        self._whole(404, body, {"Content-Type": "application/json"})

    def _whole(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self._head(status, len(body), headers)
        if self.command != "HEAD":
            self.wfile.write(body)

    def _head(self, status: int, length: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        self.send_header("Docker-Distribution-Api-Version", "registry/2.0")
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(length))
        self.end_headers()

    def handle(self) -> None:
        try:
            super().handle()
        except ConnectionError:
            self.close_connection = True  # Ollama asks for a blob only to learn its address, and hangs up

    def log_message(self, format: str, *args: Any) -> None:
        self.said(f"{self.client_address[0]} {format % args}")
