"""Runs ON THE HOST, loaded by mux_script.py when it is needed: the HTTP reads of a run, made there one after the other, a connection per
service. A client of its own: importing `http.client` costs more than all requests, `socket` more than most.

A service is {"scheme", "address", "port", "known": {WHO: token}, "requests": [...]}, a request

    {"number", "head": request line and headers, "seconds": without a byte, "who": whose token it carries or is to bring, "sign_in": null
     or {"before", "after": the body around the secret, "value": the secret or null, "file": where it is kept else,
     "unless": [files that forbid it], "token": [keys]}}

Told of each: number, status, body, head. Status is HTTP's, or NOT_MADE, UNSURE (sent, and no whole answer), "late" (nothing in time),
"large" (not for here: too long, a stream, packed). The head begins with a line with the SHA-256 of the body that was sent.
After the first one without an answer the service is left alone.
"""

from __future__ import annotations

import _socket
import os

from difyfleet.light_script import dumps, loads, sha256

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Tell = Callable[[int, object, bytes, bytes], None]
    Outcome = tuple[object, bytes, bytes]

NOT_MADE, UNSURE = -1, -2
CONNECT_WITHIN = 10.0  # seconds
MOST_HEAD = 65536  # bytes
BLOCK = 65536


class Elsewhere(Exception):
    """An answer that is not for here."""


def make_requests(service: dict[str, Any], most: int, stop: Callable[[], bool], tell: Tell) -> None:
    """Make the requests of one service.

    Args:
        most: bytes of a body.
        stop: whether nobody wants them any more.
    """
    tokens = dict(service["known"])
    line = Line(service, most)
    alone = False
    for request in service["requests"]:
        if stop():
            break
        found: Outcome = NOT_MADE, b"", b""
        if not alone:
            try:
                found, alone = _one(line, request, tokens)
            except Exception:  # nobody would ever hear of it
                found, alone = (UNSURE, b"", b""), True
        tell(request["number"], *found)
    line.close()


def _one(line: Line, request: dict[str, Any], tokens: dict[str, str]) -> tuple[Outcome, bool]:
    """The answer, and whether the service is to be left alone."""
    who, sign_in, head, body = request["who"], request["sign_in"], request["head"], b""
    if sign_in is not None:
        tokens.pop(who, None)
        secret = _secret(sign_in)
        if secret is None:
            return (NOT_MADE, b"", b""), False
        body = (sign_in["before"] + dumps(secret)[1:-1] + sign_in["after"]).encode()
        head += f"Content-Length: {len(body)}\r\n"
        line.close()  # it is sent once: never on a connection that the server may just be closing
    elif who:
        if who not in tokens:
            return (NOT_MADE, b"", b""), False
        head += f"Authorization: Bearer {tokens[who]}\r\n"
    try:
        status, answer, words = line.ask(
            head.encode() + b"\r\n" + body, request["seconds"], again=sign_in is None
        )
    except Elsewhere:
        line.close()
        return ("large", b"", b""), False
    except _socket.timeout:
        return ("late" if line.sent else NOT_MADE, b"", b""), True
    except (OSError, ValueError):
        return (UNSURE if line.sent else NOT_MADE, b"", b""), True
    if sign_in is not None and status == 200:
        token = _token(answer, sign_in["token"])
        if token:
            tokens[who] = token
    return (status, answer, sha256(body).hexdigest().encode() + b"\n" + words), False


class Line:
    """A connection to a service, opened when it is needed and kept."""

    def __init__(self, service: dict[str, Any], most: int) -> None:
        self.sent = False  # whether anything of the last request may have arrived
        self._service, self._most = service, most
        self._socket: Any = None
        self._data = bytearray()  # what came and was not taken

    def ask(self, data: bytes, seconds: float, again: bool) -> tuple[int, bytes, bytes]:
        """Send a request; status, body and headers of the answer.

        Args:
            again: it may be sent twice, where a kept connection turns out to be closed.

        Raises:
            Elsewhere: the answer is not for here.
            OSError, ValueError: there is none.
        """
        self.sent = False
        kept = self._socket is not None
        try:
            first = self._send(data, seconds)
        except OSError as error:
            if isinstance(error, _socket.timeout):
                raise
            first = b""
        if not first:
            self.close()
            if not (kept and again):
                raise OSError("no answer")
            first = self._send(data, seconds)
        return self._answer(first)

    def close(self) -> None:
        """Hang up."""
        if self._socket is not None:
            self._socket.close()
        self._socket = None
        self._data.clear()

    def _send(self, data: bytes, seconds: float) -> bytes:
        """The first line of the answer; nothing where the server hangs up without one."""
        if self._socket is None:
            self._socket = self._connected()
        self._socket.settimeout(seconds)
        self.sent = True
        self._socket.sendall(data)
        return self._line() if self._fill() else b""

    def _connected(self) -> Any:
        to = self._service
        if to["scheme"] == "https":
            import socket
            import ssl

            context = ssl.create_default_context()
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE  # as in remote/http.py: this is the host itself
            plain = socket.create_connection((to["address"], to["port"]), CONNECT_WITHIN)
            return context.wrap_socket(plain, server_hostname=to["address"])
        # as bytes: for a text, Python imports what international names need
        family, kind, protocol, _, address = _socket.getaddrinfo(
            to["address"].encode(), to["port"], 0, _socket.SOCK_STREAM
        )[0]
        found = _socket.socket(family, kind, protocol)
        found.settimeout(CONNECT_WITHIN)
        found.connect(address)
        found.setsockopt(_socket.IPPROTO_TCP, _socket.TCP_NODELAY, 1)
        return found

    def _answer(self, first: bytes) -> tuple[int, bytes, bytes]:
        while True:
            version, status = first.split(None, 2)[:2]
            if not version.startswith(b"HTTP/1."):
                raise ValueError("not HTTP")
            words = self._words(first)
            if not 100 <= int(status) < 200:
                break
            first = self._line()
        fields = dict(_field(line) for line in words.split(b"\n")[1:] if line.strip())
        if fields.get(b"content-encoding", b"identity") != b"identity" or fields.get(
            b"content-type", b""
        ).startswith(b"text/event-stream"):
            raise Elsewhere
        body = self._body(int(status), fields)
        if version == b"HTTP/1.0" or b"close" in fields.get(b"connection", b"").lower():
            self.close()
        return int(status), body, words

    def _words(self, first: bytes) -> bytes:
        words = first
        while first.strip():
            first = self._line()
            words += first
            if len(words) > MOST_HEAD:
                raise Elsewhere
        return words

    def _body(self, status: int, fields: dict[bytes, bytes]) -> bytes:
        if status in (204, 304):
            return b""
        if b"chunked" in fields.get(b"transfer-encoding", b"").lower():
            body = b""
            while True:
                size = int(self._line().split(b";")[0], 16)
                if not size:
                    break
                body += self._exactly(size, len(body))
                self._line()
            while self._line().strip():
                pass
            return body
        if b"content-length" in fields:
            return self._exactly(int(fields[b"content-length"]), 0)
        while self._fill():
            if len(self._data) > self._most:
                raise Elsewhere
        body = bytes(self._data)
        self.close()
        return body

    def _line(self) -> bytes:
        while b"\n" not in self._data:
            if len(self._data) > MOST_HEAD:
                raise Elsewhere
            self._must_fill()
        return self._take(self._data.index(b"\n") + 1)

    def _exactly(self, size: int, have: int) -> bytes:
        if size < 0 or size + have > self._most:
            raise Elsewhere
        while len(self._data) < size:
            self._must_fill()
        return self._take(size)

    def _take(self, size: int) -> bytes:
        data = bytes(self._data[:size])
        del self._data[:size]
        return data

    def _fill(self) -> bool:
        data = self._socket.recv(BLOCK)
        self._data += data
        return bool(data)

    def _must_fill(self) -> None:
        if not self._fill():
            raise OSError("the answer ends early")


def _field(line: bytes) -> tuple[bytes, bytes]:
    name, _, value = line.partition(b":")
    return name.strip().lower(), value.strip()


def _token(body: bytes, keys: list[str]) -> str | None:
    try:
        found = loads(body.decode())
        for key in keys:
            found = found[key]
        return found if isinstance(found, str) else None
    except (ValueError, KeyError, TypeError):
        return None


def _secret(sign_in: dict[str, Any]) -> str | None:
    """The secret; None = not to be had, or forbidden. Its files are root's."""
    try:
        for path in sign_in["unless"]:
            try:
                os.lstat(path)
            except FileNotFoundError:
                continue
            return None
        value: str | None = sign_in["value"]
        if value is None:
            with open(sign_in["file"], "rb") as kept:
                value = kept.read().decode().rstrip("\n")
        return value or None
    except (OSError, ValueError):  # who may not look does not know
        return None
