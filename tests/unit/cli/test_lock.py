"""lock show, lock release, --lock-wait: what they print, and their exit codes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from difyfleet.cli import run as command
from difyfleet.errors import Locked
from difyfleet.fleet import content_verbs, lock_verb, models_verb, verbs
from difyfleet.fleet.each import Outcome
from difyfleet.remote.lease import Holder
from difyfleet.spec.models import HostSpec

OPS = Holder("ops@desk", "apply inv.yml", "2026-11-24T10:00:00Z", "2026-11-24T10:00:25Z", "r1")
SHOWN = "ops@desk (apply inv.yml) since 2026-11-24T10:00:00Z, until 2026-11-24T10:00:25Z unless renewed"


@pytest.fixture
def inventory(tmp_path: Path) -> Path:
    path = tmp_path / "inv.yml"
    path.write_text("admin: {email: a@b.cd}\nhosts: {one: 10.9.9.1, two: 10.9.9.2, three: 10.9.9.3}\n")
    return path


@pytest.fixture
def ended(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Holder]]:
    """What was asked to be ended; one is held, two is free, three is down."""
    asked: list[dict[str, Holder]] = []
    down = Outcome[Holder]("three", None, "cannot connect")
    monkeypatch.setattr(
        lock_verb, "holders", lambda hosts: [Outcome("one", OPS), Outcome("two", None), down][: len(hosts)]
    )

    def release(hosts: tuple[HostSpec, ...], seen: dict[str, Holder]) -> list[Outcome[Holder]]:
        asked.append(seen)
        return [Outcome("one", None)]

    monkeypatch.setattr(lock_verb, "release", release)
    return asked


@pytest.mark.usefixtures("ended")
def test_show(inventory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(["lock", "show", str(inventory), "--limit", "one,two"]) == 0
    assert capsys.readouterr().out == f"one: held by {SHOWN}\ntwo: free\n"
    assert command(["lock", "show", str(inventory), "--json"]) == 1
    said = json.loads(capsys.readouterr().out)
    assert said["verb"] == "lock show"
    assert said["hosts"][0]["result"]["holder"]["owner"] == "ops@desk"
    assert said["hosts"][1] == {"name": "two", "result": {"held": False, "holder": None}, "error": None}
    assert said["hosts"][2] == {"name": "three", "result": None, "error": "cannot connect"}


def test_release_names_who_is_robbed(
    inventory: Path, ended: list[dict[str, Holder]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(["lock", "release", str(inventory), "--limit", "one,two"]) == 64
    assert "add --yes" in capsys.readouterr().err
    assert ended == []
    assert command(["lock", "release", str(inventory), "--limit", "one,two", "--yes"]) == 0
    said = capsys.readouterr()
    assert f"one: taking the lease from {SHOWN}" in said.err
    assert said.out == "one: free\ntwo: free\n"
    assert ended == [{"one": OPS}]


@pytest.mark.usefixtures("ended")
def test_release_of_what_somebody_else_has_taken_since(
    inventory: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    other = Holder("eve@desk", run="r2")
    monkeypatch.setattr(lock_verb, "release", lambda hosts, seen: [Outcome("one", other)])
    assert command(["lock", "release", str(inventory), "--limit", "one", "--yes"]) == 4
    assert "one: held by eve@desk" in capsys.readouterr().out


@pytest.mark.parametrize(
    "words",
    [
        ["apply", "INV", "--yes"],
        ["models", "pull", "INV", "m"],
        ["models", "rm", "INV", "m"],
        ["models", "stop", "INV", "m"],
        ["dify", "unlock", "INV"],
        ["dify", "reset-password", "INV"],
        ["dify", "import", "INV", "DSL"],
    ],
)
def test_a_locked_host_is_exit_4(
    inventory: Path, words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[tuple[str, float]] = []

    def locked(*_: Any, lock_wait: float, **options: Any) -> Any:
        asked.append((options.get("reason") or options["lease"], lock_wait))
        raise Locked("is being worked on by ops@desk", where="one", hint="wait for it")

    monkeypatch.setattr(verbs, "apply", locked)
    monkeypatch.setattr(models_verb, "on_each", locked)
    monkeypatch.setattr(content_verbs, "on_each", locked)
    (inventory.parent / "app.yml").write_text("app: {name: x}\n")
    places = {"INV": str(inventory), "DSL": str(inventory.parent / "app.yml")}
    assert command([*(places.get(word, word) for word in words), "--lock-wait", "7"]) == 4
    assert capsys.readouterr().err == "one: is being worked on by ops@desk\n  next: wait for it\n"
    assert asked == [(" ".join([*words[: words.index("INV")], "inv.yml"]), 7.0)]


@pytest.mark.parametrize(
    "words", [["models", "list", "INV"], ["dify", "export", "INV", "x"], ["pull", "INV"]]
)
def test_what_only_reads_takes_no_lease(
    inventory: Path, words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    leases: list[str | None] = []

    def on_each(hosts: Any, function: Any, *, lease: str | None = None, lock_wait: float = 0) -> Any:
        leases.append(lease)
        return []

    monkeypatch.setattr(models_verb, "on_each", on_each)
    monkeypatch.setattr(content_verbs, "on_each", on_each)
    words = [str(inventory) if word == "INV" else word for word in words]
    assert command([*words, "--limit", "one"]) in (0, 1)
    assert leases == [None]
