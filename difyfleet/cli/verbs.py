"""validate, plan, apply, verify, status."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from difyfleet.cli.common import check_roles, make_console, remember, selected, show_result, write_file
from difyfleet.cli.options import (
    events_option,
    inventory_argument,
    json_option,
    limit_option,
    lock_wait_option,
    reprobe_option,
    role_option,
    verbose_option,
)
from difyfleet.cli.page import html_option
from difyfleet.exits import Exit

if TYPE_CHECKING:
    from difyfleet.fleet.results import RunResult

F = TypeVar("F", bound=Callable[..., Any])


@click.command()
@inventory_argument
@json_option
def validate(inventory: Path, as_json: bool) -> int:
    """Check an inventory without touching a network: keys, types, files, ports, mirrors, secrets' sources."""
    from difyfleet.spec.loader import load

    environment = load(inventory)
    if as_json:
        json.dump(
            {
                "version": 1,
                "verb": "validate",
                "hosts": [spec.name for spec in environment.hosts],
                "warnings": [str(warning) for warning in environment.warnings],
            },
            sys.stdout,
            ensure_ascii=False,
        )
        sys.stdout.write("\n")
        return Exit.OK
    console = make_console()
    for warning in environment.warnings:
        console.print(f"[yellow]warning[/] {warning}", highlight=False, soft_wrap=True)
    console.print(f"{inventory}: {len(environment.hosts)} hosts, valid", highlight=False)
    return Exit.OK


@click.command()
@inventory_argument
@limit_option
@role_option
@reprobe_option
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Also save the plan to this file, for `difyfleet apply FILE`.",
)
@json_option
@events_option
@html_option
@verbose_option
def plan(
    inventory: Path,
    limit: str | None,
    roles: tuple[str, ...],
    reprobe_mirrors: bool,
    out: Path | None,
    as_json: bool,
    events: bool,
    html: Path | None,
    verbose: bool,
) -> int:
    """Show what an apply would change, with secret-safe diffs. Exit 2 if anything would change."""
    from difyfleet.cli.watch import watching

    check_roles(roles)
    if out is not None and out.exists():
        from difyfleet.fleet.plan_file import is_plan

        if not is_plan(out):
            raise click.UsageError(f"{out} is there and is not a saved plan: give --out another name")
    console = make_console()
    environment, hosts = selected(inventory, limit, console)
    from difyfleet.fleet import verbs

    switches = {"reprobe_mirrors": reprobe_mirrors}
    with watching(console, quiet=as_json, events=events):
        result = verbs.plan(hosts, roles=roles, switches=switches, environment=environment)
    show_result(
        result, console, as_json, verbose, inventory, events=events, html=html, environment=environment
    )
    if out is not None:
        from difyfleet.fleet import plan_file

        plan_file.save(out, result, hosts, inventory=inventory, limit=limit, roles=roles, switches=switches)
        console.print(
            f"saved; to carry out exactly this: difyfleet apply {out}", highlight=False, soft_wrap=True
        )
    return verbs.exit_code(result)


@click.command()
@click.argument("inventory", type=click.Path(path_type=Path), metavar="INVENTORY|PLAN")
@limit_option
@role_option
@click.option("--yes", is_flag=True, help="Do not ask.")
@reprobe_option
@lock_wait_option
@json_option
@events_option
@html_option
@verbose_option
def apply(
    inventory: Path,
    limit: str | None,
    roles: tuple[str, ...],
    yes: bool,
    reprobe_mirrors: bool,
    lock_wait: float,
    as_json: bool,
    events: bool,
    html: Path | None,
    verbose: bool,
) -> int:
    """Make the hosts as declared, then check that they are. Succeeds only if every check holds.

    Given a file that `plan --out` saved, carries out exactly that plan, without asking, or refuses because something has changed.
    """
    from difyfleet.cli.watch import watching
    from difyfleet.fleet import plan_file

    if plan_file.is_plan(inventory):
        if limit or roles or reprobe_mirrors:
            raise click.UsageError(
                "the plan says which hosts and roles: no --limit, --role or --reprobe-mirrors"
            )
        from difyfleet.cli.saved_plan import apply_plan

        return apply_plan(inventory, as_json, verbose, events, lock_wait, html)

    check_roles(roles)
    console = make_console()
    if not yes and not sys.stdin.isatty():
        raise click.UsageError(
            "apply asks before it changes anything and there is no terminal to ask on: add --yes"
        )
    environment, hosts = selected(inventory, limit, console)
    from difyfleet.fleet import verbs
    from difyfleet.fleet.history import record_of
    from difyfleet.fleet.results import WOULD_CHANGE
    from difyfleet.report import terminal

    with watching(console, quiet=as_json, events=events) as watch:

        def confirm(planned: RunResult) -> bool:
            with watch.paused():
                planned.name_inventory(str(inventory))
                terminal.show(planned, console)
                planable = [host for host in planned.hosts if not host.error]
                if not any(host.count(WOULD_CHANGE) for host in planable):
                    return bool(planable)
                some = f" to the {len(planable)} of {len(planned.hosts)} hosts that could be planned"
                question = f"Apply this{some if len(planable) < len(planned.hosts) else ''}?"
                return click.confirm(question, err=True)

        switches = {"reprobe_mirrors": reprobe_mirrors}
        result = verbs.apply(
            hosts,
            roles=roles,
            confirm=None if yes else confirm,
            switches=switches,
            environment=environment,
            reason=f"apply {inventory.name}",
            lock_wait=lock_wait,
        )
    show_result(
        result, console, as_json, verbose, inventory, events=events, html=html, environment=environment
    )
    code = verbs.exit_code(result)
    if result.verb == "plan":  # the question was answered with no
        return code
    return remember(environment, record_of(result, environment.name, code), console)


@click.command()
@inventory_argument
@limit_option
@role_option
@json_option
@events_option
@html_option
@click.option(
    "--junit", type=click.Path(path_type=Path), help="Also write the checks as JUnit XML to this file."
)
@click.option(
    "--wait",
    type=float,
    default=0,
    metavar="SECONDS",
    help="Go on trying until all checks hold, at most so long.",
)
@verbose_option
def verify(
    inventory: Path,
    limit: str | None,
    roles: tuple[str, ...],
    as_json: bool,
    events: bool,
    html: Path | None,
    junit: Path | None,
    wait: float,
    verbose: bool,
) -> int:
    """Run every role's checks against the hosts. Changes nothing. Exit 5 if one does not hold."""
    from difyfleet.cli.watch import watching

    check_roles(roles)
    console = make_console()
    environment, hosts = selected(inventory, limit, console)
    from difyfleet.fleet import verbs
    from difyfleet.fleet.history import record_of

    with watching(console, quiet=as_json, events=events):
        result = verbs.verify(hosts, roles=roles, wait=wait)
    if junit:
        from difyfleet.report.junit import render

        write_file(junit, render(result))
    show_result(
        result, console, as_json, verbose, inventory, events=events, html=html, environment=environment
    )
    return remember(environment, record_of(result, environment.name, verbs.exit_code(result)), console)


@click.command()
@inventory_argument
@limit_option
@json_option
def status(inventory: Path, limit: str | None, as_json: bool) -> int:
    """One line per host and role: is it well, and where does it answer?"""
    from difyfleet.cli.watch import watching

    console = make_console()
    _, hosts = selected(inventory, limit, console)
    from difyfleet.fleet import verbs
    from difyfleet.report.status import show_status

    with watching(console, quiet=as_json):
        result = verbs.verify(hosts)
    if as_json:
        show_result(result, console, as_json, False, inventory)
    else:
        show_status(result, {spec.name: spec.urls for spec in hosts}, console)
    return verbs.exit_code(result)
