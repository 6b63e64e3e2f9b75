"""The stand-in's apps, configurations, keys and DSL, as the real Dify 0.11.2 answered when it was recorded."""

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
    """Models, defaults and knowledge bases are there."""
    api = stack.whole()
    assert api.replay(61, 62, 64, 68, 75, *range(113, 117)) == []
    return api


def test_apps_configurations_and_keys(api: Api) -> None:
    assert api.replay(*range(90, 107)) == []
    assert api.replay(*range(190, 209)) == []
