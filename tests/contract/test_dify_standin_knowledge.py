"""The stand-in's models, uploads, knowledge bases and documents, as the real Dify 0.11.2 answered when it was recorded."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.contract.standin import Api, Stack


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    stack = Stack()
    try:
        yield stack
    finally:
        stack.close()


@pytest.fixture(scope="module")
def api(stack: Stack) -> Api:
    """Owner, models and defaults are there."""
    api = stack.whole()
    assert api.replay(*range(41, 84)) == []
    return api


def test_models_are_really_called(api: Api, stack: Stack) -> None:
    probes = [body for path, body in stack.models.asked if path == "/api/chat"]
    assert {"num_predict": 5} in [probe["options"] for probe in probes]
    assert ("/api/embed", ["ping"]) in [(path, body.get("input")) for path, body in stack.models.asked]


def test_knowledge_bases_uploads_and_documents(api: Api) -> None:
    knowledge = [*range(110, 119), 120, 121, 702]
    uploads = range(125, 141)
    documents = [*range(141, 148), *range(149, 161), *range(162, 168)]
    searches = [170, 171, 172, 173, 175, 176, 177, 178]
    assert api.replay(*knowledge, *uploads, *documents, *searches) == []
