"""The way into Dify: how long it is waited for."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from difyfleet.clients.dify import errors as refused
from difyfleet.content import console
from tests.unit.fakehost import fake_host


def test_a_dify_that_is_down_is_waited_for_once_per_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four roles' checks ask; without this a drift run over a stopped Dify took 120 s for each of their questions."""
    asked: list[float] = []

    def down(seconds: float = 0.0) -> Any:
        asked.append(seconds)
        raise refused.NoAnswer("connection refused")

    monkeypatch.setattr(
        console, "client", lambda on, spec: SimpleNamespace(setup=SimpleNamespace(wait=down, status=down))
    )
    with fake_host({}) as host:
        found = [console.set_up(host, None, wait=wait) for wait in (0.0, 120.0, 120.0, 0.0, 120.0)]  # type: ignore[arg-type]
    assert found == [None] * 5
    assert asked == [0.0, 120.0, 0.0, 0.0, 0.0]
