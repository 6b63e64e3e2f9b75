"""remote.hot_spots: the same answers with less work, and hands off a pyinfra that is another one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, get_type_hints

import pyinfra.api.arguments
import pyinfra.api.facts
import pytest

from difyfleet.remote import hot_spots


def original() -> list[tuple[str, type]]:
    """As in pyinfra 3.10.0."""
    return list(pyinfra.api.arguments.get_type_hints(pyinfra.api.arguments.AllArguments).items())


def changing() -> list[object]:
    return [object()]


@pytest.fixture
def stock(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """pyinfra as it is without us."""
    for module in (pyinfra.api.arguments, pyinfra.api.facts):
        monkeypatch.setattr(module, "all_global_arguments", original)
    return original


def test_this_pyinfra_is_known() -> None:
    assert hot_spots.install()


def test_the_answers_are_the_same_and_hints_are_evaluated_no_more(
    stock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert hot_spots.install()
    assert hot_spots.install()
    monkeypatch.setattr(pyinfra.api.arguments, "get_type_hints", None)
    for module in (pyinfra.api.arguments, pyinfra.api.facts):
        found = module.all_global_arguments()
        assert found == list(get_type_hints(pyinfra.api.arguments.AllArguments).items())
        found.clear()
        assert module.all_global_arguments(), "each caller has a list of its own"


@pytest.mark.parametrize("other", ["version", "parameters", "use", "absent", "answers"])
def test_another_pyinfra_is_left_alone(stock: Any, other: str, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = pyinfra.api.arguments
    if other == "version":
        monkeypatch.setattr(hot_spots, "KNOWN", ("3.9.9",))
    elif other == "parameters":
        monkeypatch.setattr(arguments, "all_global_arguments", lambda state: [])
    elif other == "use":
        monkeypatch.setattr(pyinfra.api.facts, "all_global_arguments", lambda: [])
    elif other == "absent":
        monkeypatch.delattr(arguments, "all_global_arguments")
    else:
        for module in (arguments, pyinfra.api.facts):
            monkeypatch.setattr(module, "all_global_arguments", changing)
    before = getattr(arguments, "all_global_arguments", None), pyinfra.api.facts.all_global_arguments
    assert not hot_spots.install()
    assert (
        getattr(arguments, "all_global_arguments", None),
        pyinfra.api.facts.all_global_arguments,
    ) == before
