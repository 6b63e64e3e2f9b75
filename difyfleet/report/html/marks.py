"""One mark for each host and role: what a run, or a past run, says about it in one word."""

from __future__ import annotations

from collections.abc import Iterable

from difyfleet.fleet import streaks
from difyfleet.fleet.results import (
    CHANGED,
    CORRECTIVE,
    FAILED,
    INTENTIONAL,
    SKIPPED,
    WOULD_CHANGE,
    HostRecord,
    HostResult,
    OperationResult,
    RoleRecord,
    RolloutResult,
    RunResult,
)

ERROR, CHECKS = streaks.ERROR, streaks.CHECKS
MIXED, PENDING = "mixed", "pending"
UNREACHED, WARNING, CLEAN, ABSENT = "unreached", "warning", "clean", "absent"

# worst first; corrective, intentional and changed are the words of fleet.results
WORDS = {
    ERROR: "error",
    CHECKS: "check failed",
    CORRECTIVE: "would change, the host was changed",
    MIXED: "would change, host and inventory were changed",
    PENDING: "would change",
    INTENTIONAL: "would change, the inventory was changed",
    UNREACHED: "not reached",
    CHANGED: "changed",
    WARNING: "warning",
    CLEAN: "clean",
    ABSENT: "not on this host",
}
_ORDER = {mark: rank for rank, mark in enumerate(WORDS)}
DRIFT = (CORRECTIVE, MIXED, PENDING, INTENTIONAL)
# mark of a finding -> what the past runs are asked about it; the others are of this run alone
ASKED = {ERROR: ERROR, CHECKS: CHECKS, **dict.fromkeys(DRIFT, streaks.DRIFT)}
TROUBLE = (ERROR, CHECKS, *DRIFT, UNREACHED)  # what a person has to look at


def rank(mark: str) -> int:
    """Place in the order of severity, 0 = worst."""
    return _ORDER[mark]


def worst(marks: Iterable[str], default: str = CLEAN) -> str:
    """The most severe mark. Changes of both kinds on one host are `mixed`."""
    found = set(marks)
    if {CORRECTIVE, INTENTIONAL} <= found:
        found.add(MIXED)
        found -= {CORRECTIVE, INTENTIONAL}
    return min(found, key=rank, default=default)


def of_kind(kind: str | None) -> str:
    """The mark of a change that a plan found."""
    return kind if kind in (CORRECTIVE, INTENTIONAL, MIXED) else PENDING


def of_operation(operation: OperationResult) -> str:
    """The mark of one operation."""
    if operation.state == WOULD_CHANGE:
        return of_kind(operation.kind)
    return {FAILED: ERROR, SKIPPED: UNREACHED, CHANGED: CHANGED}.get(operation.state, CLEAN)


def untouched(result: RunResult) -> set[str]:
    """Hosts that the run should have come to and did not. Those that a rollout had done before are not among them."""
    waves = result.waves if isinstance(result, RolloutResult) else []
    done = {name for wave in waves for name, state in wave.items() if state == "done"}
    return {host.name for host in result.hosts if not (host.error or host.operations or host.checks)} - done


def of_role(host: HostResult, role: str, *, untouched: bool) -> str:
    """The mark of one role on one host."""
    marks = [of_operation(operation) for operation in host.operations if operation.role == role]
    for check in host.checks:
        if check.role == role:
            marks.append(CLEAN if check.ok else WARNING if check.warn_only else CHECKS)
    return worst(marks, UNREACHED if host.error or untouched else ABSENT)


def of_host(host: HostResult, roles: Iterable[str], *, untouched: bool) -> str:
    """The mark of one host; one that dropped out of the run is an error whatever its roles say."""
    if host.error:
        return ERROR
    if untouched:
        return UNREACHED
    found = (of_role(host, role, untouched=False) for role in roles)
    return worst(mark for mark in found if mark != ABSENT)


def of_record(host: HostRecord) -> str:
    """The mark of one host in a past run."""
    if host.error:
        return ERROR
    return worst((mark for role in host.roles for mark in _of_role_record(role)), UNREACHED)


def _of_role_record(role: RoleRecord) -> list[str]:
    found = [CHECKS] if role.failed_checks else []
    if role.state == "failed":
        return [*found, ERROR] if role.changes else found or [UNREACHED]
    if role.state == "drift":
        return [*found, of_kind(role.kind)]
    return [*found, CHANGED if role.state == "changed" else CLEAN]
