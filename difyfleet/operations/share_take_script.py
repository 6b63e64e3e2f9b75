"""Runs ON THE HOST (Python >= 3.7, standard library): takes an image or a model from another host of the fleet (share_serve_script.py).

    python3 take.py FOLDER     (root only, removed at the end)

FOLDER/order.json holds urls (tried in turn), token, size (bytes, for progress), and either `image`, or `models` (folder), `manifest` ({path, digest}) and
`blobs` ([{digest, size}]). An image goes from the wire into `docker load`; a model's blobs go beside their place, are hashed and renamed,
and the manifest comes last, so that Ollama never sees half a model. A blob that was cut off is gone on with.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from typing import IO, Any

BLOCK = 1 << 20
CONNECT = 5  # seconds until an address counts as not reachable
STALL = 120  # seconds without a byte
TRIES = 3
TROUBLE = (OSError, http.client.HTTPException)


class Failed(Exception):
    """The reason, for the operator."""


class Progress:
    """Says once a second how far it is."""

    def __init__(self, total: int) -> None:
        self.total, self.done = total, 0
        self.began = self.said = time.monotonic()

    def add(self, count: int) -> None:
        self.done += count
        now = time.monotonic()
        if now - self.said >= 1:
            self.said = now
            rate = self.done / (now - self.began) / 1e6
            print(f"{self.done // 10**6} of {self.total // 10**6} MB, {rate:.0f} MB/s", flush=True)


class Source:
    """The other host, by the first of its addresses that answers."""

    def __init__(self, order: dict[str, Any]) -> None:
        self.urls, self.token = list(order["urls"]), order["token"]
        self.url: str | None = None
        self.opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def open(self, path: str, first: int = 0) -> Any:
        """The answer to one request. A refusal is the end, trouble on the way is not."""
        headers = {"Authorization": "Bearer " + self.token}
        if first:
            headers["Range"] = f"bytes={first}-"
        reasons = []
        for url in [self.url] if self.url else self.urls:
            request = urllib.request.Request(url + urllib.parse.quote(path), headers=headers)  # noqa: S310 - our own URL
            try:
                answer = self.opener.open(request, timeout=STALL if self.url else self.reach(url))
            except urllib.error.HTTPError as error:
                raise Failed(f"{url} answers {error.code}") from None
            except TROUBLE as error:
                reasons.append(f"{url}: {getattr(error, 'reason', error)}")
                continue
            self.url = url
            return answer
        raise Failed("not reachable: " + "; ".join(reasons))

    @staticmethod
    def reach(url: str) -> int:
        """A short look whether anybody listens, so that the long time-out is left for the answer."""
        parts = urllib.parse.urlsplit(url)
        socket.create_connection((parts.hostname, parts.port or 80), CONNECT).close()
        return STALL


def image(source: Source, order: dict[str, Any], progress: Progress) -> None:
    """From the wire into Docker. It checks each layer against the image's configuration."""
    answer = source.open("/image/" + order["image"])
    loading = subprocess.Popen(
        ["docker", "image", "load", "--quiet"],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    assert loading.stdin is not None
    assert loading.stderr is not None
    trouble = ""
    try:
        for block in iter(lambda: answer.read(BLOCK), b""):
            loading.stdin.write(block)
            progress.add(len(block))
        loading.stdin.close()
    except BrokenPipeError:
        trouble = "docker load ended early"
    except TROUBLE as error:
        loading.kill()  # before it sees an end of its input
        trouble = f"cut off after {progress.done // 10**6} MB: {error}"
    with contextlib.suppress(OSError):
        loading.stdin.close()
    words = loading.stderr.read().decode(errors="replace").strip()
    if loading.wait() != 0 or trouble:
        raise Failed("; ".join(filter(None, [trouble, words])) or "docker load failed")


def hash_of(path: str) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        for block in iter(lambda: stream.read(BLOCK), b""):
            digest.update(block)
    return "sha256:" + digest.hexdigest()


def receive(source: Source, path: str, target: str, digest: str, size: int, progress: Progress) -> None:
    """A file by its hash, whole or not at all; what came of it stays beside it until it is."""
    part = target + ".part"
    words = "it ended too early"
    for attempt in range(1, TRIES + 1):
        have = os.path.getsize(part) if os.path.exists(part) else 0
        if have >= size > 0:
            break
        try:
            answer = source.open(path, have)
            with open(part, "ab") as stream:
                copy(answer, stream, progress)
        except TROUBLE as error:
            words = str(error)
        if os.path.exists(part) and os.path.getsize(part) >= size:
            break
        if attempt == TRIES:
            raise Failed(f"{digest[:19]} was cut off: {words}")
        time.sleep(2 * attempt)
    if hash_of(part) != digest:
        os.remove(part)
        raise Failed(f"{digest[:19]} came with another content")
    os.chmod(part, 0o644)
    os.rename(part, target)


def copy(answer: Any, stream: IO[bytes], progress: Progress) -> None:
    for block in iter(lambda: answer.read(BLOCK), b""):
        stream.write(block)
        progress.add(len(block))
    stream.flush()
    os.fsync(stream.fileno())


def model(source: Source, order: dict[str, Any], progress: Progress) -> None:
    """Blobs first, the manifest last. What was cut off stays in a folder beside them."""
    root = order["models"]
    staging = os.path.join(root, ".difyfleet")
    os.makedirs(staging, mode=0o755, exist_ok=True)
    try:
        for blob in order["blobs"]:
            name = blob["digest"].replace(":", "-")
            place(source, os.path.join("blobs", name), "/blob/" + name, blob, root, progress)
        path = order["manifest"]["path"]
        manifest = {"digest": "sha256:" + order["manifest"]["digest"], "size": 1}
        place(source, os.path.join("manifests", path), "/manifest/" + path, manifest, root, progress)
    finally:
        with contextlib.suppress(OSError):  # not empty
            os.rmdir(staging)


def place(source: Source, path: str, url: str, part: dict[str, Any], root: str, progress: Progress) -> None:
    """One part of a model in its place, unless it is there already with the right content."""
    target = os.path.join(root, path)
    os.makedirs(os.path.dirname(target), mode=0o755, exist_ok=True)
    if os.path.exists(target) and hash_of(target) == part["digest"]:
        progress.add(os.path.getsize(target))
        return
    staged = os.path.join(root, ".difyfleet", part["digest"].replace(":", "-"))
    receive(source, url, staged, part["digest"], part["size"], progress)
    os.rename(staged, target)


def main(folder: str) -> None:
    """One order; its end is the exit code, the reason is the last line."""
    os.umask(0o022)
    with open(os.path.join(folder, "order.json")) as stream:
        order = json.load(stream)
    try:
        source, progress = Source(order), Progress(order["size"])
        if "image" in order:
            image(source, order, progress)
        else:
            model(source, order, progress)
    except (Failed, OSError) as error:
        sys.exit(f"error: {error}")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main(sys.argv[1])
