"""The build cache: what changes a key, what does not, and that a folder that exists is complete."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from lab import cache


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIFYFLEET_LAB_CACHE", str(tmp_path / "cache"))


def test_key_follows_content_not_place(tmp_path: Path) -> None:
    one, other = tmp_path / "a" / "script.sh", tmp_path / "b" / "script.sh"
    for path in (one, other):
        path.parent.mkdir()
        path.write_text("echo 1\n")
    assert cache.key("step", [one]) == cache.key("step", [other])
    other.write_text("echo 2\n")
    assert cache.key("step", [one]) != cache.key("step", [other])


def test_key_sees_names_modes_and_depth_of_a_folder(tmp_path: Path) -> None:
    folder = tmp_path / "overlay"
    (folder / "etc").mkdir(parents=True)
    file = folder / "etc" / "profile"
    file.write_text("umask 0077\n")
    before = cache.key("step", [folder])
    file.chmod(0o755)
    executable = cache.key("step", [folder])
    file.rename(folder / "profile")
    assert len({before, executable, cache.key("step", [folder])}) == 3


def test_key_ignores_compiled_python(tmp_path: Path) -> None:
    folder = tmp_path / "context"
    folder.mkdir()
    before = cache.key("step", [folder])
    (folder / "__pycache__").mkdir()
    (folder / "__pycache__" / "x.pyc").write_bytes(b"x")
    assert cache.key("step", [folder]) == before


def test_key_follows_what_the_script_does_not_how_it_is_written(tmp_path: Path) -> None:
    script = tmp_path / "build.py"
    script.write_text("SIZE = 40\n")
    before = cache.key("step", [], script)
    script.write_text("# forty\nSIZE = (\n    40\n)\n")
    assert cache.key("step", [], script) == before
    script.write_text("SIZE = 41\n")
    assert cache.key("step", [], script) != before


@pytest.mark.parametrize(
    ("left", "right"), [(["ab", "c"], ["a", "bc"]), (["a"], [b"a"]), (["a", "b"], ["b", "a"]), ([], [""])]
)
def test_key_keeps_items_apart(left: list[cache.Input], right: list[cache.Input]) -> None:
    assert cache.key("step", left) != cache.key("step", right)


def test_missing_input_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"step rootfs: input .*nowhere"):
        cache.key("rootfs", [tmp_path / "nowhere"])


def test_step_builds_once() -> None:
    built: list[Path] = []

    def build(folder: Path) -> None:
        built.append(folder)
        (folder / "result").write_text("x")

    first = cache.step("thing", ["1"], build)
    assert cache.step("thing", ["1"], build) == first
    assert len(built) == 1
    assert (first / "result").read_text() == "x"
    assert cache.step("thing", ["2"], build) != first


def test_failed_build_leaves_nothing_and_is_tried_again() -> None:
    def fail(folder: Path) -> None:
        (folder / "half").write_text("x")
        raise RuntimeError("no space")

    with pytest.raises(RuntimeError, match="no space"):
        cache.step("thing", ["1"], fail)
    assert [path.name for path in cache.root().iterdir() if not path.name.endswith(".lock")] == []
    done = cache.step("thing", ["1"], lambda folder: (folder / "whole").touch())
    assert [path.name for path in done.iterdir()] == ["whole"]


def test_two_builders_of_one_step_build_once() -> None:
    started, built = threading.Barrier(2), []

    def build(folder: Path) -> None:
        built.append(folder)

    def run() -> None:
        started.wait(5)
        cache.step("thing", ["1"], build)

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert len(built) == 1
