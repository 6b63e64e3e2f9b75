"""RunResult for people: tables on stderr, no secret, no noise when nothing happened."""

from __future__ import annotations

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
    HostResult,
    OperationResult,
    RunResult,
)

_MARKS = {
    CHANGED: "[yellow]changed[/]",
    WOULD_CHANGE: "[yellow]would change[/]",
    FAILED: "[red]failed[/]",
    SKIPPED: "[dim]skipped[/]",
}
KINDS = {CORRECTIVE: "the host was changed", INTENTIONAL: "the inventory was changed"}


def show(result: RunResult, console: Console, *, verbose: bool = False) -> None:
    """Print a whole result: what changed or would change, failed checks, and one summary line per host."""
    for host in result.hosts:
        _operations(host, console, verbose)
        _checks(host, console, verbose)
        if host.error:
            console.print(
                f"[red bold]{escape(host.name)}: error[/]\n{escape(_indent(host.error))}",
                highlight=False,
                soft_wrap=True,
            )
    _summary(result, console)


def _operations(host: HostResult, console: Console, verbose: bool) -> None:
    for operation in host.operations:
        if operation.state == UNCHANGED or (operation.state == SKIPPED and not verbose):
            continue
        console.print(
            f"{_MARKS[operation.state]} {escape(host.name)} [bold]{escape(operation.role)}[/] | {escape(operation.name)}"
            f"{_about(operation)}",
            highlight=False,
            soft_wrap=True,
        )
        for why in operation.why:
            console.print(f"    {escape(why)}", highlight=False, soft_wrap=True, style="dim")
        if operation.diff:
            _diff(operation.diff, console, verbose)
        if operation.error:
            console.print(escape(_indent(operation.error)), style="red", highlight=False, soft_wrap=True)


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


def _checks(host: HostResult, console: Console, verbose: bool) -> None:
    if not host.checks:
        return
    shown = host.checks if verbose else [check for check in host.checks if not check.ok]
    if shown:
        table = Table(title=f"checks on {host.name}", title_justify="left", box=None, pad_edge=False)
        for heading in ("", "role", "check", "evidence"):
            table.add_column(heading, overflow="fold")
        for check in shown:
            mark = "[green]ok[/]" if check.ok else "[yellow]warn[/]" if check.warn_only else "[red]FAIL[/]"
            evidence = (
                check.evidence if check.ok or not check.hint else f"{check.evidence}\nnext: {check.hint}"
            )
            table.add_row(mark, escape(check.role), escape(check.name), escape(evidence))
        console.print(table)


def _summary(result: RunResult, console: Console) -> None:
    table = Table(box=None, pad_edge=False)
    for heading, justify in (
        ("host", "left"),
        ("operations", "right"),
        ("changed", "right"),
        ("would change", "right"),
        ("failed", "right"),
        ("checks", "right"),
        ("warnings", "right"),
        ("commands", "right"),
    ):
        table.add_column(heading, justify=justify)  # type: ignore[arg-type]
    for host in result.hosts:
        failed = host.count(FAILED) + (1 if host.error else 0)
        passed = sum(1 for check in host.checks if check.ok or check.warn_only)
        table.add_row(
            host.name,
            str(len(host.operations)),
            str(host.count(CHANGED)),
            str(host.count(WOULD_CHANGE)),
            f"[red]{failed}[/]" if failed else "0",
            f"[red]{passed}/{len(host.checks)}[/]" if host.failed_checks else f"{passed}/{len(host.checks)}",
            str(len(host.warnings)),
            str(host.changing_commands),
        )
    console.print(table)
    console.print(
        f"{result.verb}: {_verdict(result)} in {result.seconds:.1f} s", highlight=False, soft_wrap=True
    )


def _verdict(result: RunResult) -> str:
    figures = result.summary()
    told = (
        ("failed", "red", "failed"),
        ("checks_failed", "red", "checks failed"),
        ("would_change", "yellow", "would change"),
        ("changed", "green", "changed"),
    )
    parts = [f"[{colour}]{figures[key]} {words}[/]" for key, colour, words in told if figures[key]]
    if parts:
        return ", ".join(parts)
    return "[green]nothing to change[/]" if figures["operations"] else "[green]all checks hold[/]"


def _indent(text: str) -> str:
    return "\n".join(f"    {line}" for line in text.splitlines())
