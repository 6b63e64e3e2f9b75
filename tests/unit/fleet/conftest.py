from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.unit.fleet.sandbox import Sandbox, sandbox


@pytest.fixture(autouse=True)
def _own_state_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Journals and keys of these tests stay among themselves."""
    monkeypatch.setenv("DIFYFLEET_STATE_DIR", str(tmp_path / "state"))


@pytest.fixture
def make_sandbox(tmp_path: Path) -> Iterator[Callable[..., Sandbox]]:
    """`make_sandbox(role, ...)`: every run from then on ends up in folders."""
    opened = []

    def make(*roles: object) -> Sandbox:
        folder = tmp_path / "hosts"
        folder.mkdir()
        context = sandbox(folder, *roles)
        opened.append(context)
        return context.__enter__()

    yield make
    for context in opened:
        context.__exit__(None, None, None)
