"""Runs ON THE HOST, loaded by mux_script.py when it is needed: pipes to local ports."""

from __future__ import annotations

import socket
import threading

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

BLOCK = 65536  # bytes read from a port at once
CONNECT = 10.0  # seconds until a port has to have answered


class Pipes:
    """All pipes of one controller.

    Args:
        nonce: how frames begin.
        ahead: blocks a pipe may send that nobody has taken.
        write: sends one frame.
    """

    def __init__(self, nonce: str, ahead: int, write: Callable[[bytes], None]) -> None:
        self._nonce, self._ahead, self._write = nonce, ahead, write
        self._pipes: dict[int, tuple[socket.socket, threading.Semaphore]] = {}

    def open(self, ident: int, address: str, port: int) -> None:
        """A pipe; one that ends at once where nobody listens."""
        try:
            pipe = socket.create_connection((address, port), CONNECT)
            pipe.settimeout(None)
            pipe.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except OSError:
            self._write(f"{self._nonce} data {ident} 0\n".encode())
            return
        self._pipes[ident] = pipe, threading.Semaphore(self._ahead)
        threading.Thread(target=self._receive, args=(ident, *self._pipes[ident]), daemon=True).start()

    def _receive(self, ident: int, pipe: socket.socket, taken: threading.Semaphore) -> None:
        data = b"-"
        while data:
            try:
                data = pipe.recv(BLOCK)
            except OSError:
                data = b""
            taken.acquire()
            self._write(f"{self._nonce} data {ident} {len(data)}\n".encode() + data)

    def send(self, ident: int, data: bytes) -> None:
        """Bytes into it."""
        try:
            self._pipes[ident][0].sendall(data)
        except (OSError, KeyError):  # its end is under way, or has been told
            pass

    def more(self, ident: int, blocks: int) -> None:
        """So many blocks were taken."""
        if ident in self._pipes:
            for _ in range(blocks):
                self._pipes[ident][1].release()

    def close(self, ident: int) -> None:
        """Nobody wants more of it."""
        found = self._pipes.pop(ident, None)
        if found is not None:
            pipe, taken = found
            try:
                pipe.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            pipe.close()
            taken.release()
