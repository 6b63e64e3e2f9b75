"""paramiko's channel with a local process behind it."""

from __future__ import annotations

import os
import select
import subprocess


class Channel:
    """paramiko's channel as far as it is used, with a process behind it."""

    def __init__(
        self, command: str, environment: dict[str, str] | None = None, *, apart: bool = False
    ) -> None:
        """apart: standard error goes elsewhere; else into the same stream."""
        pipe = subprocess.PIPE
        errors = subprocess.DEVNULL if apart else subprocess.STDOUT
        self.process = subprocess.Popen(
            ["/bin/bash", "-c", command], stdin=pipe, stdout=pipe, stderr=errors, env=environment
        )
        self._limit: float | None = None
        self.status_event = self

    def sendall(self, data: bytes) -> None:
        assert self.process.stdin
        if self.process.stdin.closed:
            raise OSError("Socket is closed")
        self.process.stdin.write(data)
        self.process.stdin.flush()

    def settimeout(self, seconds: float) -> None:
        self._limit = seconds

    def recv(self, size: int) -> bytes:
        assert self.process.stdout
        if not select.select([self.process.stdout], [], [], self._limit)[0]:
            raise TimeoutError
        return os.read(self.process.stdout.fileno(), size)

    def shutdown_write(self) -> None:
        assert self.process.stdin
        self.process.stdin.close()

    def wait(self, seconds: float) -> None:
        self.process.wait(seconds)

    def get_transport(self) -> Channel:
        return self

    def close(self) -> None:
        assert self.process.stdin
        self.process.stdin.close()
        self.process.wait(20)  # seconds
        # its output stays open: a thread may still read it, and would read what gets the same number next
