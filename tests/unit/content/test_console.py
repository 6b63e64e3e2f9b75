"""The way into Dify: how long it is waited for."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from difyfleet.clients.dify import errors as refused
from difyfleet.content import console
from difyfleet.remote.changes import about_to_change
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


def test_a_dify_with_an_admin_is_asked_again_after_a_change_and_after_a_while(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In a plan of the whole stack seven operations ask. A change, of the database's folder say, may undo what was found."""
    finished = [False, True, True, False]

    def answer(seconds: float = 0.0) -> Any:
        return SimpleNamespace(finished=finished.pop(0))

    monkeypatch.setattr(
        console, "client", lambda on, spec: SimpleNamespace(setup=SimpleNamespace(wait=answer, status=answer))
    )
    with fake_host({}) as host:
        ask = lambda: console.set_up(host, None)  # type: ignore[arg-type]  # noqa: E731
        host.connector = door = SimpleNamespace()
        assert [ask(), ask(), ask()] == [False, True, True], "only a yes is kept"
        assert len(finished) == 2
        about_to_change(door)
        assert [ask(), ask()] == [True, True]
        monkeypatch.setattr(console, "_KNOWN_FOR", 0.0)
        assert ask() is False
    assert finished == []
