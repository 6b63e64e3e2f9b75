"""The comparison itself: it must see a wrong answer."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.contract import exchanges


def answer(number: int, **changes: Any) -> exchanges.Answer:
    """The recorded answer as a server's, with some fields of its body changed."""
    recorded = exchanges.recording(number)
    body = json.dumps({**recorded["response_json"], **changes}).encode() + b"\n"
    return exchanges.Answer(
        recorded["status"], {**recorded["response_headers"], "Content-Length": str(len(body))}, body
    )


@pytest.mark.parametrize("number", [3, 7, 9, 15, 20, 21, 22, 27, 35])
def test_the_recorded_answer_itself_is_right(number: int) -> None:
    given = answer(number)
    assert exchanges.differences(exchanges.recording(number), given, {}) == []


@pytest.mark.parametrize(
    ("number", "changes"),
    [
        (9, {"code": "not_ready"}), (9, {"status": "401"}), (9, {"extra": 1}), (22, {"setup_at": "2026-11-23T06:55:02.123456"}),
        (35, {"id": "1"}), (35, {"created_at": "now"}), (35, {"avatar": ""}), (27, {"data": {"access_token": "x"}}),
    ],
)  # fmt: skip
def test_a_wrong_body_is_seen(number: int, changes: dict[str, Any]) -> None:
    assert exchanges.differences(exchanges.recording(number), answer(number, **changes), {}) != []


def test_a_wrong_status_and_header_are_seen() -> None:
    given = answer(7)
    given.status, given.headers["X-Version"] = 201, "0.11.3"
    found = exchanges.differences(exchanges.recording(7), given, {})
    assert [line.split(": ", 1)[1] for line in found] == [
        "status 201 != 200",
        "X-Version: '0.11.3' != '0.11.2'",
    ]


def test_secrets_of_an_answer_are_learned() -> None:
    known: dict[str, str] = {}
    exchanges.differences(
        exchanges.recording(27), answer(27, data={"access_token": "A", "refresh_token": "R"}), known
    )
    assert known == {"ACCESS_TOKEN": "A", "REFRESH_TOKEN": "R"}
