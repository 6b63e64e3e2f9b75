"""RunResult: figures, exit codes, JSON, JUnit, hints that can be typed."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from difyfleet.exits import Exit
from difyfleet.fleet.results import CheckResult, HostResult, OperationResult, RunResult
from difyfleet.fleet.verbs import exit_code
from difyfleet.report import junit


def host(*states: str, checks: tuple[CheckResult, ...] = (), error: str | None = None) -> HostResult:
    operations = [OperationResult("docker", f"op {number}", state) for number, state in enumerate(states)]
    return HostResult("llm", operations, list(checks), error, changing_commands=3, exec_round_trips=7)


HOLDS = CheckResult("docker", "holds", True, "seen")
FAILS = CheckResult("docker", "fails", False, "seen", "difyfleet apply --role docker")
WARNS = CheckResult("docker", "warns", False, "seen", None, True)


@pytest.mark.parametrize(
    ("results", "code"),
    [
        ([host("unchanged")], Exit.OK),
        ([host("changed", checks=(HOLDS,))], Exit.OK),
        ([host("unchanged", checks=(WARNS,))], Exit.OK),
        ([host("would_change")], Exit.PENDING),
        ([host("changed", checks=(FAILS,))], Exit.CHECKS_FAILED),
        ([host("failed", "skipped")], Exit.ERROR),
        ([host("would_change"), host(error="cannot connect")], Exit.ERROR),
        ([host("failed", checks=(FAILS,))], Exit.ERROR),
    ],
)
def test_exit_codes(results: list[HostResult], code: Exit) -> None:
    assert exit_code(RunResult("plan", results)) == code


def test_summary_has_the_documented_keys_and_adds_up() -> None:
    result = RunResult(
        "apply", [host("changed", "unchanged", checks=(HOLDS, FAILS, WARNS)), host(error="gone")], 1.94
    )
    assert result.summary() == {
        "hosts": 2,
        "operations": 2,
        "changed": 1,
        "would_change": 0,
        "failed": 1,
        "changing_commands": 6,
        "exec_round_trips": 7,
        "checks_passed": 1,
        "checks_failed": 1,
        "seconds": 1.9,
    }
    assert result.to_json()["version"] == 1
    assert set(result.to_json()["hosts"][0]["operations"][0]) >= {"role", "name", "state", "diff", "seconds"}


def test_hints_name_the_inventory_once() -> None:
    result = RunResult(
        "verify", [host(checks=(CheckResult("a", "b", False, "c", "difyfleet apply --role docker"),))]
    )
    result.name_inventory("inventory/prod.yml")
    result.name_inventory("inventory/prod.yml")
    assert result.hosts[0].checks[0].hint == "difyfleet apply inventory/prod.yml --role docker"


def test_junit_tells_failures_errors_and_warnings_apart() -> None:
    text = junit.render(
        RunResult("verify", [host(checks=(HOLDS, FAILS, WARNS)), host(error="no <route>\nmore")])
    )
    suites = ElementTree.fromstring(text.split("\n", 1)[1]).findall("testsuite")
    assert [(s.get("tests"), s.get("failures"), s.get("errors")) for s in suites] == [
        ("3", "1", "0"),
        ("1", "0", "1"),
    ]
    assert suites[0].findall("testcase/skipped")[0].get("message") == "warning: seen"
