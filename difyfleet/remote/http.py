"""HTTP to a service on the host's loopback, through SSH and without TCP forwarding (openEuler's sshd forbids that).

A `requests` session whose sockets are exec channels: bash on the host pipes each one to a local port. One connection stays
open and is used again; streaming answers arrive as they are sent.
"""

from __future__ import annotations

import io
from typing import Any

import requests
from paramiko import Channel, SSHException
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection
from urllib3.connectionpool import HTTPConnectionPool
from urllib3.exceptions import NewConnectionError
from urllib3.poolmanager import PoolManager

from difyfleet.remote import journal
from difyfleet.remote.door import is_reading, reading

__all__ = ["reading", "session"]

_CHUNK = 1 << 18
_READS = ("GET", "HEAD", "OPTIONS")
DEFAULT_TIMEOUT = 60.0  # seconds without a byte


class _ChannelSocket:
    """An SSH channel with the part of a socket's interface that http.client uses."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._readers = 0
        self._closed = False

    def makefile(self, mode: str, *_: Any, **__: Any) -> io.BufferedReader:
        self._readers += 1
        return io.BufferedReader(_ChannelReader(self), 65536)

    def reader_closed(self) -> None:
        """As with a real socket, the channel lives until the socket and every file made from it are closed."""
        self._readers -= 1
        self._close_if_unused()

    def _close_if_unused(self) -> None:
        if self._closed and self._readers <= 0:
            self._channel.close()

    def recv(self, size: int) -> bytes:
        return self._channel.recv(size)

    @property
    def usable(self) -> bool:
        return not (self._closed or self._channel.closed or self._channel.eof_received)

    def sendall(self, data: bytes) -> None:
        view = memoryview(data)
        for start in range(0, len(view), _CHUNK):
            self._channel.sendall(bytes(view[start : start + _CHUNK]))

    def settimeout(self, seconds: float | None) -> None:
        self._channel.settimeout(seconds)

    def close(self) -> None:
        self._closed = True
        self._close_if_unused()

    def shutdown(self, how: int) -> None:
        """The pipe on the host ends both ways at once; a half-closed HTTP connection is not needed."""

    def setsockopt(self, *_: Any) -> None:
        """Socket options belong to the SSH connection underneath."""


class _ChannelReader(io.RawIOBase):
    def __init__(self, sock: _ChannelSocket) -> None:
        self._sock = sock

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._sock.recv(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        if not self.closed:
            super().close()
            self._sock.reader_closed()


class _Connection(HTTPConnection):
    door: Any = None

    def connect(self) -> None:
        door = type(self).door
        target = f"/dev/tcp/{self.host}/{self.port}"
        # whichever side ends first ends the pipe; fd 4 because bash gives background jobs /dev/null as stdin
        script = f"exec 3<>{target} || exit 7; exec 4<&0; cat <&4 >&3 & w=$!; cat <&3 & r=$!; wait -n; kill $w $r 2>/dev/null"
        journal.current().write(door.host.name, journal.READ, "exec", f"pipe to {target}")
        try:
            channel = door.client.get_transport().open_session(timeout=30)
            channel.exec_command(f"exec bash -c '{script}'")
        except (SSHException, AttributeError, EOFError) as error:
            raise NewConnectionError(self, f"no SSH channel to {door.host.name}: {error}") from error
        self.sock = _ChannelSocket(channel)

    @property
    def is_connected(self) -> bool:
        sock = self.sock
        return isinstance(sock, _ChannelSocket) and sock.usable


class ExecTunnelAdapter(HTTPAdapter):
    """A requests adapter bound to one host's door. Non-GET requests are journalled as changes unless inside reading()."""

    def __init__(self, door: Any) -> None:
        self._door = door
        self._connection_cls = type("Connection", (_Connection,), {"door": door})
        super().__init__(max_retries=0)

    def init_poolmanager(self, connections: int, maxsize: int, block: bool = False, **kwargs: Any) -> None:
        pool = type("Pool", (HTTPConnectionPool,), {"ConnectionCls": self._connection_cls})
        self.poolmanager = PoolManager(num_pools=connections, maxsize=maxsize, block=block, **kwargs)
        self.poolmanager.pool_classes_by_scheme = {"http": pool, "https": pool}

    def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:
        kind = journal.READ if request.method in _READS or is_reading() else journal.CHANGE
        where = (request.url or "").split("?")[0]
        journal.current().write(self._door.host.name, kind, "http", f"{request.method} {where}")
        if kwargs.get("timeout") is None:
            kwargs["timeout"] = DEFAULT_TIMEOUT
        try:
            return super().send(request, *args, **kwargs)
        except requests.ConnectionError as error:
            raise requests.ConnectionError(
                f"{self._door.host.name}: no answer from {where} ({error})", request=request
            ) from error


def session(host: Any) -> requests.Session:
    """The host's HTTP session (one per host and run): `http://127.0.0.1:PORT/...` means the host's own loopback.

    Raises (on use):
        requests.ConnectionError: nothing listens there, or the SSH connection is gone.
        requests.Timeout: no byte for DEFAULT_TIMEOUT seconds, unless the call says otherwise.
    """
    known = host.connector_data.get("difyfleet.http")
    if known is None:
        known = requests.Session()
        known.trust_env = False  # the controller's proxy settings mean nothing inside the tunnel
        known.mount("http://", ExecTunnelAdapter(host.connector))
        host.connector_data["difyfleet.http"] = known
    return known  # type: ignore[no-any-return]
