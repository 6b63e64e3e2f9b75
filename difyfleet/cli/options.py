"""Arguments and options that several verbs have in common."""

from __future__ import annotations

from pathlib import Path

import click

inventory_argument = click.argument("inventory", type=click.Path(path_type=Path))
limit_option = click.option(
    "--limit", metavar="HOSTS", help="Only these hosts or groups (comma separated, * and ? allowed)."
)
json_option = click.option(
    "--json", "as_json", is_flag=True, help="Print the result as JSON on standard output."
)
events_option = click.option(
    "--events",
    is_flag=True,
    help="Print events as JSON lines while the run goes on; the last line is the result as with --json.",
)
verbose_option = click.option("-v", "--verbose", is_flag=True, help="Show every check and skipped operation.")
role_option = click.option(
    "--role",
    "roles",
    multiple=True,
    metavar="ROLE",
    help="Only this role (repeatable). The preflight always runs.",
)
reprobe_option = click.option(
    "--reprobe-mirrors", is_flag=True, help="Try every declared registry mirror again, dead ones too."
)
lock_wait_option = click.option(
    "--lock-wait",
    type=click.FloatRange(min=0),
    default=0,
    metavar="SECONDS",
    help="Wait so long for hosts that another run works on.",
)
