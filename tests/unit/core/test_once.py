"""once: equal arguments are answered once, and no others are taken for equal."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from difyfleet.once import once
from difyfleet.secrets import Secret
from difyfleet.spec.models import Ollama


@dataclass(frozen=True)
class Made:
    values: dict[str, str] = field(default_factory=dict)


def asked(*calls: tuple[Any, ...]) -> int:
    """How often the function runs for these calls."""
    seen = []

    @once(16)
    def function(*args: Any, **kwargs: Any) -> int:
        seen.append(args)
        return len(seen)

    answers = [function(*args, more=args) for args in calls]
    assert answers[: len(set(answers))] == sorted(set(answers))
    return len(seen)


SECTION, OTHER, MADE = Ollama(), Ollama(), Made({"a": "b"})


@pytest.mark.parametrize(
    "value", ["text", 3, None, Secret("a-secret"), SECTION, MADE, (1, [2]), {"a": {"b": [SECTION]}}]
)
def test_equal_arguments_are_answered_once(value: Any) -> None:
    assert asked((value,), (value,)) == 1


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (1, True),
        (0, False),
        (1, 1.0),
        ("1", 1),
        (Secret("canary-of-once-0"), "canary-of-once-0"),
        (Secret("canary-of-once-1"), Secret("canary-of-once-2")),
        (SECTION, OTHER),
        (MADE, Made({"a": "b"})),
        ([1], (1,)),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
        ({"a": 1}, (("a", 1),)),
        ([1, [2]], [1, 2]),
    ],
)
def test_others_are_not_taken_for_equal(one: Any, other: Any) -> None:
    assert asked((one,), (other,), (one,)) == 2


@pytest.mark.parametrize("value", [Path("x"), object(), {1}, print])
def test_what_cannot_be_told_by_its_content_is_asked_each_time(value: Any) -> None:
    assert asked((value,), (value,)) == 2


def test_an_error_is_not_kept() -> None:
    tries = []

    @once(4)
    def function(value: int) -> int:
        tries.append(value)
        if len(tries) == 1:
            raise ValueError("once")
        return value

    with pytest.raises(ValueError, match="once"):
        function(1)
    assert [function(1), function(1), len(tries)] == [1, 1, 2]
