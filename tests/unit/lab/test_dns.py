"""The name server's packets, against bytes as a resolver sends and reads them."""

from __future__ import annotations

import json
import os
import socket
import struct
from pathlib import Path

import pytest

from lab import dns

# `dig +noedns ghcr.io A`: id 0x1a2b, recursion desired
QUERY = bytes.fromhex("1a2b01000001000000000000") + b"\x04ghcr\x02io\x00" + b"\x00\x01\x00\x01"
ZONE: dns.Zone = {"ghcr.io": "10.0.2.4", "silent.example": None}


def query(name: str, kind: int = dns.A) -> bytes:
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    return bytes.fromhex("000701000001000000000000") + labels + b"\0" + struct.pack(">HH", kind, 1)


def test_parse_reads_a_query() -> None:
    question = dns.parse(QUERY)
    assert (question.id, question.name, question.type, question.recursion) == (0x1A2B, "ghcr.io", 1, True)


def test_answer_is_the_address() -> None:
    assert dns.answer(dns.parse(QUERY), ZONE) == (
        bytes.fromhex(
            "1a2b81800001000100000000"
        )  # answer, recursion available, no error, 1 question, 1 record
        + b"\x04ghcr\x02io\x00\x00\x01\x00\x01"
        + bytes.fromhex("c00c000100010000003c00040a000204")
    )


def test_names_are_case_insensitive_and_the_question_is_repeated_as_sent() -> None:
    packet = query("GHCR.io")
    response = dns.answer(dns.parse(packet), ZONE)
    assert response is not None
    assert response[12 : len(packet)] == packet[12:]
    assert response.endswith(socket.inet_aton("10.0.2.4"))


def test_other_type_of_a_known_name_is_empty_not_nxdomain() -> None:
    response = dns.answer(dns.parse(query("ghcr.io", 28)), ZONE)
    assert response is not None
    flags, questions, answers = struct.unpack(">HHH", response[2:8])
    assert (flags & 0xF, questions, answers) == (0, 1, 0)


def test_unknown_name_is_nxdomain() -> None:
    response = dns.answer(dns.parse(query("registry-1.docker.io")), ZONE)
    assert response is not None
    assert struct.unpack(">HHH", response[2:8]) == (0x8183, 1, 0)


def test_silent_name_gets_no_answer() -> None:
    assert dns.answer(dns.parse(query("silent.example")), ZONE) is None


@pytest.mark.parametrize(
    ("name", "kind", "said"),
    [
        ("ghcr.io", 1, "10.0.2.4"),
        ("ghcr.io", 28, "empty"),
        ("silent.example", 1, "silence"),
        ("x.y", 1, "NXDOMAIN"),
    ],
)
def test_verdict_is_what_was_answered(name: str, kind: int, said: str) -> None:
    assert dns.verdict(dns.parse(query(name, kind)), ZONE) == said


@pytest.mark.parametrize(
    "packet",
    [
        b"",
        b"\0" * 11,
        QUERY[:14],
        QUERY[:-3],
        b"\x1a\x2b\x81\x80" + QUERY[4:],
        QUERY[:12] + b"\xc0\x0c\0\x01\0\x01",
    ],
    ids=["empty", "short header", "cut name", "cut type", "a response", "pointer as a name"],
)
def test_malformed_queries_are_refused(packet: bytes) -> None:
    with pytest.raises(dns.MalformedQuery):
        dns.parse(packet)


def test_records_follow_their_file(tmp_path: Path) -> None:
    path = tmp_path / "dns.json"
    path.write_text(json.dumps({"a": "10.0.2.9"}))
    records = dns.Records(path)
    assert records.zone() == {"a": "10.0.2.9"}
    path.write_text(json.dumps({}))
    os.utime(path, ns=(1, 1))  # a clock that is too coarse must not hide a change
    assert records.zone() == {}
