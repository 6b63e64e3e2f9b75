"""Drift: what a plan would change and which checks do not hold, in one run; told apart, dated, and taken back where that is allowed.

`look` is a view on the one run: prepare and check, without execute. `correct` executes only the operations that `held_back` has no
objection to, under the hosts' leases.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from difyfleet.exits import Exit
from difyfleet.fleet.clean_looks import CleanLooks
from difyfleet.fleet.engine import Engine, engine
from difyfleet.fleet.results import (
    CORRECTIVE,
    FAILED,
    INTENTIONAL,
    SKIPPED,
    UNCHANGED,
    WOULD_CHANGE,
    HostResult,
    OperationResult,
    RunRecord,
    RunResult,
)
from difyfleet.fleet.streaks import DRIFT, Streaks
from difyfleet.remote import lease
from difyfleet.spec.drift import Drift
from difyfleet.spec.models import Environment, HostSpec


def look(
    environment: Environment, hosts: Iterable[HostSpec], *, roles: Iterable[str] = (), quick: bool = False
) -> RunResult:
    """Plan and check; changes nothing on a host. Checks of a role that would change run all the same.

    Args:
        quick: leave out hosts that say that all is still as in the last full look, which found them clean.

    A host on which something is found while another run holds its lease is not judged: what differs is that run's work.
    """
    started = time.monotonic()
    hosts, roles = list(hosts), list(roles)
    looks = CleanLooks(environment, roles)
    with engine(hosts, roles=roles, environment=environment) as run:
        if quick:
            run.each(lambda host, spec: run.take_over(host, looks.of(spec)))
        run.prepare()
        run.each(lambda host, spec: _leave_to_others(host, run.results[spec.name]))
        run.check()
        run.each(lambda host, spec: _leave_to_others(host, run.results[spec.name]))
        remember(run, hosts, looks)
        return run.result("drift", started)


def remember(run: Engine, hosts: Iterable[HostSpec], looks: CleanLooks) -> None:
    """Keep by what the full looks that found a host clean were decided."""
    for spec in hosts:
        found, evidence = run.results[spec.name], run.evidence(spec.name)
        if found.as_of is not None or found.note is not None:
            continue
        dirty = found.error or found.failed_checks or found.count(UNCHANGED) != len(found.operations)
        if dirty or evidence is None:
            looks.forget(spec)
        else:
            looks.remember(spec, found.operations, evidence)
    looks.save()


def _leave_to_others(host: Any, result: HostResult) -> None:
    """Withdraw what was found on a host that another run works on."""
    if result.note is None and (result.count(WOULD_CHANGE) or result.failed_checks):
        holder = lease.look(host.connector)
        result.note = f"is being worked on by {holder}: not judged" if holder else None
    if result.note is not None:
        result.operations, result.checks = [], []


def correct(
    environment: Environment,
    hosts: Iterable[HostSpec],
    found: RunResult,
    *,
    roles: Iterable[str] = (),
    reason: str = "drift",
    lock_wait: float = 0,
) -> RunResult:
    """Look again at the hosts on which something may be taken back, take it back, and check.

    Args:
        found: what `look` found; it stands for the hosts on which there is nothing to take back.
        reason, lock_wait: of the hosts' leases, see Engine.lock.

    Raises:
        Locked: another run works on one of these hosts; nothing was changed.
    """
    started = time.monotonic()
    names = {host for host, _ in correctable(environment.drift, found)}
    specs = [spec for spec in hosts if spec.name in names]
    others = [spec for spec in environment.hosts if spec.name not in names]
    with engine(
        specs, roles=roles, environment=environment, neighbours=others, lease=reason, lock_wait=lock_wait
    ) as run:
        run.prepare()
        run.keep_data()
        allowed = {
            id(operation)
            for host in run.results.values()
            for operation, why in held_back(environment.drift, host.operations)
            if why is None
        }
        run.execute(lambda operation: id(operation) in allowed)
        run.check()
        result = run.result("drift", started)
    after = {host.name: host for host in result.hosts}
    result.hosts = [after.get(host.name, host) for host in found.hosts]
    result.seconds += found.seconds
    return result


def held_back(
    policy: Drift, operations: Sequence[OperationResult]
) -> list[tuple[OperationResult, str | None]]:
    """The operations of one host that would change something, each with why `--correct` leaves it; None = it may be corrected.

    Within a role operations build on each other, so after one that is held back the rest of its role is held back too.
    """
    found: list[tuple[OperationResult, str | None]] = []
    stopped: dict[str, str] = {}
    for operation in operations:
        if operation.state != WOULD_CHANGE:
            continue
        why = _objection(policy, operation)
        if why is None and operation.role in stopped:
            why = f"comes after {stopped[operation.role]!r}, which is left alone"
        if why is not None:
            stopped.setdefault(operation.role, operation.name)
        found.append((operation, why))
    return found


def _objection(policy: Drift, operation: OperationResult) -> str | None:
    if not policy.corrects(operation.role):
        return f"drift.correct does not say {operation.role}: auto"
    if operation.loses_data:
        return "it would lose data"
    if operation.kind == INTENTIONAL:
        return "the inventory was changed: apply it"
    if operation.kind != CORRECTIVE:
        return "not known whether the host or the inventory was changed: apply it once"
    return None


def correctable(policy: Drift, result: RunResult) -> list[tuple[str, OperationResult]]:
    """(host, operation) of all that `--correct` would take back."""
    return [
        (host.name, operation)
        for host in result.hosts
        if not host.error
        for operation, why in held_back(policy, host.operations)
        if why is None
    ]


def exit_code(result: RunResult) -> Exit:
    """Of a drift run: an error weighs more than drift, and drift more than a check that fails, which may be its consequence."""
    judged = [host for host in result.hosts if host.note is None]
    if any(host.error or host.count(FAILED) or host.count(SKIPPED) for host in judged):
        return Exit.ERROR
    if any(host.count(WOULD_CHANGE) for host in result.hosts):
        return Exit.PENDING
    if any(host.failed_checks for host in result.hosts):
        return Exit.CHECKS_FAILED
    return Exit.OK if len(judged) == len(result.hosts) else Exit.LOCKED


@dataclass(frozen=True)
class Drifted:
    """One operation that is other than declared.

    Args:
        since: time of the first run in a row that saw it so (UTC, ISO 8601).
        runs: how many runs in a row did.
        left: why `--correct` leaves (or would leave) it; None = it may be corrected.
    """

    host: str
    role: str
    operation: str
    kind: str | None
    why: tuple[str, ...]
    loses_data: bool
    since: str
    runs: int
    left: str | None

    def to_json(self) -> dict[str, Any]:
        """As JSON types."""
        return asdict(self)


def drifted(policy: Drift, result: RunResult, runs: Sequence[RunRecord]) -> list[Drifted]:
    """Everything that would change, with since when.

    Args:
        runs: the history, this run as its last.
    """
    found, past = [], Streaks(runs[:-1])
    for host in result.hosts:
        for operation, left in held_back(policy, host.operations):
            since = past.since(DRIFT, host.name, operation.role, operation.name)
            found.append(
                Drifted(
                    host.name,
                    operation.role,
                    operation.name,
                    operation.kind,
                    tuple(operation.why),
                    operation.loses_data,
                    since.at if since else runs[-1].at,
                    1 + (since.runs if since else 0),
                    left,
                )
            )
    return found
