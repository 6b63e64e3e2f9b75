"""What a reading command on a host prints, byte for byte, as it comes: images and models on their way to the controller."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO

from paramiko import SSHException
from pyinfra.api import StringCommand

from difyfleet.errors import HostError
from difyfleet.remote import journal

STALL = (
    900  # seconds without a byte; `docker save` writes a whole image to the host's disk before its first one
)


class _Output(io.RawIOBase):
    def __init__(self, channel: Any) -> None:
        self._channel = channel

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._channel.recv(len(buffer))
        buffer[: len(data)] = data
        return len(data)


@contextmanager
def output_of(host: Any, command: str, what: str, *, stdin: bytes = b"") -> Iterator[BinaryIO]:
    """Run a command as root and read its standard output. It is taken for a read.

    Args:
        what: for the journal and errors.
        stdin: what it reads.

    Raises:
        ConnectionLost: the SSH connection is gone.
        HostError: the command failed, or gave nothing for STALL seconds.
    """
    try:
        channel = host.connector.start(StringCommand(command), journal.READ, what, combine=False)
        channel.settimeout(STALL)
        for start in range(0, len(stdin), 1 << 18):
            channel.sendall(stdin[start : start + (1 << 18)])
        channel.shutdown_write()
    except (OSError, EOFError, SSHException) as error:
        host.connector.require_connection(error)
        raise HostError(f"{what}: {error}", where=host.name) from error
    try:
        yield io.BufferedReader(_Output(channel), 1 << 20)
        status = channel.recv_exit_status()
        if status != 0:
            words = channel.makefile_stderr("rb").read().decode(errors="replace").strip()
            if status == -1:
                host.connector.require_connection(words)
            raise HostError(f"{what} failed: {words or f'exit code {status}'}", where=host.name)
    except TimeoutError:
        raise HostError(f"{what}: not a byte for {STALL // 60} minutes", where=host.name) from None
    except (OSError, EOFError, SSHException) as error:
        host.connector.require_connection(error)
        raise
    finally:
        channel.close()
