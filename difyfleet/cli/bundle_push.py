"""bundle push: what is in a bundle, to the hosts that lack it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from difyfleet.cli.common import make_console, selected, show_outcomes
from difyfleet.cli.options import inventory_argument, json_option, limit_option, lock_wait_option
from difyfleet.exits import Exit

if TYPE_CHECKING:
    from rich.console import Console


@click.command()
@inventory_argument
@click.argument("bundle", type=click.Path(path_type=Path))
@limit_option
@click.option("--public-key", metavar="FILE|RW...", help="Whose signature the bundle must have (minisign).")
@lock_wait_option
@json_option
def push(
    inventory: Path,
    bundle: Path,
    limit: str | None,
    public_key: str | None,
    lock_wait: float,
    as_json: bool,
) -> int:
    """Bring hosts what they declare, from a bundle: only what they lack, several hosts side by side.

    Cut off, the same command goes on where it was. Nothing is loaded: hosts with `offline: true` do that at the next apply.
    """
    from difyfleet.cli.watch import watching
    from difyfleet.fleet.each import on_each
    from difyfleet.offline import push as pushing
    from difyfleet.offline.reader import open_bundle

    console = make_console()
    _, hosts = selected(inventory, limit, console)
    if public_key is not None and not _signed(bundle, public_key, console, as_json):
        return Exit.CHECKS_FAILED
    with open_bundle(bundle) as opened, watching(console, quiet=as_json):
        _ = opened.manifest  # a bundle that cannot be read is said before any host is asked
        outcomes = on_each(
            hosts,
            lambda on, spec: pushing.push(on, spec, opened),
            lease=f"bundle push {inventory.name}",
            lock_wait=lock_wait,
        )
    if not show_outcomes("bundle push", outcomes, console, as_json, lambda value: value.to_json()):
        _tell([(each.host, each.value) for each in outcomes if not each.error], console)
    return Exit.ERROR if any(each.error for each in outcomes) else Exit.OK


def _signed(path: Path, public_key: str, console: Console, quiet: bool) -> bool:
    """Whether the bundle is whole and signed by that key; says what is not."""
    from difyfleet.cli.watch import watching
    from difyfleet.offline.minisign import read_public_key
    from difyfleet.offline.pace import Pace
    from difyfleet.offline.verify import verify

    with watching(console, quiet=quiet):
        verdict = verify(path, key=read_public_key(public_key), moved=Pace(path.name, "verify").moved)
    for fault in verdict.faults:
        console.print(f"wrong {fault}", highlight=False, markup=False, soft_wrap=True)
    return not verdict.faults


def _tell(answers: Sequence[tuple[str, Any]], console: Console) -> None:
    for host, done in answers:
        has = f"{done.declared / 1e9:.2f} GB"
        if done.sent:
            rate = f"{done.sent / 1e9:.2f} GB sent in {done.seconds:.0f} s ({done.rate / 1e6:.0f} MB/s)"
            click.echo(f"{host}: {rate}, has all {has} now")
        else:
            click.echo(f"{host}: has all {has}, nothing sent")
        for what in done.left_out:
            console.print(f"[yellow]warning[/] {host}: {what} is not in the bundle", highlight=False)
