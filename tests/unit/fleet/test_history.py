"""The history: what is kept of a run, that it survives crashes and stays small, and since when something is so."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from difyfleet.fleet import history
from difyfleet.fleet.history import History, record_of
from difyfleet.fleet.results import (
    CORRECTIVE,
    INTENTIONAL,
    CheckResult,
    HostRecord,
    HostResult,
    OperationResult,
    RoleRecord,
    RunRecord,
    RunResult,
)
from difyfleet.fleet.streaks import DRIFT, Since, Streaks
from difyfleet.secrets import Secret
from difyfleet.spec import load
from difyfleet.spec.models import Environment


@pytest.fixture
def environment(tmp_path: Path) -> Environment:
    path = tmp_path / "prod.yml"
    path.write_text("admin: {email: a@b.cd}\nhosts: {llm: 10.0.0.1}\n")
    return load(path)


def of(role: str, state: str, name: str = "op", kind: str | None = None, why: str = "why") -> OperationResult:
    return OperationResult(role, name, state, kind=kind, why=[why])


def record(
    *operations: OperationResult, checks: tuple[CheckResult, ...] = (), verb: str = "drift"
) -> RunRecord:
    result = RunResult(verb, [HostResult("llm", list(operations), list(checks))])
    return record_of(result, "prod", 0, "2026-11-24T10:00:00Z")


def role_of(run: RunRecord, name: str) -> RoleRecord:
    (found,) = [role for role in run.hosts[0].roles if role.role == name]
    return found


FAILS = CheckResult("dify", "http: answers", False, "502")
WARNS = CheckResult("dify", "cpu: new", False, "old", warn_only=True)


def test_states_of_roles() -> None:
    run = record(
        of("docker", "unchanged"),
        of("images", "would_change", "a", CORRECTIVE, "tag moved"),
        of("images", "would_change", "b", INTENTIONAL),
        of("images", "unchanged", "c"),
        of("ollama", "changed", "d", CORRECTIVE),
        of("openwebui", "failed", "e"),
        of("openwebui", "skipped", "f"),
        checks=(FAILS, WARNS),
    )
    assert [role.role for role in run.hosts[0].roles] == ["docker", "images", "ollama", "openwebui", "dify"]
    assert role_of(run, "docker") == RoleRecord("docker", "clean")
    assert role_of(run, "images") == RoleRecord("images", "drift", "mixed", ("a: tag moved", "b: why"))
    assert role_of(run, "ollama") == RoleRecord("ollama", "changed", CORRECTIVE, ("d: why",))
    assert role_of(run, "openwebui").state == "failed"
    assert role_of(run, "dify") == RoleRecord("dify", "failed", None, (), ("http: answers: 502",))


def test_a_role_half_corrected_is_drifted_by_what_is_left() -> None:
    run = record(of("a", "changed", "done", CORRECTIVE), of("a", "would_change", "left", INTENTIONAL))
    assert role_of(run, "a") == RoleRecord("a", "drift", INTENTIONAL, ("left: why",))


def test_reasons_are_short_and_hold_no_secret() -> None:
    Secret("hunter22-history")
    run = record(
        *(of("a", "would_change", f"op{i}", why="x" * 1000) for i in range(50)),
        of("b", "would_change", why="hunter22-history\nis"),
    )
    changes = role_of(run, "a").changes
    assert len(changes) == 20
    assert max(map(len, changes)) == 300
    assert role_of(run, "b").changes == ("op: ******** is",)


def test_runs_come_back_as_they_were(environment: Environment) -> None:
    first = record(of("a", "would_change", kind=CORRECTIVE), checks=(FAILS,))
    gone = RunRecord(
        "apply", "2026-11-24T11:00:00Z", "prod", 1, 3.2, (HostRecord("llm", (), "cannot connect"),)
    )
    for each in (first, gone):
        History(environment).add(each)
    assert History(environment).runs() == [first, gone]


def test_no_file_no_runs(environment: Environment) -> None:
    assert History(environment).runs() == []


def file_of(tmp_path: Path) -> Path:
    (found,) = (tmp_path / "state" / "environments").glob("prod-*/history.jsonl")
    return found


@pytest.mark.parametrize(
    "torn", [b'{"verb":"drift","at":"2026', b"\x00\x00\xff", b'{"verb": 1}\n', b"[]\n", b'{"hosts": [3]}']
)
def test_a_torn_line_is_left_out_and_costs_no_other(
    environment: Environment, tmp_path: Path, torn: bytes
) -> None:
    run = record(of("a", "unchanged"))
    History(environment).add(run)
    with file_of(tmp_path).open("ab") as file:
        file.write(torn)
    assert History(environment).runs() == [run]
    History(environment).add(run)
    assert History(environment).runs() == [run, run]


def test_it_is_bounded_and_private(
    environment: Environment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history, "RUNS", 5)
    monkeypatch.setattr(history, "_SLACK", 2)
    for number in range(20):
        History(environment).add(record(of("a", "would_change", f"op{number}")))
    runs = History(environment).runs()
    assert 5 <= len(runs) <= 7
    assert role_of(runs[-1], "a").changes == ("op19: why",)
    assert stat.S_IMODE(file_of(tmp_path).stat().st_mode) == 0o600
    assert [path.name for path in file_of(tmp_path).parent.iterdir() if path.name.endswith(".new")] == []


def test_large_runs_are_fewer(environment: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "_BYTES", 4000)
    for number in range(10):
        History(environment).add(record(of("a", "would_change", f"op{number}", why="x" * 280)))
    runs = History(environment).runs()
    assert 1 < len(runs) < 10
    assert role_of(runs[-1], "a").changes[0].startswith("op9")


def row(*states: str) -> list[RunRecord]:
    """Drift runs at 01:00, 02:00, ...; each word is a role's state, `-` a run that did not reach the host, `v` a verify, `o` another operation."""
    found = []
    for hour, state in enumerate(states, 1):
        operation = of(
            "a",
            {"drift": "would_change", "clean": "unchanged", "o": "would_change", "v": "unchanged"}.get(
                state, state
            ),
            "other" if state == "o" else "op",
        )
        result = RunResult(
            "verify" if state == "v" else "drift", [HostResult("llm", [] if state == "-" else [operation])]
        )
        found.append(record_of(result, "prod", 0, f"2026-11-24T{hour:02}:00:00Z"))
    return found


@pytest.mark.parametrize(
    ("states", "expected"),
    [
        (["drift"], ("01", 1)),
        (["clean", "drift", "drift"], ("02", 2)),
        (["drift", "clean", "drift"], ("03", 1)),
        (["drift", "changed", "drift"], ("03", 1)),
        (["drift", "-", "v", "drift"], ("01", 2)),
        (["drift", "failed", "drift"], ("01", 2)),
        (["drift", "o", "drift"], ("03", 1)),
        (["drift", "clean"], None),
        ([], None),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, list) else None,
)
def test_since_when_an_operation_is_drifted(states: list[str], expected: tuple[str, int] | None) -> None:
    wanted = Since(f"2026-11-24T{expected[0]}:00:00Z", expected[1]) if expected else None
    assert Streaks(row(*states)).since(DRIFT, "llm", "a", "op") == wanted
