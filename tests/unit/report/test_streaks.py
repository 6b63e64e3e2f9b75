"""Since when: which past runs lengthen a streak, which break it, and which say nothing."""

from __future__ import annotations

import pytest

from difyfleet.fleet.results import CHANGED, CORRECTIVE, INTENTIONAL, HostRecord, RoleRecord, RunRecord
from difyfleet.fleet.streaks import CHECKS, DRIFT, ERROR, Since, Streaks
from difyfleet.report.html import marks
from difyfleet.secrets import Secret

DRIFTED = RoleRecord("docker", "drift", CORRECTIVE, ("service: stopped",))
OTHER = RoleRecord("docker", "drift", CORRECTIVE, ("service of another: stopped",))
CLEAN = RoleRecord("docker", "clean")
MENDED = RoleRecord("docker", "changed", CORRECTIVE, ("service: stopped",))
BROKEN = RoleRecord("docker", "failed", None, ("engine: no space left",))
UNWELL = RoleRecord("docker", "failed", None, (), ("service: dead",))
BOTH = RoleRecord("docker", "drift", CORRECTIVE, ("service: stopped",), ("service: dead",))


def run(at: int, role: RoleRecord | None, verb: str = "drift", error: str | None = None) -> RunRecord:
    """A run at an hour of one day."""
    host = HostRecord("llm", (role,) if role else (), error)
    return RunRecord(verb, f"2026-11-24T{at:02}:00:00Z", "prod", 0, 1.0, (host,))


def since(
    what: str, *runs: RunRecord, title: str = "service", role: str = "docker"
) -> tuple[int, int] | None:
    """Hour of the first run, and number of runs."""
    found = Streaks(runs).since(what, "llm", role, title)
    assert found is None or isinstance(found, Since)
    return (int(found.at[11:13]), found.runs) if found else None


@pytest.mark.parametrize(
    ("runs", "expected"),
    [
        ([], None),
        ([run(1, DRIFTED), run(2, DRIFTED)], (1, 2)),
        ([run(1, DRIFTED), run(2, CLEAN), run(3, DRIFTED)], (3, 1)),
        ([run(1, DRIFTED), run(2, OTHER)], None),
        ([run(1, DRIFTED), run(2, MENDED, "apply"), run(3, DRIFTED)], (3, 1)),
        ([run(1, DRIFTED), run(2, MENDED, "apply")], None),
        ([run(1, DRIFTED), run(2, BROKEN, "apply"), run(3, DRIFTED)], (1, 2)),
        ([run(1, DRIFTED), run(2, UNWELL, "verify"), run(3, DRIFTED)], (1, 2)),
        ([run(1, DRIFTED), run(2, None, error="no route"), run(3, DRIFTED)], (1, 2)),
        ([run(1, DRIFTED), run(2, RoleRecord("dify", "clean")), run(3, DRIFTED)], (1, 2)),
        ([run(1, DRIFTED), run(2, UNWELL)], None),
    ],
    ids=lambda value: "-".join(f"{each.verb}" for each in value) if isinstance(value, list) else str(value),
)
def test_a_change_that_is_pending(runs: list[RunRecord], expected: tuple[int, int] | None) -> None:
    assert since(DRIFT, *runs) == expected


def test_a_failed_check() -> None:
    assert since(CHECKS, run(1, UNWELL, "verify"), run(2, DRIFTED, "plan"), run(3, BOTH)) == (1, 2)
    assert since(CHECKS, run(1, UNWELL), run(2, CLEAN, "verify")) is None


def test_a_failed_operation_and_a_host_that_is_gone() -> None:
    assert since(ERROR, run(1, BROKEN, "apply"), run(2, BROKEN), title="engine") == (1, 2)
    assert since(ERROR, run(1, BROKEN), run(2, DRIFTED), title="engine") is None
    assert since(ERROR, run(1, None, error="x"), run(2, None, error="y"), role="") == (1, 2)
    assert since(ERROR, run(1, None, error="x"), run(2, CLEAN), role="") is None


def test_changes_of_this_run_and_warnings_have_no_past() -> None:
    assert not {CHANGED, marks.WARNING} & marks.ASKED.keys()


def test_names_are_compared_as_the_history_keeps_them() -> None:
    Secret("canary-77")
    kept = RoleRecord("docker", "drift", CORRECTIVE, ("key ******** of x: gone",))
    assert since(CORRECTIVE, run(1, kept), title="key  canary-77\nof x") == (1, 1)


@pytest.mark.parametrize(
    ("roles", "error", "mark"),
    [
        ([CLEAN], None, marks.CLEAN),
        ([CLEAN, DRIFTED], None, CORRECTIVE),
        ([DRIFTED, RoleRecord("dify", "drift", INTENTIONAL)], None, marks.MIXED),
        ([RoleRecord("dify", "drift")], None, marks.PENDING),
        ([MENDED], None, CHANGED),
        ([UNWELL, DRIFTED], None, CHECKS),
        ([BOTH], None, CHECKS),
        ([BROKEN, UNWELL], None, ERROR),
        ([RoleRecord("dify", "failed")], None, marks.UNREACHED),
        ([], None, marks.UNREACHED),
        ([CLEAN], "no route", ERROR),
    ],
)
def test_the_mark_of_a_past_run(roles: list[RoleRecord], error: str | None, mark: str) -> None:
    assert marks.of_record(HostRecord("llm", tuple(roles), error)) == mark
