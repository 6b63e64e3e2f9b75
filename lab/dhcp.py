"""A DHCP server for disk images of the user's own: each known hardware address gets its lab address, others get nothing."""

from __future__ import annotations

import json
import socket
import struct
from dataclasses import dataclass
from pathlib import Path

_MAGIC = b"\x63\x82\x53\x63"
_DISCOVER, _OFFER, _REQUEST, _ACK = 1, 2, 3, 5
_LEASE = 86_400  # seconds
_FIXED = struct.Struct(">BBBBIHH4s4s4s4s16s64s128s")  # RFC 2131, section 2, up to the magic cookie


class MalformedRequest(ValueError):
    """The packet is no DHCP request."""


@dataclass(frozen=True)
class Request:
    """What of a DHCP client's packet an answer needs."""

    transaction: int
    mac: str
    hardware: bytes  # the 16-byte chaddr field, repeated in the answer
    kind: int


def parse(packet: bytes) -> Request:
    """Read a client's packet.

    :raises MalformedRequest: if it is none.
    """
    if len(packet) < _FIXED.size + 4 or packet[_FIXED.size : _FIXED.size + 4] != _MAGIC:
        raise MalformedRequest("no DHCP cookie")
    fields = _FIXED.unpack(packet[: _FIXED.size])
    if fields[0] != 1 or fields[2] != 6:
        raise MalformedRequest("not a request over Ethernet")
    at, kind = _FIXED.size + 4, 0
    while at + 1 < len(packet) and packet[at] != 255:
        if packet[at] == 0:
            at += 1
            continue
        if packet[at] == 53 and at + 2 < len(packet):
            kind = packet[at + 2]
        at += 2 + packet[at + 1]
    if kind not in (_DISCOVER, _REQUEST):
        raise MalformedRequest(f"message type {kind}")
    hardware = fields[11]
    return Request(fields[4], ":".join(f"{byte:02x}" for byte in hardware[:6]), hardware, kind)


def answer(request: Request, address: str, server: str) -> bytes:
    """OFFER or ACK of ``address``/24, with ``server`` as gateway and name server."""
    kind = _OFFER if request.kind == _DISCOVER else _ACK
    us = socket.inet_aton(server)
    fixed = _FIXED.pack(
        2, 1, 6, 0, request.transaction, 0, 0x8000, b"\0" * 4, socket.inet_aton(address), us, b"\0" * 4,
        request.hardware, b"", b"",
    )  # fmt: skip
    options = {
        53: bytes([kind]),
        54: us,
        51: struct.pack(">I", _LEASE),
        1: socket.inet_aton("255.255.255.0"),
        3: us,
        6: us,
    }
    packed = b"".join(bytes([number, len(value)]) + value for number, value in options.items())
    return fixed + _MAGIC + packed + b"\xff"


def serve(interface: str, server: str, leases: Path) -> None:
    """Answer for ever.

    :param leases: JSON file of hardware address -> lab address, read again for every request.
    """
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, interface.encode())
    sock.bind(("", 67))
    while True:
        packet, _ = sock.recvfrom(2048)
        try:
            request = parse(packet)
        except MalformedRequest:
            continue
        known = json.loads(leases.read_text()) if leases.exists() else {}
        if request.mac in known:
            # The client has no address yet: only a broadcast reaches it.
            sock.sendto(answer(request, known[request.mac], server), ("255.255.255.255", 68))
