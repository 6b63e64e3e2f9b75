"""The comparison itself: it must see a wrong answer."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.contract import comparison, exchanges, uploads


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
    assert comparison.differences(exchanges.recording(number), given, {}) == []


@pytest.mark.parametrize(
    ("number", "changes"),
    [
        (9, {"code": "not_ready"}), (9, {"status": "401"}), (9, {"extra": 1}), (22, {"setup_at": "2026-11-23T06:55:02.123456"}),
        (35, {"id": "1"}), (35, {"created_at": "now"}), (35, {"avatar": ""}), (27, {"data": {"access_token": "x"}}),
    ],
)  # fmt: skip
def test_a_wrong_body_is_seen(number: int, changes: dict[str, Any]) -> None:
    assert comparison.differences(exchanges.recording(number), answer(number, **changes), {}) != []


def test_a_wrong_status_and_header_are_seen() -> None:
    given = answer(7)
    given.status, given.headers["X-Version"] = 201, "0.11.3"
    found = comparison.differences(exchanges.recording(7), given, {})
    assert ["status 201 != 200" in found[0], "X-Version: '0.11.3' != '0.11.2'" in found[1]] == [True, True]


def test_secrets_of_an_answer_are_learned() -> None:
    known: dict[str, str] = {}
    comparison.differences(
        exchanges.recording(27), answer(27, data={"access_token": "A", "refresh_token": "R"}), known
    )
    assert known == {"ACCESS_TOKEN": "A", "REFRESH_TOKEN": "R"}


def test_an_id_stands_for_one_recorded_id_only() -> None:
    recorded = exchanges.recording(100)["response_json"]
    known: dict[str, str] = {}
    assert comparison.same(recorded, json.loads(json.dumps(recorded)), "body", known) == []
    assert known[recorded["data"][0]["id"]] == recorded["data"][0]["id"]
    twice = json.loads(json.dumps(recorded))
    twice["data"][1]["id"] = twice["data"][0]["id"]
    assert any("id" in line for line in comparison.same(recorded, twice, "body", {}))
    other = json.loads(json.dumps(recorded))
    other["data"][0]["id"] = "11111111-2222-3333-4444-555555555555"
    assert comparison.same(recorded, other, "body", dict(known)) != []


def test_a_citation_of_another_document_is_seen() -> None:
    """In a blocking answer and in the last event of a stream."""
    recorded = exchanges.recording(225)
    given = answer(225)
    assert comparison.differences(recorded, given, {}) == []
    given.body = given.body.replace(b"lighthouse.txt", b"ferry.pdf")
    assert any("document_name" in line for line in comparison.differences(recorded, given, {}))
    stream = exchanges.recording(226)
    lines = [*stream["response_sse_first_lines"], *stream["response_sse_last_lines"]]
    text = "".join(f"{line}\n\n" for line in lines)
    headers = stream["response_headers"]
    assert comparison.differences(stream, exchanges.Answer(200, headers, text.encode()), {}) == []
    wrong = exchanges.Answer(200, headers, text.replace("harbour rules", "ferry").encode())
    assert comparison.differences(stream, wrong, {}) != []
    without_end = "".join(f"{line}\n\n" for line in lines if "message_end" not in line)
    assert comparison.differences(stream, exchanges.Answer(200, headers, without_end.encode()), {}) != []


def test_a_document_in_error_is_no_beginning() -> None:
    recorded = exchanges.recording(154)
    given = answer(154)
    assert comparison.differences(exchanges.recording(154), given, {}) == []
    body = json.loads(given.body)
    body["documents"][0]["indexing_status"] = "error"
    given.body = json.dumps(body).encode()
    assert any("new document is error" in line for line in comparison.differences(recorded, given, {}))


def test_uploads_have_the_recorded_sizes() -> None:
    for number in (127, 128, 129, 132, 137, 270, 346):
        described = exchanges.recording(number)["request_multipart"]
        (file,) = described["file_fields"].values()
        assert len(uploads.content(file["filename"], file["size"])) == file["size"]
