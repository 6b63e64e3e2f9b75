"""The end of every run for people: a line per host, hosts in trouble with cause and next command, one verdict."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from difyfleet.fleet.results import (
    CHANGED,
    FAILED,
    SKIPPED,
    WOULD_CHANGE,
    HostResult,
    RolloutResult,
    RunResult,
)
from difyfleet.report import rollout

_FOLDED_FROM = 4  # so many hosts on which nothing happened are one line
_COLUMNS = ("operations", "changed", "would change", "failed", "checks", "warnings", "commands")


def show(result: RunResult, console: Console, *, verbose: bool = False) -> None:
    """Print it. With verbose no host is folded."""
    worked_on = [host for host in result.hosts if host.note is None]
    quiet = [host for host in worked_on if _quiet(host)]
    if verbose or len(quiet) < _FOLDED_FROM:
        quiet = []
    lively = [host for host in worked_on if host not in quiet]
    if lively:
        _table(lively, console)
    if quiet:
        console.print(_folded(quiet, bool(lively)), highlight=False, soft_wrap=True)
    for host in result.hosts:
        for line in trouble(host, result):
            console.print(line, style="red", markup=False, highlight=False, soft_wrap=True)
    console.print(
        f"{result.verb}: {_verdict(result)} in {result.seconds:.1f} s", highlight=False, soft_wrap=True
    )
    if isinstance(result, RolloutResult):
        for line in rollout.lines(result):
            console.print(line, markup=False, highlight=False, soft_wrap=True)
        return
    for host in result.hosts:
        if host.note:
            console.print(f"  {host.name}: {host.note}", markup=False, highlight=False, soft_wrap=True)
    if as_before := sorted(host.as_of for host in result.hosts if host.as_of):
        hosts = "1 host" if len(as_before) == 1 else f"{len(as_before)} hosts"
        words = f"{hosts} as when looked at in full ({as_before[0]}{' or later' if as_before[1:] else ''}); checks not repeated"
        console.print(f"  {words}", markup=False, highlight=False, soft_wrap=True)


def _quiet(host: HostResult) -> bool:
    """Whether nothing happened on a host and all is well."""
    happened = any(host.count(state) for state in (CHANGED, WOULD_CHANGE, FAILED, SKIPPED))
    return not (happened or host.error or host.failed_checks or host.warnings)


def _folded(hosts: Sequence[HostResult], others: bool) -> str:
    words = ["nothing to change"] if any(host.operations for host in hosts) else []
    words += ["all checks hold"] if any(host.checks for host in hosts) else []
    return f"{len(hosts)} {'other ' if others else ''}hosts: {', '.join(words) or 'nothing done'} (-v lists them)"


def _table(hosts: Sequence[HostResult], console: Console) -> None:
    table = Table(box=None, pad_edge=False)
    table.add_column("host")
    for heading in _COLUMNS:
        table.add_column(heading, justify="right")
    for host in hosts:
        failed = host.count(FAILED) + (1 if host.error else 0)
        passed = sum(1 for check in host.checks if check.ok or check.warn_only)
        checks = f"{passed}/{len(host.checks)}"
        table.add_row(
            escape(host.name),
            str(len(host.operations)),
            str(host.count(CHANGED)),
            str(host.count(WOULD_CHANGE)),
            f"[red]{failed}[/]" if failed else "0",
            f"[red]{checks}[/]" if host.failed_checks else checks,
            str(len(host.warnings)),
            str(host.changing_commands),
        )
    console.print(table)


def trouble(host: HostResult, result: RunResult) -> list[str]:
    """What is wrong with a host and what to type next, as lines; none where all is well. The first line stands for itself."""
    verb = "apply" if result.verb == "drift" and host.count(WOULD_CHANGE) else result.verb
    again = f"difyfleet {verb} {result.inventory or 'INVENTORY'} --limit {host.name}"
    if isinstance(result, RolloutResult) and result.next:
        again = result.next
    if host.error:
        return _with_next(host.name, host.error.splitlines(), again)
    for operation in host.operations:
        if operation.state == FAILED:
            cause = f"{operation.role} | {operation.name}: "
            lines = (operation.error or "failed").splitlines()
            hints = [line for line in lines if line.lstrip().startswith("next: ")]
            return _with_next(host.name, [cause + lines[0], *hints[-1:]], again)
    if host.failed_checks:
        first = host.failed_checks[0]
        more = len(host.failed_checks) - 1
        cause = f"{first.role} | {first.name}: {first.evidence}" + (f" (and {more} more)" if more else "")
        return _with_next(host.name, [cause, *([f"  next: {first.hint}"] if first.hint else [])], again)
    return []


def _with_next(name: str, lines: list[str], again: str) -> list[str]:
    if not any(line.lstrip().startswith("next: ") for line in lines):
        lines = [*lines, f"  next: {again}"]
    return [f"{name}: {lines[0]}", *lines[1:]]


def _verdict(result: RunResult) -> str:
    stopped = rollout.verdict(result) if isinstance(result, RolloutResult) else None
    if stopped:
        return stopped
    figures = result.summary()
    troubled = sum(1 for host in result.hosts if host.failed)
    where = f" on {troubled} of {len(result.hosts)} hosts" if len(result.hosts) > 1 else ""
    told = (
        ("failed", "red", f"failed{where}"),
        ("checks_failed", "red", "checks failed"),
        ("would_change", "yellow", "would change"),
        ("changed", "green", "changed"),
    )
    parts = [f"[{colour}]{figures[key]} {words}[/]" for key, colour, words in told if figures[key]]
    if parts:
        return ", ".join(parts)
    return "[green]nothing to change[/]" if figures["operations"] else "[green]all checks hold[/]"
