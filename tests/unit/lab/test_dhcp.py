"""The DHCP server's packets."""

from __future__ import annotations

import socket
import struct

import pytest

from lab import dhcp

MAC = bytes.fromhex("52540000020b")


def client_packet(kind: int) -> bytes:
    fixed = struct.pack(">BBBBIHH16x16s64x128x", 1, 1, 6, 0, 0xDEADBEEF, 0, 0, MAC)
    return fixed + b"\x63\x82\x53\x63" + bytes([55, 2, 1, 3, 53, 1, kind, 255])


def options(packet: bytes) -> dict[int, bytes]:
    found, at = {}, 240
    while packet[at] != 255:
        found[packet[at]] = packet[at + 2 : at + 2 + packet[at + 1]]
        at += 2 + packet[at + 1]
    return found


@pytest.mark.parametrize(("asked", "answered"), [(1, 2), (3, 5)], ids=["discover-offer", "request-ack"])
def test_known_client_gets_its_address(asked: int, answered: int) -> None:
    request = dhcp.parse(client_packet(asked))
    assert request.mac == "52:54:00:00:02:0b"
    packet = dhcp.answer(request, "10.0.2.11", "10.0.2.2")
    assert packet[0] == 2
    assert packet[4:8] == bytes.fromhex("deadbeef")
    assert socket.inet_ntoa(packet[16:20]) == "10.0.2.11"
    assert packet[28:34] == MAC
    found = options(packet)
    assert found[53] == bytes([answered])
    assert found[1] == socket.inet_aton("255.255.255.0")
    assert found[3] == found[6] == found[54] == socket.inet_aton("10.0.2.2")


@pytest.mark.parametrize(
    "packet", [b"", client_packet(1)[:239], client_packet(7), b"\x02" + client_packet(1)[1:]],
    ids=["empty", "no cookie", "release", "a reply"],
)  # fmt: skip
def test_other_packets_are_refused(packet: bytes) -> None:
    with pytest.raises(dhcp.MalformedRequest):
        dhcp.parse(packet)
