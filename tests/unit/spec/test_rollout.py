"""The section rollout: its errors, with their places."""

from __future__ import annotations

import pytest

from tests.unit.spec.conftest import Errors, Load

HEAD = "admin: {email: a@b.cd}\nhosts: {llm: 192.168.44.170}\n"


def test_defaults(inventory: Load) -> None:
    rollout = inventory(HEAD).rollout
    assert (rollout.waves, rollout.max_failures) == ([1, "25%", "100%"], 0)


def test_written(inventory: Load) -> None:
    rollout = inventory(HEAD + "rollout: {waves: [2, 50%, 100%], max_failures: 3}\n").rollout
    assert (rollout.waves, rollout.max_failures) == ([2, "50%", "100%"], 3)


@pytest.mark.parametrize(
    ("written", "error"),
    [
        ("{waves: [0, 100%]}", "inv.yml:3:19: rollout.waves[0]: should be at least 1, not the number 0"),
        (
            "{waves: [5%, 101%]}",
            "inv.yml:3:23: rollout.waves[1]: should be a number of hosts, or a share from 1% to 100%, not '101%'",
        ),
        (
            "{waves: [3, 2, 100%]}",
            "inv.yml:3:18: rollout.waves: each wave should be larger than the one before: they count all hosts done by then",
        ),
        (
            "{waves: [1, 50%]}",
            "inv.yml:3:18: rollout.waves: the last wave should be 100%, or hosts would be left out",
        ),
        (
            "{waves: []}",
            "inv.yml:3:18: rollout.waves: the last wave should be 100%, or hosts would be left out",
        ),
        (
            "{waves: [1.5, 100%]}",
            "inv.yml:3:19: rollout.waves[0]: should be a whole number or text, not the number 1.5",
        ),
        (
            "{max_failures: -1}",
            "inv.yml:3:25: rollout.max_failures: should be at least 0, not the number -1",
        ),
        ("{wave: [1]}", "inv.yml:3:11: rollout.wave: unknown key; did you mean waves?"),
    ],
)
def test_errors(errors: Errors, written: str, error: str) -> None:
    assert errors(f"{HEAD}rollout: {written}\n") == [error]


def test_it_is_nobodys_own(errors: Errors) -> None:
    assert errors("admin: {email: a@b.cd}\nhosts: {llm: {rollout: {}}}\n") == [
        "inv.yml:2:15: hosts.llm.rollout: concerns all hosts: move rollout to the top level of the file"
    ]
