"""The drift matrix's table: complete, without doubles, and its words fit to prove something. On a host: tests/lab/test_drift_matrix.py."""

from __future__ import annotations

import re
from pathlib import Path

from tests.lab.drift_matrix import ELSEWHERE, REFUSED, ROUNDS, ROWS, UNMANAGED
from tests.unit.test_house import ROOT

ROLES = {path.stem for path in (ROOT / "roles").glob("[a-z]*.py")} - {"preflight"}  # which changes nothing


def test_every_role_is_covered_and_no_row_is_there_twice() -> None:
    assert len(ROWS) >= 120
    assert {row.role for row in ROWS} == ROLES
    assert len({row.id for row in ROWS}) == len(ROWS)
    assert len(ROUNDS) <= 6


def test_every_row_names_what_is_found_and_what_is_wanted_or_says_why_not() -> None:
    assert [row.id for row in ROWS if not row.old] == []
    assert [row.id for row in ROWS if not row.new and not row.why] == []


def test_what_is_not_in_the_table_has_its_reason_or_its_own_test() -> None:
    named = {*REFUSED.values(), *ELSEWHERE.values()}
    tests = "\n".join(path.read_text() for path in Path(ROOT / "tests").rglob("test_*.py"))
    assert sorted(named - set(re.findall(r"def (test_\w+)\(", tests))) == []
    assert all(len(reason) > 3 for reason in UNMANAGED.values())
