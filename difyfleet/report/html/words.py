"""The run in one sentence, and the commands to type next."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from difyfleet.fleet.results import (
    CHANGED,
    CORRECTIVE,
    FAILED,
    INTENTIONAL,
    WOULD_CHANGE,
    HostResult,
    RolloutResult,
    RunResult,
)
from difyfleet.report.html import marks

_NAMED = 8  # hosts that a command names; for more of them it is given without --limit


@dataclass(frozen=True)
class Step:
    """A command to type, and what it is good for."""

    command: str
    why: str


def verdict(result: RunResult) -> str:
    """What came out of a run, the worst first."""
    hosts = result.hosts
    if not hosts:
        return "No host took part."
    untouched = marks.untouched(result)
    parts = _of_one(hosts[0], untouched) if len(hosts) == 1 else _of_many(hosts, untouched)
    if isinstance(result, RolloutResult) and result.halt:
        how = "stopped at a lock" if result.halt.locked else "halted"
        text = f"The rollout {how} in wave {result.halt.wave} of {len(result.waves)}: {', '.join(parts)}"
    elif parts:
        looked_at = [host for host in hosts if _trouble(host, untouched)]
        text = f"{_who(looked_at, hosts)} {'needs' if len(looked_at) == 1 else 'need'} a look: {', '.join(parts)}"
    else:
        text = f"{_well(result)} on {_who(hosts, hosts)}"
    changed = [host for host in hosts if host.count(CHANGED)]
    if changed:
        where = "" if len(hosts) == 1 else f" on {len(changed)} {'host' if len(changed) == 1 else 'hosts'}"
        text += (
            f"; {_number(sum(host.count(CHANGED) for host in changed), 'operation')} changed something{where}"
        )
    return f"{text}."


def _trouble(host: HostResult, untouched: set[str]) -> bool:
    return bool(host.failed or host.failed_checks or host.count(WOULD_CHANGE) or host.name in untouched)


def _of_one(host: HostResult, untouched: set[str]) -> list[str]:
    said = []
    if host.error:
        said.append("it dropped out of the run")
    elif host.name in untouched:
        said.append("it was not reached")
    if host.count(FAILED):
        said.append(f"{_number(host.count(FAILED), 'operation')} failed")
    if host.failed_checks:
        bad = len(host.failed_checks)
        said.append(f"{bad} of {_number(len(host.checks), 'check')} {'does' if bad == 1 else 'do'} not hold")
    if host.count(WOULD_CHANGE):
        said.append(
            f"{_number(host.count(WOULD_CHANGE), 'operation')} would change something{_kinds([host])}"
        )
    return said


def _of_many(hosts: Sequence[HostResult], untouched: set[str]) -> list[str]:
    pending = [host for host in hosts if host.count(WOULD_CHANGE)]
    unwell = sum(1 for host in hosts if host.failed_checks)
    numbers = {
        "dropped out": sum(1 for host in hosts if host.error),
        "failed in an operation": sum(1 for host in hosts if host.count(FAILED)),
        "fails a check" if unwell == 1 else "fail a check": unwell,
        f"would change{_kinds(pending)}": len(pending),
        "was not reached" if len(untouched) == 1 else "were not reached": len(untouched),
    }
    return [f"{number} {what}" for what, number in numbers.items() if number]


def _kinds(hosts: Sequence[HostResult]) -> str:
    """Whose doing the pending changes are, as far as it is known."""
    kinds = {each.kind for host in hosts for each in host.operations if each.state == WOULD_CHANGE}
    if kinds == {CORRECTIVE}:
        return " (the host was changed)" if len(hosts) == 1 else " (the hosts were changed)"
    return " (the inventory was changed)" if kinds == {INTENTIONAL} else ""


def _well(result: RunResult) -> str:
    checks = sum(len(host.checks) for host in result.hosts)
    holds = "the one check holds" if checks == 1 else f"all {checks} checks hold"
    if any(host.count(CHANGED) for host in result.hosts) or not any(host.operations for host in result.hosts):
        return (holds if checks else "done").capitalize()
    return "Nothing to change" + (f" and {holds}" if checks else "")


def _number(count: int, thing: str) -> str:
    return f"{count} {thing}{'' if count == 1 else 's'}"


def _who(some: Sequence[HostResult], hosts: Sequence[HostResult]) -> str:
    if len(hosts) == 1:
        return some[0].name
    return f"all {len(hosts)} hosts" if len(some) == len(hosts) else f"{len(some)} of {len(hosts)} hosts"


def steps(result: RunResult, inventory: str) -> list[Step]:
    """What to type after this run; nothing after one without trouble.

    Args:
        inventory: its path, as the commands name it.
    """
    hosts, found = result.hosts, []
    broken = [host.name for host in hosts if host.failed]
    unwell = [host.name for host in hosts if host.failed_checks and not host.failed]
    pending = [host for host in hosts if host.count(WOULD_CHANGE)]
    untouched = [host.name for host in hosts if host.name in marks.untouched(result)]
    resume = result.next if isinstance(result, RolloutResult) else None
    if broken and not resume:
        verb = result.verb if result.verb in ("plan", "verify", "drift") else "apply"
        found.append(
            Step(
                _command(verb, inventory, broken), "again, when the cause is gone; what is done is found done"
            )
        )
    if unwell:
        found.append(Step(_command("verify", inventory, unwell) + " -v", "every check with what it saw"))
    if pending:
        losing = sum(
            1
            for host in pending
            for each in host.operations
            if each.loses_data and each.state == WOULD_CHANGE
        )
        why = "shows the plan, asks, changes, checks"
        if losing:
            them = "it" if losing == 1 else "them"
            why = f"{_number(losing, 'change')} would remove what only exists on the host: look at {them} below first"
        found.append(Step(_command("apply", inventory, [host.name for host in pending]), why))
    if resume:
        found.append(Step(resume, "goes on with the rollout, when the cause is gone"))
    elif untouched:
        found.append(
            Step(_command(result.verb, inventory, untouched), "goes on with the hosts that were not reached")
        )
    return found


def _command(verb: str, inventory: str, hosts: Sequence[str]) -> str:
    limit = f" --limit {shlex.quote(','.join(hosts))}" if len(hosts) <= _NAMED else ""
    return f"difyfleet {verb} {shlex.quote(inventory)}{limit}"
