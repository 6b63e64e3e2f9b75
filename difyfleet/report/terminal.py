"""RunResult for people: what is equal on many hosts is said once, what did not change is counted, trouble comes last."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from difyfleet.fleet.results import (
    CHANGED,
    CORRECTIVE,
    FAILED,
    INTENTIONAL,
    SKIPPED,
    UNCHANGED,
    WOULD_CHANGE,
    CheckResult,
    OperationResult,
    RunResult,
)
from difyfleet.report import summary

_MARKS = {
    CHANGED: "[yellow]changed[/]",
    WOULD_CHANGE: "[yellow]would change[/]",
    FAILED: "[red]failed[/]",
    SKIPPED: "[dim]skipped[/]",
}
KINDS = {CORRECTIVE: "the host was changed", INTENTIONAL: "the inventory was changed"}
_NAMED = 5  # hosts that are named where many have the same; the rest is counted


Remarks = Mapping[tuple[str, str, str], str]


def show(
    result: RunResult, console: Console, *, verbose: bool = False, remarks: Remarks | None = None
) -> None:
    """Print a whole result: what changed or would change, checks that do not hold, a line per host, and what to do about trouble.

    Args:
        verbose: also skipped operations, checks that hold, new files whole, and hosts on which nothing happened.
        remarks: a line more about an operation, by (host, role, operation).
    """
    for operation, hosts, remark in _operations(result, verbose, remarks or {}):
        _operation(operation, _names(hosts, len(result.hosts)), remark, console, verbose)
    _checks(result, console, verbose)
    summary.show(result, console, verbose=verbose)


def _operations(
    result: RunResult, verbose: bool, remarks: Remarks
) -> list[tuple[OperationResult, list[str], str]]:
    """The operations worth telling, each with the hosts on which it is just the same, and the remark about it."""
    found: dict[tuple[object, ...], tuple[OperationResult, list[str], str]] = {}
    for host in result.hosts:
        for each in host.operations:
            if each.state == UNCHANGED or (each.state == SKIPPED and not verbose):
                continue
            told = (each.state, _about(each), tuple(each.why), each.diff, each.error)
            remark = remarks.get((host.name, each.role, each.name), "")
            key = (each.role, each.name, told, remark)
            found.setdefault(key, (each, [], remark))[1].append(host.name)
    return list(found.values())


def _names(hosts: Sequence[str], of: int) -> str:
    if len(hosts) == of and of > _NAMED:
        return f"all {of} hosts"
    named = ", ".join(hosts[:_NAMED])
    return named if len(hosts) <= _NAMED else f"{named} and {len(hosts) - _NAMED} more"


def _operation(operation: OperationResult, hosts: str, remark: str, console: Console, verbose: bool) -> None:
    several = ":" if " " in hosts else ""
    console.print(
        f"{_MARKS[operation.state]} {escape(hosts)}{several} [bold]{escape(operation.role)}[/] | {escape(operation.name)}"
        f"{_about(operation)}",
        highlight=False,
        soft_wrap=True,
    )
    for why in operation.why:
        console.print(f"    {escape(why)}", highlight=False, soft_wrap=True, style="dim")
    if operation.diff:
        _diff(operation.diff, console, verbose)
    if remark:
        console.print(f"    {remark}", markup=False, highlight=False, soft_wrap=True)
    for line in (operation.error or "").splitlines():
        console.print(f"    {line}", style="red", markup=False, highlight=False, soft_wrap=True)


def _about(operation: OperationResult) -> str:
    """Whose change it takes back or brings about, and whether something is lost by it."""
    words = [KINDS[operation.kind]] if operation.kind in KINDS else []
    words += ["[red]loses data[/]"] if operation.loses_data else []
    return f" ({', '.join(words)})" if words else ""


def _diff(text: str, console: Console, verbose: bool) -> None:
    lines = text.splitlines()
    if lines[0] == "--- /dev/null" and not verbose:
        console.print(f"    new file, {len(lines) - 3} lines (-v shows them)", style="dim", highlight=False)
        return
    for line in lines:
        style = "green" if line.startswith("+") else "red" if line.startswith("-") else "dim"
        console.print(f"    {line}", style=style, markup=False, highlight=False, soft_wrap=True)


def _checks(result: RunResult, console: Console, verbose: bool) -> None:
    found: dict[tuple[object, ...], tuple[CheckResult, list[str]]] = {}
    for host in result.hosts:
        for check in host.checks:
            if verbose or not check.ok:
                key = (check.role, check.name, check.ok, check.evidence, check.hint)
                found.setdefault(key, (check, []))[1].append(host.name)
    if not found:
        return
    table = Table(title="checks", title_justify="left", box=None, pad_edge=False)
    for heading in ("", "host", "role", "check", "evidence"):
        table.add_column(heading, overflow="fold")
    for check, hosts in found.values():
        mark = "[green]ok[/]" if check.ok else "[yellow]warn[/]" if check.warn_only else "[red]FAIL[/]"
        evidence = check.evidence if check.ok or not check.hint else f"{check.evidence}\nnext: {check.hint}"
        table.add_row(
            mark,
            escape(_names(hosts, len(result.hosts))),
            escape(check.role),
            escape(check.name),
            escape(evidence),
        )
    console.print(table)
