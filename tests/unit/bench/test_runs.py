"""The delay line keeps order and distance; a run is measured, ended and cleaned up."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, cast

import pytest

from bench import measure
from bench.contenders import Contender
from bench.line import Direction
from bench.measure import Run, RunFailed
from bench.pairs import rounds
from bench.watch import Seen


def test_frames_leave_late_and_in_order() -> None:
    sent: list[bytes] = []
    line = Direction(0.01, sent.append)
    assert line.next_due() is None
    line.take(b"one", 1.000)
    line.take(b"two", 1.004)
    assert line.next_due() == pytest.approx(1.010)
    line.release(1.009)
    assert sent == []
    line.release(1.0101)
    assert sent == [b"one"]
    line.release(2.0)
    assert sent == [b"one", b"two"]
    assert line.next_due() is None


def python(script: str) -> list[str]:
    return [sys.executable, "-I", "-c", script]


def test_a_run_has_its_own_memory_and_processor_time(tmp_path: Path) -> None:
    """64 MiB and a child's work are seen; a small program does not look as large as the one that measures."""
    ballast = bytearray(128 << 20)
    work = "import subprocess, sys; b = bytearray(64 << 20); subprocess.run([sys.executable, '-c', 'sum(range(5_000_000))'])"
    taken, _ = measure.run(python(work), cwd=tmp_path)
    small, output = measure.run(python("print('done')"), cwd=tmp_path)
    assert len(ballast) == 128 << 20
    assert 64 < taken.peak < 128
    assert small.peak < 64
    assert taken.cpu > small.cpu
    assert output == "done\n"


def test_a_run_that_fails_is_no_figure(tmp_path: Path) -> None:
    with pytest.raises(RunFailed, match="ended with 3:\nwhy"):
        measure.run(python("import sys; print('why', file=sys.stderr); sys.exit(3)"), cwd=tmp_path)
    taken, _ = measure.run(python("import sys; sys.exit(2)"), cwd=tmp_path, codes=(0, 2))
    assert taken.wall > 0
    with pytest.raises(RunFailed, match="ended with 127"):
        measure.run(["/no/such/program"], cwd=tmp_path)


def test_a_run_that_hangs_is_ended(tmp_path: Path) -> None:
    with pytest.raises(RunFailed, match="did not end within 1 s"):
        measure.run(python("import time; time.sleep(60)"), cwd=tmp_path, timeout=1)


class NoWatch:
    """Nobody counts."""

    def mark(self) -> None: ...

    def since(self, mark: None) -> Seen:
        return Seen(1, 1, 0.1)


class Here:
    """The controller is this machine."""

    def argv(self, command: list[str]) -> list[str]:
        return command


def contender(name: str, script: str, **more: bool) -> Contender:
    def unchanged(output: str, hosts: int) -> None:
        if output:
            raise RunFailed(output)

    return Contender(name, python(script), unchanged, **more)


def taken(*contenders: Contender, pairs: int = 2) -> dict[str, list[Run]]:
    return rounds(contenders, 1, pairs, cast(Any, Here()), cast(Any, NoWatch()))


def test_who_learns_runs_twice_more_than_is_counted(tmp_path: Path) -> None:
    note = f"open({str(tmp_path / 'runs')!r}, 'a').write('x')"
    found = taken(contender("ours", note, learns=True), contender("theirs", "pass"))
    assert (tmp_path / "runs").read_text() == "xxxx"
    assert {name: len(runs) for name, runs in found.items()} == {"ours": 2, "theirs": 2}


def test_who_finds_something_to_do_is_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    found = taken(contender("ours", "pass"), contender("theirs", "print('a change')"))
    assert list(found) == ["ours"]
    assert "theirs: left out: a change" in capsys.readouterr().err


def test_without_ours_there_is_no_row() -> None:
    with pytest.raises(RunFailed, match="a change"):
        taken(contender("ours", "print('a change')"), contender("theirs", "pass"))
