"""HTTP to a service on the host's loopback, through SSH and without TCP forwarding (openEuler's sshd forbids that).

A `requests` session whose sockets are exec channels: bash on the host pipes each one to a local port. One connection stays
open and is used again; streaming answers arrive as they are sent.

`https://` works too: TLS inside the tunnel. The certificate is not verified, since the SSH host key has proved already who is at the
other end, and a certificate for the site's name would not fit 127.0.0.1 anyway.
"""

from __future__ import annotations

import io
import ssl
from typing import Any, cast

import requests
from paramiko import Channel, SSHException
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import NewConnectionError, SSLError
from urllib3.poolmanager import PoolManager
from urllib3.util.ssltransport import SSLTransport

from difyfleet.remote import journal
from difyfleet.remote.changes import about_to_change
from difyfleet.remote.mux import Pipe
from difyfleet.remote.read_ahead import ReadAhead
from difyfleet.remote.reading import is_reading, reading

__all__ = ["reading", "session"]

_CHUNK = 1 << 18
_READS = ("GET", "HEAD", "OPTIONS")
DEFAULT_TIMEOUT = 60.0  # seconds without a byte


class _ChannelSocket:
    """An SSH channel, or a pipe in one, with the part of a socket's interface that http.client uses."""

    def __init__(self, channel: Channel | Pipe) -> None:
        self._channel = channel
        self._readers = 0
        self._closed = False

    def makefile(self, mode: str, *_: Any, **__: Any) -> io.BufferedReader:
        return self.reader(self)

    def reader(self, source: Any) -> io.BufferedReader:
        """A file that reads from `source`: this channel, or TLS on top of it."""
        self._readers += 1
        return io.BufferedReader(_ChannelReader(source, self), 65536)

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

    def gettimeout(self) -> float | None:
        timeout: float | None = self._channel.gettimeout()
        return timeout

    def close(self) -> None:
        self._closed = True
        self._close_if_unused()

    def shutdown(self, how: int) -> None:
        """The pipe on the host ends both ways at once; a half-closed HTTP connection is not needed."""

    def setsockopt(self, *_: Any) -> None:
        """Socket options belong to the SSH connection underneath."""


class _TlsSocket(SSLTransport):
    """TLS on top of a channel, with the part of a socket's interface that http.client uses."""

    def __init__(self, pipe: _ChannelSocket, context: ssl.SSLContext) -> None:
        self.pipe = pipe
        super().__init__(cast(Any, pipe), context)  # it uses no more of a socket than the pipe has

    def makefile(self, mode: str, *_: Any, **__: Any) -> Any:
        return self.pipe.reader(self)

    def sendall(self, data: bytes, flags: int = 0) -> None:
        view = memoryview(data)
        for start in range(0, len(view), _CHUNK):
            super().sendall(bytes(view[start : start + _CHUNK]))

    def recv(self, buflen: int = _CHUNK, flags: int = 0) -> bytes:
        return cast(bytes, super().recv(buflen)) or b""  # urllib3 gives 0 at the end of the stream

    def shutdown(self, how: int) -> None:
        self.pipe.shutdown(how)


class _ChannelReader(io.RawIOBase):
    def __init__(self, source: Any, pipe: _ChannelSocket) -> None:
        self._source, self._pipe = source, pipe

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._source.recv(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        if not self.closed:
            super().close()
            self._pipe.reader_closed()


def _pipe(connection: Any, door: Any) -> _ChannelSocket:
    """A socket to `connection`'s host and port, as the host at the other end of the SSH connection sees them.

    Raises:
        NewConnectionError: there is no SSH channel to be had.
    """
    address, port = connection.host.strip("[]"), connection.port
    ahead = getattr(door, "ahead", None)
    if ahead is not None:
        pipe = ahead.pipe(address, port, door.sudo_password)
        if pipe is not None:
            return _ChannelSocket(pipe)
    target = f"/dev/tcp/{address}/{port}"
    # whichever side ends first ends the pipe; fd 4 because bash gives background jobs /dev/null as stdin
    script = f"exec 3<>{target} || exit 7; exec 4<&0; cat <&4 >&3 & w=$!; cat <&3 & r=$!; wait -n; kill $w $r 2>/dev/null"
    journal.current().write(door.host.name, journal.READ, "exec", f"pipe to {target}")
    try:
        channel = door.client.get_transport().open_session(timeout=30)
        channel.exec_command(f"exec bash -c '{script}'")
    except (SSHException, AttributeError, EOFError) as error:
        raise NewConnectionError(connection, f"no SSH channel to {door.host.name}: {error}") from error
    return _ChannelSocket(channel)


class _Connection(HTTPConnection):
    door: Any = None

    def connect(self) -> None:
        self.sock = _pipe(self, type(self).door)

    @property
    def is_connected(self) -> bool:
        sock = self.sock
        return isinstance(sock, _ChannelSocket) and sock.usable


class _TlsConnection(HTTPSConnection):
    door: Any = None

    def connect(self) -> None:
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        pipe = _pipe(self, type(self).door)
        try:
            self.sock = _TlsSocket(pipe, context)
        except (OSError, ValueError) as error:
            pipe.close()
            raise SSLError(f"no TLS at {self.host}:{self.port}: {error}") from error
        self.is_verified = True  # by the SSH host key; keeps urllib3 from warning

    @property
    def is_connected(self) -> bool:
        sock: Any = self.sock
        return isinstance(sock, _TlsSocket) and sock.pipe.usable


class ExecTunnelAdapter(HTTPAdapter):
    """A requests adapter bound to one host's door. Non-GET requests are journalled as changes unless inside reading()."""

    def __init__(self, door: Any) -> None:
        self._door = door
        self._connections = {
            "http": type("Connection", (_Connection,), {"door": door}),
            "https": type("TlsConnection", (_TlsConnection,), {"door": door}),
        }
        super().__init__(max_retries=0)

    def init_poolmanager(self, connections: int, maxsize: int, block: bool = False, **kwargs: Any) -> None:
        bases: dict[str, Any] = {"http": HTTPConnectionPool, "https": HTTPSConnectionPool}
        pools = {
            scheme: type("Pool", (base,), {"ConnectionCls": self._connections[scheme]})
            for scheme, base in bases.items()
        }
        self.poolmanager = PoolManager(num_pools=connections, maxsize=maxsize, block=block, **kwargs)
        self.poolmanager.pool_classes_by_scheme = pools

    def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:
        kind = journal.READ if request.method in _READS or is_reading() else journal.CHANGE
        where = (request.url or "").split("?")[0]
        if kind == journal.CHANGE:
            about_to_change(self._door)
        if kwargs.get("timeout") is None:
            kwargs["timeout"] = DEFAULT_TIMEOUT
        ahead: ReadAhead | None = getattr(self._door, "ahead", None)
        foreseen = None if kind == journal.CHANGE or kwargs.get("stream") else ahead
        try:
            if foreseen is not None:
                found = foreseen.respond(request, kwargs["timeout"], self._door.sudo_password)
                if found is not None:
                    return found
            if ahead is not None:
                ahead.asked_besides()
            operation = self._door.operation_name()
            journal.current().write(
                self._door.host.name, kind, "http", f"{request.method} {where}", operation
            )
            response = super().send(request, *args, **kwargs)
            if foreseen is not None:
                foreseen.responded(request, response)
            return response
        except requests.ConnectionError as error:
            self._door.require_connection(error)  # else whoever waits for the service would wait for ever
            raise requests.ConnectionError(
                f"{self._door.host.name}: no answer from {where} ({error})", request=request
            ) from error


def session(host: Any) -> requests.Session:
    """The host's HTTP session (one per host and run): `http(s)://127.0.0.1:PORT/...` means the host's own loopback.

    Raises (on use):
        requests.ConnectionError: nothing listens there.
        ConnectionLost: the SSH connection is gone.
        requests.Timeout: no byte for DEFAULT_TIMEOUT seconds, unless the call says otherwise.
    """
    known = host.connector_data.get("difyfleet.http")
    if known is None:
        known = requests.Session()
        known.trust_env = False  # the controller's proxy settings mean nothing inside the tunnel
        adapter = ExecTunnelAdapter(host.connector)
        known.mount("http://", adapter)
        known.mount("https://", adapter)
        host.connector_data["difyfleet.http"] = known
    return known  # type: ignore[no-any-return]
