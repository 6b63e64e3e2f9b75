"""The lab's name server: answers A records of its zone, says NXDOMAIN to the rest, and logs every question.

The log is evidence: what is not in it was not looked up, and so nothing outside was asked for.
"""

from __future__ import annotations

import json
import socket
import struct
import time
from dataclasses import dataclass
from pathlib import Path

A = 1
_NOERROR, _FORMERR, _NXDOMAIN = 0, 1, 3
_TTL = 60  # seconds

Zone = dict[str, "str | None"]
"""Name -> IPv4 address; ``None`` = questions for this name are never answered (a silent server)."""


class MalformedQuery(ValueError):
    """The packet is no DNS question."""


@dataclass(frozen=True)
class Question:
    """The one question of a query."""

    id: int
    name: str  # lower case, without the last dot
    type: int
    raw: bytes  # the question section, as it has to be repeated in the answer
    recursion: bool


def parse(packet: bytes) -> Question:
    """Read a query packet (RFC 1035, section 4).

    :raises MalformedQuery: if it holds no question that can be read.
    """
    if len(packet) < 12:
        raise MalformedQuery("shorter than a DNS header")
    ident, flags, questions = struct.unpack(">HHH", packet[:6])
    if flags & 0x8000 or questions != 1:
        raise MalformedQuery("not a query with one question")
    labels, at = [], 12
    while True:
        if at >= len(packet):
            raise MalformedQuery("name runs past the packet")
        length = packet[at]
        at += 1
        if length == 0:
            break
        if length > 63 or at + length > len(packet):
            raise MalformedQuery("bad label")
        labels.append(packet[at : at + length].decode("latin-1").lower())
        at += length
    if at + 4 > len(packet):
        raise MalformedQuery("no type and class")
    return Question(
        ident,
        ".".join(labels),
        struct.unpack(">H", packet[at : at + 2])[0],
        packet[12 : at + 4],
        bool(flags & 0x100),
    )


def answer(question: Question, zone: Zone) -> bytes | None:
    """The response packet: an address, an empty answer (known name, other type) or NXDOMAIN; ``None`` = stay silent."""
    known = question.name in zone
    address = zone.get(question.name)
    if known and address is None:
        return None
    code = _NOERROR if known else _NXDOMAIN
    record = b""
    if address is not None and question.type == A:
        # 0xc00c points at the name in the question
        record = struct.pack(">HHHIH", 0xC00C, A, 1, _TTL, 4) + socket.inet_aton(address)
    flags = 0x8080 | (0x100 if question.recursion else 0) | code
    return struct.pack(">HHHHHH", question.id, flags, 1, 1 if record else 0, 0, 0) + question.raw + record


def verdict(question: Question, zone: Zone) -> str:
    """What the log says of an answer: the address, ``empty``, ``silence`` or ``NXDOMAIN``."""
    if question.name not in zone:
        return "NXDOMAIN"
    return (
        (zone[question.name] or "silence") if question.type == A or zone[question.name] is None else "empty"
    )


class Records:
    """The zone in a JSON file that may change while the server runs: hosts come and go, tests take a name away."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen = -1
        self._zone: Zone = {}

    def zone(self) -> Zone:
        """The zone as the file has it now."""
        changed = self._path.stat().st_mtime_ns
        if changed != self._seen:
            self._zone = json.loads(self._path.read_text())
            self._seen = changed
        return self._zone


def serve(address: str, records: Path, log: Path, port: int = 53) -> None:
    """Answer for ever on UDP. Log lines: Unix time, client, name, numeric type, and what was answered."""
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind((address, port))
    source = Records(records)
    with log.open("a", buffering=1) as lines:
        while True:
            packet, client = server.recvfrom(4096)
            try:
                question = parse(packet)
            except MalformedQuery:
                continue
            zone = source.zone()
            response = answer(question, zone)
            lines.write(
                f"{time.time():.3f} {client[0]} {question.name} {question.type} {verdict(question, zone)}\n"
            )
            if response is not None:
                server.sendto(response, client)
