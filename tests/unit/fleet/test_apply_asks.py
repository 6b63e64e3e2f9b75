"""`apply` at a terminal: what it asks, and what a host that cannot be reached means for the others."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import click
import pytest

from difyfleet.cli import run
from difyfleet.exits import Exit
from difyfleet.operations import files
from difyfleet.spec.models import HostSpec
from tests.unit.fleet.sandbox import Sandbox, role


def converge(spec: HostSpec) -> None:
    files.put("/opt/name", spec.name, name="name")


@pytest.fixture
def box(make_sandbox: Callable[..., Sandbox]) -> Sandbox:
    return make_sandbox(role(converge))


@pytest.fixture
def apply(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[bool], tuple[int, list[str]]]:
    """`apply(answer)`: exit code and the questions that were asked."""
    path = tmp_path / "prod.yml"
    path.write_text(
        "admin: {email: ops@example.com}\nssh: {user: root}\nhosts: {one: 192.0.2.1, two: 192.0.2.2}\n"
    )
    asked: list[str] = []
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)

    def of(answer: bool) -> tuple[int, list[str]]:
        asked.clear()
        monkeypatch.setattr(click, "confirm", lambda text, **_: asked.append(text) or answer)
        return run(["apply", str(path)]), list(asked)

    return of


def test_no_means_nothing_is_changed(box: Sandbox, apply: Callable[..., object]) -> None:
    assert apply(False) == (Exit.PENDING, ["Apply this?"])
    assert not (box.host("one") / "opt/name").exists()


def test_yes_and_then_there_is_nothing_to_ask(box: Sandbox, apply: Callable[..., object]) -> None:
    assert apply(True) == (Exit.OK, ["Apply this?"])
    assert (box.host("two") / "opt/name").read_text() == "two"
    assert apply(True) == (Exit.OK, [])


def test_a_host_that_cannot_be_reached_does_not_stop_the_others(
    box: Sandbox, apply: Callable[..., object], capsys: pytest.CaptureFixture[str]
) -> None:
    box.unreachable.add("one")
    assert apply(True) == (Exit.ERROR, ["Apply this to the 1 of 2 hosts that could be planned?"])
    assert (box.host("two") / "opt/name").read_text() == "two"
    assert "apply: 1 failed on 1 of 2 hosts, 1 changed" in capsys.readouterr().err
