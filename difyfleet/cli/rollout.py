"""rollout: apply in waves, halt at the first that fails."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from difyfleet.cli.verbs import (
    _check_roles,
    _console,
    _events,
    _inventory,
    _json,
    _limit,
    _lock_wait,
    _role,
    _selected,
    _show,
    _verbose,
)
from difyfleet.exits import Exit

if TYPE_CHECKING:
    from rich.console import Console

    from difyfleet.fleet.rollout import Work


@click.command()
@_inventory
@_limit
@_role
@click.option("--yes", is_flag=True, help="Do not plan first, and do not ask.")
@click.option("--resume", is_flag=True, help="Go on with the last rollout: the hosts that are not done.")
@click.option("--only-failed", is_flag=True, help="Of the last rollout only the hosts that failed.")
@_lock_wait
@_json
@_events
@_verbose
def rollout(
    inventory: Path,
    limit: str | None,
    roles: tuple[str, ...],
    yes: bool,
    resume: bool,
    only_failed: bool,
    lock_wait: float,
    as_json: bool,
    events: bool,
    verbose: bool,
) -> int:
    """Apply in waves, each let through only when every check of the one before it holds. Exit 3 where it halts."""
    from difyfleet.cli.watch import watching
    from difyfleet.fleet import rollout as rollouts
    from difyfleet.fleet import verbs
    from difyfleet.report import terminal

    _check_roles(roles)
    if not yes and not sys.stdin.isatty():
        raise click.UsageError(
            "rollout asks before it changes anything and there is no terminal to ask on: add --yes"
        )
    console = _console()
    work = _work(inventory, limit, roles, resume, only_failed, console)
    _show_waves(work, console)
    try:
        with watching(console, quiet=as_json, events=events) as watch:
            if not yes:
                planned = rollouts.plan(work)
                with watch.paused():
                    terminal.show(planned, console)
                    code = verbs.exit_code(planned)
                    go_on = code == Exit.OK or (
                        code == Exit.PENDING and click.confirm("Roll this out?", err=True)
                    )
                if not go_on:
                    if as_json or events:
                        _show(planned, console, as_json, verbose, inventory, events=events)
                    return code
            result = rollouts.run(work, reason=f"rollout {inventory.name}", lock_wait=lock_wait)
    except KeyboardInterrupt:
        click.echo(f"interrupted; to go on: difyfleet rollout {inventory} --resume", err=True)
        return Exit.INTERRUPTED
    _show(result, console, as_json, verbose, inventory, events=events)
    return verbs.exit_code(result)


def _work(
    inventory: Path,
    limit: str | None,
    roles: tuple[str, ...],
    resume: bool,
    only_failed: bool,
    console: Console,
) -> Work:
    from difyfleet.fleet import rollout as rollouts

    if resume or only_failed:
        if limit or roles:
            raise click.UsageError("the last rollout says which hosts and roles: no --limit or --role")
        state = rollouts.resumable(inventory, only_failed=only_failed)
        environment, hosts = _selected(inventory, state.limit, console)
        return rollouts.resumed(environment, hosts, state, only_failed=only_failed)
    environment, hosts = _selected(inventory, limit, console)
    before = rollouts.unfinished(inventory)
    if before is not None:
        console.print(
            f"[yellow]note[/] the rollout of {before.began} was not complete and is given up; --resume would go on with it",
            highlight=False,
            soft_wrap=True,
        )
    return rollouts.new(environment, hosts, limit=limit, roles=roles)


def _show_waves(work: Work, console: Console) -> None:
    for number, wave in enumerate(work.waves, 1):
        steps = ", then ".join(" ".join(spec.name for spec in step) for step in wave)
        console.print(f"wave {number}: {steps}", highlight=False, markup=False, soft_wrap=True)
