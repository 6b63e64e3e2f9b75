"""Reading answers: fields, streams, rules and search settings."""

from __future__ import annotations

from typing import Any

import pytest

from difyfleet.clients.dify import ProcessRule, RetrievalModel, sse
from difyfleet.clients.dify.console.files import content_type
from difyfleet.clients.dify.errors import ContractError
from difyfleet.clients.dify.fields import Fields
from difyfleet.clients.dify.process_rules import parse_process_rule
from difyfleet.clients.dify.retrieval import parse_retrieval

DATA: dict[str, Any] = {
    "name": "x",
    "n": 3,
    "f": 1.0,
    "yes": True,
    "none": None,
    "list": [{"id": "a"}, {"id": 7}],
    "o": {"k": 1},
}


def test_fields_of_the_right_type() -> None:
    data = Fields(DATA, "GET /x")
    assert (data.text("name"), data.integer("n"), data.integer("f"), data.number("n"), data.flag("yes")) == (
        "x",
        3,
        1,
        3.0,
        True,
    )
    assert (data.text("none", "d"), data.text("absent", None), data.flag("absent", False)) == (
        "d",
        None,
        False,
    )
    assert (data.object("o").integer("k"), data.mapping("absent"), data.has("none"), data.has("name")) == (
        1,
        {},
        False,
        True,
    )


@pytest.mark.parametrize(
    ("read", "message"),
    [
        (lambda d: d.text("absent"), "field absent is missing in the answer"),
        (lambda d: d.text("none"), "field none is null in the answer"),
        (lambda d: d.text("n"), "field n is a number in the answer"),
        (lambda d: d.integer("yes"), "field yes is a truth value in the answer"),
        (lambda d: d.flag("n"), "field n is a number in the answer"),
        (lambda d: d.integer("name", 0), "field name is a text in the answer"),
        (lambda d: d.objects("list")[1].text("id"), r"field list\[1\].id is a number in the answer"),
        (lambda d: d.objects("o"), "field o is an object in the answer"),
        (lambda d: d.object("name"), "field name is a text in the answer"),
        (lambda d: Fields([], "GET /x"), "the answer is a list, not an object"),
    ],
)
def test_a_broken_contract_names_url_and_field(read: Any, message: str) -> None:
    with pytest.raises(ContractError, match=f"GET /x: {message}"):
        read(Fields(DATA, "GET /x"))


def test_stream_lines() -> None:
    lines = [
        b"event: ping",
        b"",
        b'data: {"event": "message", "answer": "\\u6e2f"}',
        b": comment",
        b'data:{"event": "message_end"}',
    ]
    assert [event.get("answer") for event in sse.events(lines, "POST /x")] == ["港", None]


@pytest.mark.parametrize("line", [b"data: {broken", b"data: 7"])
def test_a_broken_stream_line(line: bytes) -> None:
    with pytest.raises(ContractError):
        list(sse.events([line], "POST /x"))


@pytest.mark.parametrize("rule", [ProcessRule(), ProcessRule("custom", "###", 120, 10, False, True)])
def test_a_rule_comes_back_as_it_was_sent(rule: ProcessRule) -> None:
    assert parse_process_rule(Fields(rule.body(), "GET /x")) == rule


@pytest.mark.parametrize(
    "settings",
    [
        RetrievalModel(),
        RetrievalModel(
            "hybrid_search", 6, 0.2, True, True, "xinference", "bge", "weighted_score", {"vector_setting": {}}
        ),
        RetrievalModel.for_technique("economy"),
    ],
)
def test_search_settings_are_always_whole(settings: RetrievalModel) -> None:
    assert parse_retrieval(Fields(settings.body(), "GET /x")) == settings
    assert {"search_method", "reranking_enable", "score_threshold_enabled", "top_k"} <= set(settings.body())


@pytest.mark.parametrize(
    ("name", "wanted"),
    [("a.MD", "text/markdown"), ("港.txt", "text/plain"), ("noext", "application/octet-stream")],
)
def test_content_types(name: str, wanted: str) -> None:
    assert content_type(name) == wanted
