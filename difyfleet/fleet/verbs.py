"""plan, apply, verify: views on one run."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from difyfleet.exits import Exit
from difyfleet.fleet.engine import engine
from difyfleet.fleet.results import FAILED, SKIPPED, WOULD_CHANGE, RolloutResult, RunResult
from difyfleet.spec.models import Environment, HostSpec

_PAUSE = 3.0  # seconds between two tries of verify --wait


def plan(
    hosts: Iterable[HostSpec],
    *,
    roles: Iterable[str] = (),
    switches: Mapping[str, Any] | None = None,
    environment: Environment | None = None,
) -> RunResult:
    """What an apply would change; changes nothing on a host.

    Args:
        switches: more host data that roles look at.
        environment: what the hosts belong to; see Engine.
    """
    started = time.monotonic()
    with engine(hosts, roles=roles, switches=switches, environment=environment) as run:
        run.prepare()
        return run.result("plan", started)


def apply(
    hosts: Iterable[HostSpec],
    *,
    roles: Iterable[str] = (),
    confirm: Callable[[RunResult], bool] | None = None,
    switches: Mapping[str, Any] | None = None,
    only_planned: bool = False,
    environment: Environment | None = None,
    reason: str = "apply",
    lock_wait: float = 0,
) -> RunResult:
    """Make it so, then check that it is so.

    Args:
        confirm: shown the plan, says whether to go on; None = go on without planning first.
        switches: more host data that roles look at.
        only_planned: an operation that had nothing to do in the plan that was confirmed is refused.
        environment: what the hosts belong to; see Engine.
        reason, lock_wait: of the hosts' leases, see Engine.lock.

    Raises:
        Locked: another run works on one of the hosts; nothing was changed.
    """
    started = time.monotonic()
    hosts = list(hosts)
    others = (
        [spec for spec in environment.hosts if spec.name not in {one.name for one in hosts}]
        if environment
        else []
    )
    with engine(hosts, roles=roles, switches=switches, environment=environment, neighbours=others) as run:
        if only_planned:  # nobody is asked, so what is compared now is what is changed then
            run.lock(reason, lock_wait)
        run.prepare(check_for_changes=confirm is not None)
        if confirm is not None and not confirm(run.result("plan", started)):
            return run.result("plan", started)
        if only_planned:
            run.hold_to_plan()
        else:
            run.lock(reason, lock_wait)
        run.execute()
        run.check()
        return run.result("apply", started)


def verify(hosts: Iterable[HostSpec], *, roles: Iterable[str] = (), wait: float = 0) -> RunResult:
    """All roles' checks; changes nothing.

    Args:
        wait: seconds to go on trying until every host is reachable and every check holds (after a reboot, say).
    """
    started = time.monotonic()
    hosts = list(hosts)
    while True:
        with engine(hosts, roles=roles) as run:
            run.check()
            result = run.result("verify", started)
        if exit_code(result) == Exit.OK or time.monotonic() - started + _PAUSE > wait:
            return result
        time.sleep(_PAUSE)


def exit_code(result: RunResult) -> Exit:
    """What a run's result means to the caller. An error weighs more than a failed check, that more than pending changes."""
    if isinstance(result, RolloutResult) and result.halt is not None:
        return Exit.LOCKED if result.halt.locked else Exit.HALTED
    if any(host.error or host.count(FAILED) or host.count(SKIPPED) for host in result.hosts):
        return Exit.ERROR
    if any(host.failed_checks for host in result.hosts):
        return Exit.CHECKS_FAILED
    if any(host.count(WOULD_CHANGE) for host in result.hosts):
        return Exit.PENDING
    return Exit.OK
