"""rollout: apply in waves, halt at the first that fails."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from difyfleet.cli.common import check_roles, make_console, remember, selected, show_result
from difyfleet.cli.options import (
    events_option,
    inventory_argument,
    json_option,
    limit_option,
    lock_wait_option,
    role_option,
    verbose_option,
)
from difyfleet.cli.page import html_option
from difyfleet.exits import Exit

if TYPE_CHECKING:
    from rich.console import Console

    from difyfleet.fleet.results import RunResult
    from difyfleet.fleet.rollout import Work


@click.command()
@inventory_argument
@limit_option
@role_option
@click.option("--yes", is_flag=True, help="Do not plan first, and do not ask.")
@click.option("--resume", is_flag=True, help="Go on with the last rollout: the hosts that are not done.")
@click.option("--only-failed", is_flag=True, help="Of the last rollout only the hosts that failed.")
@lock_wait_option
@json_option
@events_option
@html_option
@verbose_option
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
    html: Path | None,
    verbose: bool,
) -> int:
    """Apply in waves, each let through only when every check of the one before it holds. Exit 3 where it halts."""
    from difyfleet.cli.watch import watching
    from difyfleet.fleet import rollout as rollouts
    from difyfleet.fleet import verbs
    from difyfleet.fleet.history import record_of
    from difyfleet.report import terminal

    check_roles(roles)
    if not yes and not sys.stdin.isatty():
        raise click.UsageError(
            "rollout asks before it changes anything and there is no terminal to ask on: add --yes"
        )
    console = make_console()
    work = _work(inventory, limit, roles, resume, only_failed, console)
    _show_waves(work, console)
    try:
        with watching(console, quiet=as_json, events=events) as watch:
            if not yes:
                planned = rollouts.plan(work)
                with watch.paused():
                    planned.name_inventory(str(inventory))
                    terminal.show(planned, console)
                    go_on = _go_on(planned)
                if not go_on:
                    if as_json or events:
                        show_result(planned, console, as_json, verbose, inventory, events=events)
                    return verbs.exit_code(planned)
            result = rollouts.run(work, reason=f"rollout {inventory.name}", lock_wait=lock_wait)
    except KeyboardInterrupt:
        click.echo(f"interrupted; to go on: difyfleet rollout {inventory} --resume", err=True)
        return Exit.INTERRUPTED
    fleet = work.environment
    show_result(result, console, as_json, verbose, inventory, events=events, html=html, environment=fleet)
    return remember(fleet, record_of(result, fleet.name, verbs.exit_code(result)), console)


def _go_on(planned: RunResult) -> bool:
    """Whether to roll out what was planned: asks, unless nothing would change. A host that could not be planned halts its wave."""
    from difyfleet.fleet.results import WOULD_CHANGE

    if all(host.error for host in planned.hosts):
        return False
    pending = any(host.count(WOULD_CHANGE) for host in planned.hosts)
    return not pending or click.confirm("Roll this out?", err=True)


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
        environment, hosts = selected(inventory, state.limit, console)
        return rollouts.resumed(environment, hosts, state, only_failed=only_failed)
    environment, hosts = selected(inventory, limit, console)
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
        if steps:
            console.print(f"wave {number}: {steps}", highlight=False, markup=False, soft_wrap=True)
