"""history: what earlier runs found."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from difyfleet.cli.options import inventory_argument, json_option
from difyfleet.exits import Exit


@click.command()
@inventory_argument
@click.option(
    "--last", type=click.IntRange(min=1), default=20, show_default=True, metavar="RUNS", help="How many runs."
)
@json_option
def history(inventory: Path, last: int, as_json: bool) -> int:
    """Show the last runs of an environment as this controller remembers them, newest last. Contacts no host."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from difyfleet.fleet.history import CLEAN, History, to_json
    from difyfleet.spec.loader import load

    environment = load(inventory, locked=False)
    runs = History(environment).runs()[-last:]
    if as_json:
        json.dump(
            {"version": 1, "verb": "history", "environment": environment.name, "runs": to_json(runs)},
            sys.stdout,
            ensure_ascii=False,
        )
        sys.stdout.write("\n")
        return Exit.OK
    table = Table(box=None, pad_edge=False)
    for heading in ("at (UTC)", "verb", "exit", "hosts", "seconds", "what"):
        table.add_column(heading, overflow="fold")
    for run in runs:
        what = [f"{host.name}: {host.error.splitlines()[0]}" for host in run.hosts if host.error]
        what += [
            f"{host.name} {role.role}: {role.state}" + (f" ({role.kind})" if role.kind else "")
            for host in run.hosts
            for role in host.roles
            if role.state != CLEAN
        ]
        table.add_row(
            run.at,
            run.verb,
            str(run.exit),
            str(len(run.hosts)),
            f"{run.seconds:g}",
            escape("\n".join(what) or "clean"),
        )
    Console(width=None if sys.stdout.isatty() else 200).print(table)
    return Exit.OK
