"""Runs ON THE HOST as root (Python >= 3.7, standard library): systemd, asked at its own socket as `systemctl` asks it, without its 4 ms each."""

from __future__ import annotations

import os
from _socket import AF_UNIX, SOCK_STREAM, socket

from difyfleet.known_script import NotPlain

SOCKET = "/run/systemd/private"
TIMEOUT = 25.0  # seconds, as systemctl's
MANAGER = "/org/freedesktop/systemd1"
_METHOD, _ANSWER, _ERROR = 1, 2, 3  # kinds of messages
_REPLY_TO, _ERROR_NAME = 5, 4  # their header's fields


class Refused(Exception):
    """systemd's name of an error."""


class Systemd:
    """A connection. Little-endian D-Bus, one call after the other.

    Raises:
        OSError, NotPlain: systemd cannot be asked in this way.
    """

    def __init__(self) -> None:
        if not hasattr(os, "getuid") or os.getuid() != 0:
            raise NotPlain("only root may")
        self._serial = 0
        self._data = b""
        self._link = socket(AF_UNIX, SOCK_STREAM)
        self._link.settimeout(TIMEOUT)
        self._link.connect(SOCKET)
        self._link.sendall(b"\0AUTH EXTERNAL 30\r\nBEGIN\r\n")  # "0" in hexadecimal digits
        while b"\r\n" not in self._data:
            self._fill()
        said, _, self._data = self._data.partition(b"\r\n")
        if not said.startswith(b"OK "):
            raise NotPlain(said)

    def close(self) -> None:
        """End it."""
        self._link.close()

    def property(self, name: str, unit: str = "", interface: str = "Unit") -> str:
        """A property of a unit or, without one, of systemd itself, as `systemctl show` writes it. Text and truth values only.

        Raises:
            Refused: there is none.
        """
        path = unit_path(unit) if unit else MANAGER
        interface = f"org.freedesktop.systemd1.{interface if unit else 'Manager'}"
        body = self._call(path, "org.freedesktop.DBus.Properties", "Get", "ss", _text(interface), name)
        kind = body[1 : 1 + body[0]]
        at = _aligned(2 + body[0], 4)
        number = int.from_bytes(body[at : at + 4], "little")
        if kind == b"b":
            return "yes" if number else "no"
        if kind != b"s":
            raise NotPlain(f"{name} is a {kind!r}")
        return body[at + 4 : at + 4 + number].decode()

    def enabled(self, unit: str) -> str:
        """`systemctl is-enabled`, by its unit files.

        Raises:
            Refused: there are none.
        """
        body = self._call(MANAGER, "org.freedesktop.systemd1.Manager", "GetUnitFileState", "s", b"", unit)
        return body[4 : 4 + int.from_bytes(body[:4], "little")].decode()

    def any_unit(self, pattern: str) -> bool:
        """Whether a unit of this pattern is loaded."""
        states_and_patterns = b"\0\0\0\0" + _array(_text(pattern))
        body = self._call(
            MANAGER, "org.freedesktop.systemd1.Manager", "ListUnitsByPatterns", "asas", states_and_patterns
        )
        return int.from_bytes(body[:4], "little") > 0

    def _call(
        self, path: str, interface: str, member: str, signature: str, body: bytes, last: str | None = None
    ) -> bytes:
        if last is not None:
            body = body + b"\0" * (-len(body) % 4) + _text(last)
        self._serial += 1
        fields = b""
        for code, kind, value in ((1, "o", path), (2, "s", interface), (3, "s", member), (8, "g", signature)):
            fields += b"\0" * (-len(fields) % 8) + bytes([code, 1]) + kind.encode() + b"\0"
            fields += bytes([len(value)]) + value.encode() + b"\0" if kind == "g" else _text(value)
        head = b"l\1\0\1" + len(body).to_bytes(4, "little") + self._serial.to_bytes(4, "little")
        head += len(fields).to_bytes(4, "little") + fields
        self._link.sendall(head + b"\0" * (-len(head) % 8) + body)
        while True:
            kind_of, reply_to, error, answer = self._message()
            if kind_of in (_ANSWER, _ERROR) and reply_to == self._serial:
                if kind_of == _ERROR:
                    raise Refused(error)
                return answer

    def _message(self) -> tuple[int, int, str, bytes]:
        """Kind, the call that it answers, an error's name, content."""
        while len(self._data) < 16:
            self._fill()
        if self._data[:1] != b"l":
            raise NotPlain("another byte order")
        size, of_fields = (int.from_bytes(self._data[at : at + 4], "little") for at in (4, 12))
        begin = _aligned(16 + of_fields, 8)
        while len(self._data) < begin + size:
            self._fill()
        kind, head, answer = self._data[1], self._data[: 16 + of_fields], self._data[begin : begin + size]
        self._data = self._data[begin + size :]
        reply_to, error, at = 0, "", 16
        while at < len(head):
            at = _aligned(at, 8)
            code, signature = head[at], head[at + 2 : at + 3]
            at = at + 4
            number = head[at] if signature == b"g" else int.from_bytes(head[at : at + 4], "little")
            if code == _REPLY_TO:
                reply_to = number
            if code == _ERROR_NAME:
                error = head[at + 4 : at + 4 + number].decode()
            if signature not in (b"u", b"s", b"o", b"g"):
                raise NotPlain(f"a field of type {signature!r}")
            at += 4 if signature == b"u" else number + (2 if signature == b"g" else 5)
        return kind, reply_to, error, answer

    def _fill(self) -> None:
        data = self._link.recv(1 << 16)
        if not data:
            raise NotPlain("systemd hung up")
        self._data += data


def unit_path(unit: str) -> str:
    """The object of a unit."""
    escaped = "".join(
        c if c.isascii() and (c.isalpha() or (c.isdigit() and at)) else f"_{ord(c):02x}"
        for at, c in enumerate(unit)
    )
    return f"{MANAGER}/unit/{escaped}"


def units(pattern: str) -> bytes:
    """See facts.jobs.EndedJobs: nothing, where no such unit is loaded.

    Raises:
        NotPlain: there are some.
    """
    link = Systemd()
    try:
        if link.any_unit(pattern):
            raise NotPlain(pattern)
    finally:
        link.close()
    return b""


def _aligned(at: int, size: int) -> int:
    return at + -at % size


def _text(text: str) -> bytes:
    return len(text.encode()).to_bytes(4, "little") + text.encode() + b"\0"


def _array(content: bytes) -> bytes:
    return len(content).to_bytes(4, "little") + content
