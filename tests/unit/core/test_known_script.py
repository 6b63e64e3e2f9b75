"""known_script: what programs said counts while the files are the same."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from difyfleet import known_script
from difyfleet.known_script import NotPlain, known, output, program, state_of


@pytest.fixture(autouse=True)
def _nothing_known(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    known_script.KNOWN.clear()
    known_script.NEWS.clear()
    monkeypatch.setattr(known_script, "RACY", -1000.0)
    yield
    known_script.KNOWN.clear()
    known_script.NEWS.clear()


def test_it_is_asked_again_when_the_file_is_another(tmp_path: Path) -> None:
    path, asked = tmp_path / "file", []

    def find() -> str:
        asked.append(path.read_text())
        return asked[-1]

    def ask() -> str:
        return known("name", lambda: state_of(str(path), "/nowhere"), find)

    path.write_text("one")
    assert [ask(), ask()] == ["one", "one"]
    assert list(known_script.NEWS) == ["name"]
    path.write_text("two")
    os.utime(path, ns=(1, 1))
    same_size_and_time = path.stat()
    assert ask() == "two"
    path.write_text("six")
    os.utime(path, ns=(1, 1))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (same_size_and_time.st_size, 1)
    assert ask() == "six"
    assert asked == ["one", "two", "six"]


def test_a_file_of_this_moment_is_never_relied_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known_script, "RACY", 2.0)
    path = tmp_path / "file"
    path.write_text("one")
    assert state_of(str(path)) is None
    assert known("name", lambda: state_of(str(path)), lambda: "found") == "found"
    assert known_script.KNOWN == {}
    monkeypatch.setattr(time, "time", lambda: path.stat().st_ctime + 3)
    assert state_of(str(path)) is not None


def test_what_changes_while_it_is_asked_is_not_kept() -> None:
    states = iter("ab")
    assert known("name", lambda: next(states), lambda: "found") == "found"
    assert known_script.KNOWN == {}


def test_the_output_of_a_program() -> None:
    assert output("sh", "-c", "echo $LC_ALL; echo no >&2; cat; exit 3") == (3, b"C\n")
    assert output("sh", "-c", "echo out; echo err >&2", errors=True) == (0, b"out\nerr\n")
    assert output("sh", "-c", "kill -9 $$") == (-1, b"")
    assert len(output("sh", "-c", "head -c 300000 /dev/zero")[1]) == 300000
    with pytest.raises(NotPlain):
        output("no-such-program")


def test_a_program_that_says_nothing_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known_script, "PATIENCE", 0.05)
    with pytest.raises(NotPlain):
        output("sleep", "60")


def test_where_a_program_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", f"/nowhere:{tmp_path}:/bin")
    (tmp_path / "sh").mkdir()
    (tmp_path / "tool").write_text("")
    assert (program("sh"), program("tool")) == ("/bin/sh", None)
    (tmp_path / "tool").chmod(0o755)
    assert program("tool") == f"{tmp_path}/tool"
