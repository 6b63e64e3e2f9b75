"""The short view of a verify run: a row per host and role."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from difyfleet.fleet.results import RunResult


def show_status(result: RunResult, urls: Mapping[str, Sequence[str]], console: Console) -> None:
    """Print the table, and the addresses each host serves.

    Args:
        urls: host name -> addresses a browser can open.
    """
    table = Table(box=None, pad_edge=False)
    for heading in ("host", "role", "state", "checks", "first trouble"):
        table.add_column(heading, overflow="fold")
    for host in result.hosts:
        if host.error:
            table.add_row(
                escape(host.name), "", "[red]unreachable[/]", "", escape(host.error.splitlines()[0])
            )
        for role in dict.fromkeys(check.role for check in host.checks):
            checks = [check for check in host.checks if check.role == role]
            bad = [check for check in checks if not check.ok and not check.warn_only]
            warned = [check for check in checks if not check.ok and check.warn_only]
            state = "[red]not well[/]" if bad else "[yellow]warnings[/]" if warned else "[green]well[/]"
            trouble = next((f"{check.name}: {check.evidence}" for check in [*bad, *warned]), "")
            passed = sum(1 for check in checks if check.ok)
            table.add_row(escape(host.name), escape(role), state, f"{passed}/{len(checks)}", escape(trouble))
    console.print(table)
    for name, addresses in urls.items():
        for address in addresses:
            console.print(f"{name}: {address}", highlight=False)
