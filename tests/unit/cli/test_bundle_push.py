"""What `bundle push` prints, and its exit codes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from difyfleet.cli import run
from difyfleet.fleet import each
from difyfleet.fleet.each import Outcome
from difyfleet.offline.push import Push
from tests.unit.offline.samples import PUBLIC_KEY, write

SENT = Push(2_000_000_000, 1_000_000_000, 1_000_000_000, 10.0, "ssh", ("image nginx:1.27.3",))
NOTHING = Push(2_000_000_000, 0, 0, 0.0, "")


@pytest.fixture
def push(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Run `bundle push` with given answers of the hosts."""
    monkeypatch.setenv("DIFYFLEET_STATE_DIR", str(tmp_path / "state"))
    inventory = tmp_path / "inv.yml"
    inventory.write_text("admin: {email: a@example.com}\nhosts: {a: 192.0.2.1, b: 192.0.2.2}\n")
    write(tmp_path / "prod")

    def pushed(answers: list[Outcome[Push]], *more: str, bundle: str = "prod") -> int:
        def on_each(hosts: Any, function: Any, *, lease: str, lock_wait: float) -> list[Outcome[Push]]:
            assert lease == "bundle push inv.yml"
            return answers

        monkeypatch.setattr(each, "on_each", on_each)
        return run(["bundle", "push", str(inventory), str(tmp_path / bundle), *more])

    return pushed


def test_each_host_has_its_line(push: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    assert push([Outcome("a", SENT), Outcome("b", NOTHING)]) == 0
    said = capsys.readouterr()
    assert said.out.splitlines() == [
        "a: 1.00 GB sent in 10 s (100 MB/s), has all 2.00 GB now",
        "b: has all 2.00 GB, nothing sent",
    ]
    assert "a: image nginx:1.27.3 is not in the bundle" in said.err


def test_one_failed_host_is_an_error_and_the_others_are_told(
    push: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert push([Outcome("a", SENT), Outcome("b", None, "the line broke")]) == 1
    said = capsys.readouterr()
    assert said.out.startswith("a: 1.00 GB sent")
    assert "b: the line broke" in said.err


def test_json(push: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    assert push([Outcome("a", SENT)], "--json") == 0
    result = json.loads(capsys.readouterr().out)
    assert result["verb"] == "bundle push"
    assert result["hosts"][0]["result"] == {
        "declared": 2_000_000_000,
        "lacked": 1_000_000_000,
        "sent": 1_000_000_000,
        "seconds": 10.0,
        "via": "ssh",
        "left_out": ["image nginx:1.27.3"],
    }


def test_no_bundle_no_host_is_asked(push: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    assert push([], bundle="nowhere.tar") == 1
    assert "there is no such bundle" in capsys.readouterr().err


def test_an_unsigned_bundle_where_a_key_is_given(
    push: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert push([], "--public-key", PUBLIC_KEY) == 5
    assert "sign" in capsys.readouterr().err
