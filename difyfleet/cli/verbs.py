"""validate, plan, apply, verify, status."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from difyfleet.cli.page import html_option as _html
from difyfleet.exits import Exit

if TYPE_CHECKING:
    from rich.console import Console

    from difyfleet.fleet.results import RunRecord, RunResult
    from difyfleet.spec.models import Environment, HostSpec

F = TypeVar("F", bound=Callable[..., Any])

_inventory = click.argument("inventory", type=click.Path(path_type=Path))
_limit = click.option(
    "--limit", metavar="HOSTS", help="Only these hosts or groups (comma separated, * and ? allowed)."
)
_json = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON on standard output.")
_events = click.option(
    "--events",
    is_flag=True,
    help="Print events as JSON lines while the run goes on; the last line is the result as with --json.",
)
_verbose = click.option("-v", "--verbose", is_flag=True, help="Show every check and skipped operation.")
_role = click.option(
    "--role",
    "roles",
    multiple=True,
    metavar="ROLE",
    help="Only this role (repeatable). The preflight always runs.",
)
_reprobe = click.option(
    "--reprobe-mirrors", is_flag=True, help="Try every declared registry mirror again, dead ones too."
)
_lock_wait = click.option(
    "--lock-wait",
    type=click.FloatRange(min=0),
    default=0,
    metavar="SECONDS",
    help="Wait so long for hosts that another run works on.",
)


def _selected(
    inventory: Path, limit: str | None, console: Console
) -> tuple[Environment, tuple[HostSpec, ...]]:
    from difyfleet.spec.loader import load
    from difyfleet.spec.secret_values import require_all

    environment = load(inventory)
    for warning in environment.warnings:
        console.print(f"[yellow]warning[/] {warning}", highlight=False, soft_wrap=True)
    hosts = environment.select(limit)
    require_all(hosts)
    return environment, hosts


def _console() -> Console:
    from rich.console import Console

    # in a log or a CI window nothing should be cut or folded at 80 columns
    return Console(stderr=True, width=None if sys.stderr.isatty() else 200)


def _check_roles(roles: tuple[str, ...]) -> None:
    import difflib

    from difyfleet.paths import stack_root

    known = sorted(
        path.stem for path in (stack_root() / "roles").glob("*.py") if not path.stem.startswith("_")
    )
    for role in roles:
        if role not in known:
            close = difflib.get_close_matches(role, known, n=1)
            hint = f" Did you mean '{close[0]}'?" if close else ""
            raise click.UsageError(f"no role '{role}'.{hint} Roles: {', '.join(known)}")


def _show(
    result: RunResult,
    console: Console,
    as_json: bool,
    verbose: bool,
    inventory: Path | None = None,
    *,
    events: bool = False,
    html: Path | None = None,
    environment: Environment | None = None,
) -> None:
    from difyfleet.report import terminal

    if inventory is not None:
        result.name_inventory(str(inventory))

    if events:
        from difyfleet.fleet.events import RunFinished
        from difyfleet.fleet.verbs import exit_code
        from difyfleet.report.stream import JsonLines

        code = exit_code(result)
        JsonLines(sys.stdout)(RunFinished(verb=result.verb, exit=code, seconds=round(result.seconds, 3)))
    if as_json or events:
        json.dump(result.to_json(), sys.stdout, ensure_ascii=False)
        sys.stdout.write("\n")
        sys.stdout.flush()
    else:
        terminal.show(result, console, verbose=verbose)
    if html is not None:
        from difyfleet.cli.page import write

        write(html, result, inventory, environment)


def _remember(environment: Environment, record: RunRecord, console: Console) -> int:
    """Put a run into the environment's history; it counts also where that cannot be written. Returns its exit code."""
    from difyfleet.fleet.history import History

    try:
        History(environment).add(record)
    except OSError as error:
        console.print(f"[yellow]warning[/] this run is not in the history: {error}", highlight=False)
    return record.exit


@click.command()
@_inventory
@_json
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
    console = _console()
    for warning in environment.warnings:
        console.print(f"[yellow]warning[/] {warning}", highlight=False, soft_wrap=True)
    console.print(f"{inventory}: {len(environment.hosts)} hosts, valid", highlight=False)
    return Exit.OK


@click.command()
@_inventory
@_limit
@_role
@_reprobe
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Also save the plan to this file, for `difyfleet apply FILE`.",
)
@_json
@_events
@_html
@_verbose
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

    _check_roles(roles)
    if out is not None and out.exists():
        from difyfleet.fleet.plan_file import is_plan

        if not is_plan(out):
            raise click.UsageError(f"{out} is there and is not a saved plan: give --out another name")
    console = _console()
    environment, hosts = _selected(inventory, limit, console)
    from difyfleet.fleet import verbs

    switches = {"reprobe_mirrors": reprobe_mirrors}
    with watching(console, quiet=as_json, events=events):
        result = verbs.plan(hosts, roles=roles, switches=switches, environment=environment)
    _show(result, console, as_json, verbose, inventory, events=events, html=html, environment=environment)
    if out is not None:
        from difyfleet.fleet import plan_file

        plan_file.save(out, result, hosts, inventory=inventory, limit=limit, roles=roles, switches=switches)
        console.print(
            f"saved; to carry out exactly this: difyfleet apply {out}", highlight=False, soft_wrap=True
        )
    return verbs.exit_code(result)


@click.command()
@click.argument("inventory", type=click.Path(path_type=Path), metavar="INVENTORY|PLAN")
@_limit
@_role
@click.option("--yes", is_flag=True, help="Do not ask.")
@_reprobe
@_lock_wait
@_json
@_events
@_html
@_verbose
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

    _check_roles(roles)
    console = _console()
    if not yes and not sys.stdin.isatty():
        raise click.UsageError(
            "apply asks before it changes anything and there is no terminal to ask on: add --yes"
        )
    environment, hosts = _selected(inventory, limit, console)
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
    _show(result, console, as_json, verbose, inventory, events=events, html=html, environment=environment)
    code = verbs.exit_code(result)
    if result.verb == "plan":  # the question was answered with no
        return code
    return _remember(environment, record_of(result, environment.name, code), console)


@click.command()
@_inventory
@_limit
@_role
@_json
@_events
@_html
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
@_verbose
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

    _check_roles(roles)
    console = _console()
    environment, hosts = _selected(inventory, limit, console)
    from difyfleet.fleet import verbs
    from difyfleet.fleet.history import record_of

    with watching(console, quiet=as_json, events=events):
        result = verbs.verify(hosts, roles=roles, wait=wait)
    if junit:
        from difyfleet.report.junit import render

        junit.write_text(render(result))
    _show(result, console, as_json, verbose, inventory, events=events, html=html, environment=environment)
    return _remember(environment, record_of(result, environment.name, verbs.exit_code(result)), console)


@click.command()
@_inventory
@_limit
@_json
def status(inventory: Path, limit: str | None, as_json: bool) -> int:
    """One line per host and role: is it well, and where does it answer?"""
    from difyfleet.cli.watch import watching

    console = _console()
    _, hosts = _selected(inventory, limit, console)
    from difyfleet.fleet import verbs
    from difyfleet.report.status import show_status

    with watching(console, quiet=as_json):
        result = verbs.verify(hosts)
    if as_json:
        _show(result, console, as_json, False, inventory)
    else:
        show_status(result, {spec.name: spec.urls for spec in hosts}, console)
    return verbs.exit_code(result)
