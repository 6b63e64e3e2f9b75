"""lock: what tags and versions mean, and (show, release) who works on the hosts."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from difyfleet.cli.common import make_console, selected, show_outcomes
from difyfleet.cli.lock_file import file
from difyfleet.cli.options import inventory_argument, json_option, limit_option
from difyfleet.exits import Exit

if TYPE_CHECKING:
    from rich.console import Console

    from difyfleet.fleet.each import Outcome
    from difyfleet.fleet.lock_verb import Holder


class _Lock(click.Group):
    """`lock INVENTORY` is short for `lock file INVENTORY`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        first = args[0] if args else ""
        misspelt = difflib.get_close_matches(first, self.commands) and not Path(first).exists()
        if first and first not in self.commands and first not in ctx.help_option_names and not misspelt:
            args = ["file", *args]
        return super().parse_args(ctx, args)


@click.group(cls=_Lock)
def lock() -> None:
    """`lock INVENTORY` writes the lock file beside it: what tags and versions mean, which hosts are then held to.

    `lock show` and `lock release` are about leases: every verb that changes a host holds one on it.
    """


lock.add_command(file)


@lock.command()
@inventory_argument
@limit_option
@json_option
def show(inventory: Path, limit: str | None, as_json: bool) -> int:
    """Who holds the hosts' leases: owner, reason, since when, until when."""
    from difyfleet.cli.watch import watching
    from difyfleet.fleet import lock_verb

    console = make_console()
    _, hosts = selected(inventory, limit, console, locked=False)
    with watching(console, quiet=as_json):
        found = lock_verb.holders(hosts)
    return _tell("lock show", found, console, as_json)


@lock.command()
@inventory_argument
@limit_option
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
def release(inventory: Path, limit: str | None, yes: bool, as_json: bool) -> int:
    """Take the leases away from the runs that hold them. Such a run stops before its next change."""
    from difyfleet.cli.watch import watching
    from difyfleet.fleet import lock_verb

    console = make_console()
    if not yes and not sys.stdin.isatty():
        raise click.UsageError(
            "lock release asks before it stops a run and there is no terminal to ask on: add --yes"
        )
    _, hosts = selected(inventory, limit, console, locked=False)
    with watching(console, quiet=as_json):
        found = lock_verb.holders(hosts)
    seen = {each.host: each.value for each in found if each.value is not None}
    for host, holder in seen.items():
        click.echo(f"{host}: taking the lease from {holder}", err=True)
    if seen and not yes:
        click.confirm("Stop these runs?", abort=True, err=True)
    with watching(console, quiet=as_json):
        left = {each.host: each for each in lock_verb.release(hosts, seen)} if seen else {}
    after = [left.get(each.host, each) for each in found]
    code = _tell("lock release", after, console, as_json)
    return Exit.LOCKED if code == Exit.OK and any(each.value for each in after) else code


def _tell(verb: str, found: Sequence[Outcome[Holder | None]], console: Console, as_json: bool) -> int:
    def plain(holder: Holder | None) -> Any:
        return {"held": holder is not None, "holder": asdict(holder) if holder else None}

    if not show_outcomes(verb, found, console, as_json, plain):
        for each in found:
            if not each.error:
                click.echo(f"{each.host}: {f'held by {each.value}' if each.value else 'free'}")
    return Exit.ERROR if any(each.error for each in found) else Exit.OK
