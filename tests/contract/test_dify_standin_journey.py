"""The stand-in of Dify's api and worker answers on the whole recorded journey as the real Dify 0.11.2 did."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.contract import exchanges, test_dify_standin, test_dify_standin_weaviate
from tests.contract.standin import Stack
from tests.contract.standin_journey import FAIL, STAGES, Stage
from tests.contract.standin_steps import Steps

# Recorded exchanges that the stand-in is not held against, and why.
NOT_COVERED = {
    **dict.fromkeys(
        (119, 174, 179, 449, 450), "pgvector's own answer; with weaviate: 702, 715, 708 and a test below"
    ),
    384: "a refresh after logout: what the real server did there depended on which of two sessions had refreshed last",
    **dict.fromkeys((431, 432, 433, 434), "the public web app of an assistant: difyfleet does not use it"),
    600: "what the model server was asked: a test below looks at the stand-in's own requests",
    703: "a list of knowledge bases whose sizes are of files that were not recorded; 144 and 340 cover the list",
    **dict.fromkeys(
        (705, 719, 720), "as 703; 158, 273 and 561 cover the lists, another test the service API's"
    ),
    723: "five citations ranked by the real model's vectors; the same question is asked of the stand-in in another test",
}


class Way:
    """An installation, and the stages that it has been through."""

    def __init__(self) -> None:
        self.stack = Stack()
        self.steps = Steps(self.stack)
        self.found: dict[Stage, list[str]] = {}

    def to(self, stage: Stage) -> list[str]:
        """Go through the stages up to this one; returns what it found."""
        for each in STAGES[: STAGES.index(stage) + 1]:
            if each not in self.found:
                self.found[each] = ["the stage did not end"]
                self.found[each] = each(self.steps)
        return self.found[stage]


@pytest.fixture(scope="module")
def way() -> Iterator[Way]:
    way = Way()
    try:
        yield way
    finally:
        way.stack.close()


@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.__name__)
def test_a_stage_is_as_recorded(way: Way, stage: Stage) -> None:
    assert way.to(stage) == []


def test_the_model_server_was_asked_as_recorded(way: Way) -> None:
    """A probe of five tokens, one word to embed, the context as the system's message, a title for a conversation."""
    way.to(STAGES[-1])
    asked = way.stack.models.asked
    chats = [body for path, body in asked if path == "/api/chat"]
    ping = [{"role": "user", "content": "ping"}]
    assert {
        "model": "smollm2:135m",
        "stream": False,
        "options": {"num_predict": 5},
        "messages": ping,
    } in chats
    assert (
        "/api/embed",
        {"input": ["ping"], "model": "nope-embed", "options": {"use_mmap": True}},
    ) in asked
    question = "When was the Blue Heron lighthouse built?"
    answers = [body for body in chats if body["messages"][-1]["content"] == question]
    assert {"temperature": 0.1, "num_predict": 64} in [body["options"] for body in answers]
    assert any("built in 1874" in body["messages"][0]["content"] for body in answers)
    assert any(body["options"] == {"temperature": 1, "num_predict": 100} for body in chats)
    assert "/api/api/chat" in [path for path, _ in asked]


def test_a_vector_store_that_was_away_is_named(way: Way) -> None:
    """The text is weaviate's, where the recorded one is pgvector's."""
    way.to(STAGES[-1])
    errors = way.steps.call("GET", f"/console/api/datasets/{FAIL}/error-docs")["data"]
    assert [entry["error"] for entry in errors] == ["Vector database connection error"]


def test_every_recording_is_replayed_or_named(way: Way) -> None:
    way.to(STAGES[-1])
    recorded = {int(path.name[:3]) for path in exchanges.HERE.glob("dify-0.11.2*/*.json")}
    replayed = set(way.steps.replayed)
    for module in (test_dify_standin, test_dify_standin_weaviate):
        replayed.update(*module.REPLAYED.values())
    assert replayed | NOT_COVERED.keys() == recorded
    assert not replayed & NOT_COVERED.keys()
