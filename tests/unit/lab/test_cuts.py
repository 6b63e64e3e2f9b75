"""Cutting runs: where, in which order, and what a run that was cut owes."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.lab import cuts
from tests.lab.conftest import LabHost
from tests.lab.torture import Calm, Passage, figures

SCRIPT = """
import json, os, sys, time
folder, done = sys.argv[1:3]
with open(f"{folder}/20260101T000000-{os.getpid()}.jsonl", "w", buffering=1) as journal:
    for what in ("read x", "write a", "write a", "write b"):
        kind = what.split()[0].replace("write", "change")
        journal.write(json.dumps({"kind": kind, "via": "exec", "what": what, "operation": "op"}) + "\\n")
        if kind == "change":
            time.sleep(0.05)
            with open(done, "a") as out:
                out.write(what + "\\n")
"""


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LabHost:
    """A host whose apply is a script with three changes."""
    (tmp_path / "state" / "journal").mkdir(parents=True)

    def start(host: LabHost) -> cuts.Run:
        (tmp_path / "told.txt").touch()
        argv = [sys.executable, "-c", SCRIPT, str(host.state / "journal"), str(tmp_path / "done")]
        return cuts.Run(subprocess.Popen(argv, text=True), host.state / "journal", tmp_path / "told.txt")

    monkeypatch.setattr(cuts, "start", start)
    monkeypatch.setattr(cuts, "lock_free", lambda host, since: 0.5)
    monkeypatch.setattr(cuts, "LATEST", 0.01)
    return LabHost("t", tmp_path, tmp_path / "state")


def killed(point: cuts.Point, entry: Mapping[str, Any]) -> tuple[str, cuts.Sever]:
    return "kill", cuts.kill


def test_every_change_is_cut_once_and_then_a_run_goes_through(host: LabHost) -> None:
    walk = cuts.walk(host, killed, seed=1)
    assert [cut.what for cut in walk.cuts] == ["write a", "write a", "write b"]
    assert (walk.runs, walk.failed, walk.faults) == (4, [], [])
    done = (host.folder / "done").read_text().splitlines()
    assert done[-3:] == ["write a", "write a", "write b"]
    assert len(done) < 12  # cuts did keep commands from ending


def test_the_same_seed_cuts_at_the_same_moments(host: LabHost) -> None:
    one, two = (cuts.walk(host, killed, seed=3) for _ in range(2))
    assert [cut.after for cut in one.cuts] == [cut.after for cut in two.cuts]
    assert len({cut.after for cut in one.cuts}) > 1


def test_a_lease_that_stays_held_is_a_fault(host: LabHost, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuts, "lock_free", lambda host, since: None)
    walk = cuts.walk(
        host, lambda point, entry: killed(point, entry) if entry["what"] == "write b" else None, 1
    )
    assert walk.faults == ["kill at write b: the lease was not free within 30 s"]


def test_a_run_that_fails_by_itself_is_told(host: LabHost, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules[__name__], "SCRIPT", SCRIPT + "\nsys.exit(1)")
    (host.folder / "told.txt").write_text("llm: broken")
    with pytest.raises(AssertionError, match="run 1 failed by itself: llm: broken"):
        cuts.walk(host, lambda point, entry: None, 1)


def test_points_know_the_same_change_again() -> None:
    def point(what: str, before: int = 0) -> cuts.Point:
        entries = [{"via": "http", "what": what, "operation": None}] * (before + 1)
        return list(cuts.points(iter(entries)))[-1][0]

    one = point("PATCH /datasets/ebc28ab0-986f-4c8c-a7c4-d33241d7072c")
    assert one == point("PATCH /datasets/11111111-986f-4c8c-a7c4-d33241d7072c")
    assert one != point("PATCH /datasets/ebc28ab0-986f-4c8c-a7c4-d33241d7072c", 1)
    assert one != point("PATCH /apps/ebc28ab0-986f-4c8c-a7c4-d33241d7072c")
    assert point("docker rm -f 4d46a64588c8") == point("docker rm -f ffff64588c8b0f94")


GOOD = "llm: error\n    llm: the SSH connection was lost\n      next: run the same command again"


@pytest.mark.parametrize(
    ("code", "told", "faults"),
    [
        (1, GOOD, []),
        (None, GOOD, ["it did not end within 90 s"]),
        (0, GOOD, ["exit code 0"]),
        (1, GOOD.replace("llm", "it"), ["no word of the host"]),
        (1, "llm: failed\n next: wait", ["no word of the connection: llm: failed\n next: wait"]),
        (1, "llm: connection lost", ["no word of what to type: llm: connection lost"]),
        (1, f"{GOOD} Traceback", [f"a traceback: {GOOD} Traceback"]),
    ],
)
def test_what_a_run_owes_whose_connection_was_cut(code: int | None, told: str, faults: list[str]) -> None:
    assert cuts.broken_promises("llm", code, told) == faults


def test_the_figures_of_the_page() -> None:
    def walk(*operations: str) -> cuts.Walk:
        made = [cuts.Cut("sshd", [], name, "x", 0.1, 1, 2.0, 0.25) for name in operations]
        return cuts.Walk(made, [], len(made) + 1, 60.0)

    passages = [
        Passage("kill", walk(".env", ".env", "unit"), set(), [], {"upload_files": 9}),
        Passage("net", walk("unit"), {("unit", "exec", "x")}, ["x: missing"], {"upload_files": 10}),
    ]
    text = figures(
        passages, Calm([("unit", "exec", "x")], {"database": {"residue": {"upload_files": 8}}}), 7, 120
    )
    assert "| cuts | 3 | 1 |" in text
    assert "| different changes that no cut met | 0 | 1 |" in text
    assert "| differences from an undisturbed host | 0 | 1 |" in text
    assert "| .env | 2 | 0 |\n| unit | 1 | 1 |" in text
    assert "(an undisturbed host: 8 upload_files):\n- controller killed: 9 upload_files" in text
    assert json.dumps(text)
