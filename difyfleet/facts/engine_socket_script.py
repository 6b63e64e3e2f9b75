"""Runs ON THE HOST as root (Python >= 3.7, standard library): Docker's engine, asked at its socket instead of by a client of 14 ms and more."""

from __future__ import annotations

import os
from _socket import AF_UNIX, SOCK_STREAM, socket

from difyfleet.known_script import MOMENT, NotPlain
from difyfleet.light_script import loads

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

SOCKET = "/var/run/docker.sock"
PID = "/run/docker.pid"
TIMEOUT = 20.0  # seconds; an engine that hangs counts as none
_kept: dict[tuple[int, str, str], tuple[int, Any]] = {}  # answers of this moment


def running() -> bool:
    """Whether the engine runs. If not it must not be asked: a connect to systemd's docker.socket would start it."""
    try:
        with open(PID) as file:
            os.kill(int(file.read()), 0)
    except (FileNotFoundError, ProcessLookupError, ValueError):
        return False
    return True


def get(path: str) -> Any:
    """What the engine answers to GET, or None.

    Raises:
        OSError: it does not answer.
        ValueError: no JSON.
    """
    status, found = answer(path)
    return found if status == 200 else None


def answer(path: str) -> tuple[int, Any]:
    """Status and content of the answer to GET. HTTP/1.0: no chunks, and the end of the connection is the end of the answer."""
    key = (MOMENT[0], SOCKET, path)
    if key not in _kept:
        if _kept and next(iter(_kept))[0] != MOMENT[0]:
            _kept.clear()
        link = socket(AF_UNIX, SOCK_STREAM)
        try:
            link.settimeout(TIMEOUT)
            link.connect(SOCKET)
            link.sendall(f"GET {path} HTTP/1.0\r\nHost: docker\r\n\r\n".encode())
            parts = b"".join(iter(lambda: link.recv(1 << 16), b""))
        finally:
            link.close()
        head, _, body = parts.partition(b"\r\n\r\n")
        status = int(head.split(b" ", 2)[1]) if head.startswith(b"HTTP/1.") else 0
        _kept[key] = status, loads(body.decode()) if body.strip() else None
    return _kept[key]


def quoted(text: str) -> str:
    """For a query of a URL; the standard library's own costs more to import than the whole answer."""
    return "".join(
        c if c.isalnum() and c.isascii() else "".join(f"%{b:02X}" for b in c.encode()) for c in text
    )


def image(name: str) -> Any:
    """What the engine knows of an image, by reference or ID; None = it has none."""
    return get("/images/{}/json".format(quoted(name).replace("%2F", "/")))


def like_the_client() -> None:
    """Go on only if the `docker` client would ask the same socket.

    Raises:
        NotPlain: it might not.
    """
    home = os.environ.get("HOME", "/root")
    if any(name.startswith("DOCKER_") for name in os.environ) or os.path.lexists(
        f"{home}/.docker/config.json"
    ):
        raise NotPlain("docker's client has settings of its own")
