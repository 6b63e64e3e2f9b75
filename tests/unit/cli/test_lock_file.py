"""lock INVENTORY: the file it writes, what it prints, its exit codes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from difyfleet.cli import lock_file as cli_lock_file
from difyfleet.cli import run as command
from difyfleet.fleet import lock_file
from difyfleet.fleet.lock_file import Locking, Move
from difyfleet.spec.lock import Lock, LockedImage
from difyfleet.spec.pins import GROUPS

ONE, TWO = "sha256:" + "a" * 64, "sha256:" + "b" * 64
WEBUI = "ghcr.io/open-webui/open-webui:0.4.7"
LOCK = Lock.of(
    {("image", WEBUI): LockedImage(digest=ONE, id=TWO), ("engine", "28.5.2"): TWO, ("compose", "2.40.3"): ONE}
)
MOVES = (Move("image", WEBUI, None, "b" * 12, "llm"), Move("image", "old:1", "a" * 12, None))


@pytest.fixture
def inventory(tmp_path: Path) -> Path:
    path = tmp_path / "inv.yml"
    path.write_text(
        "admin: {email: a@b.cd}\nhosts: {llm: 10.9.9.1, two: 10.9.9.2}\ndify: {enabled: false}\nollama: {enabled: false}\n"
        f"docker: {{bundle: {{compose_sha256: {'a' * 64}}}}}\n"
    )
    return path


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What lock_file.make was called with; it answers LOCK."""
    calls: list[dict[str, Any]] = []

    def make(fleet: Any, chosen: Any, previous: Lock | None, **options: Any) -> Locking:
        calls.append({"chosen": [spec.name for spec in chosen], "previous": previous, **options})
        return Locking(LOCK, MOVES if previous is None else ())

    monkeypatch.setattr(lock_file, "make", make)
    return calls


@pytest.mark.parametrize("words", [["lock"], ["lock", "file"]])
def test_it_writes_the_file_and_says_what_is_new(
    inventory: Path, asked: list[dict[str, Any]], words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert command([*words, str(inventory)]) == 0
    path = inventory.with_name("inv.lock.yml")
    assert capsys.readouterr() == (
        f"image {WEBUI}: {'b' * 12} from llm\nimage old:1: dropped, no host declares it\n",
        f"{path}: 3 entries, 2 changed\n",
    )
    assert path.stat().st_mode & 0o777 == 0o644
    assert asked == [{"chosen": ["llm", "two"], "previous": None, "update": frozenset(), "installed": False}]
    assert command(["validate", str(inventory)]) == 0


def test_again_it_does_not_touch_the_file(
    inventory: Path, asked: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(["lock", str(inventory)]) == 0
    path = inventory.with_name("inv.lock.yml")
    before = path.stat()
    assert command(["lock", str(inventory), "--limit", "llm"]) == 0
    assert (path.stat().st_mtime_ns, path.stat().st_ino) == (before.st_mtime_ns, before.st_ino)
    assert asked[1]["previous"] == LOCK
    assert asked[1]["chosen"] == ["llm"]
    assert "3 entries, nothing changed" in capsys.readouterr().err


def test_options(inventory: Path, asked: list[dict[str, Any]]) -> None:
    assert command(["lock", "--update", "models", "--update", "docker", str(inventory)]) == 0
    assert command(["lock", str(inventory), "--update", "all", "--installed"]) == 0
    assert [call["update"] for call in asked] == [
        {"models", "docker"},
        {"ollama", "dify", "openwebui", "models", "docker"},
    ]
    assert asked[1]["installed"] is True
    assert command(["lock", str(inventory), "--update", "nginx"]) == 64


def test_where_something_is_not_found_out_nothing_is_written(
    inventory: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(lock_file, "make", lambda *_, **__: Locking(None, problems=("two: cannot connect",)))
    path = inventory.with_name("inv.lock.yml")
    assert command(["lock", str(inventory)]) == 1
    assert capsys.readouterr().err == f"error two: cannot connect\n{path} was not written\n"
    assert not path.exists()
    assert command(["lock", str(inventory), "--json"]) == 1
    assert json.loads(capsys.readouterr().out) == {
        "version": 1,
        "verb": "lock",
        "file": None,
        "entries": 0,
        "moves": [],
        "problems": ["two: cannot connect"],
    }


@pytest.mark.usefixtures("asked")
def test_json(inventory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(["lock", str(inventory), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["entries"] == 3
    assert found["moves"][0] == {
        "kind": "image",
        "name": WEBUI,
        "old": None,
        "new": "b" * 12,
        "source": "llm",
    }


@pytest.mark.usefixtures("asked")
def test_a_stale_lock_file_stops_what_builds_on_it_and_not_the_rest(
    inventory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(["lock", str(inventory)]) == 0
    inventory.write_text(
        inventory.read_text() + "openwebui: {image: 'ghcr.io/open-webui/open-webui:0.4.8'}\n"
    )
    capsys.readouterr()
    for verb in (["validate"], ["plan"], ["apply", "--yes"], ["verify"], ["drift"]):
        assert command([*verb, str(inventory)]) == 64
        assert capsys.readouterr().err == (
            f"{inventory}:6:20: openwebui.image: image ghcr.io/open-webui/open-webui:0.4.8 is not in the lock file; "
            f"run: difyfleet lock {inventory}\n"
        )
    assert command(["history", str(inventory)]) == 0
    assert command(["lock", str(inventory)]) == 0


def test_a_broken_lock_file_is_not_written_over(inventory: Path, asked: list[dict[str, Any]]) -> None:
    path = inventory.with_name("inv.lock.yml")
    path.write_text("version: 2\n")
    assert command(["lock", str(inventory)]) == 64
    assert path.read_text() == "version: 2\n"
    assert asked == []


def test_the_groups_that_can_be_updated() -> None:
    assert cli_lock_file._GROUPS == GROUPS


def test_a_misspelt_command_is_no_inventory(capsys: pytest.CaptureFixture[str]) -> None:
    assert command(["lock", "shwo", "inv.yml"]) == 64
    assert "No such command 'shwo'" in capsys.readouterr().err
