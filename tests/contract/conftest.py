"""The recorded server of a test that is marked with `replays`."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.contract.dify_replay import Replay


@pytest.fixture
def server(request: pytest.FixtureRequest) -> Iterator[Replay]:
    """Plays the exchanges of the test's `replays` marks; all of them must have been asked for."""
    replay = Replay(*getattr(request.function, "exchanges", ()))
    yield replay
    assert not replay.todo, f"never asked for: {[step['name'] for step in replay.todo]}"
