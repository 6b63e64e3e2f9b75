"""drift: is everything as declared? Who changed what, since when; taken back where the inventory allows it; told to others."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from difyfleet.cli.common import check_roles, last_event, make_console, remember, selected, write_file
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
    from collections.abc import Sequence

    from rich.console import Console

    from difyfleet.fleet.drift import Drifted
    from difyfleet.fleet.notify import Target
    from difyfleet.fleet.results import RunRecord, RunResult
    from difyfleet.spec.models import Environment

_file = click.Path(path_type=Path, dir_okay=False)


@click.command()
@inventory_argument
@limit_option
@role_option
@click.option(
    "--correct",
    is_flag=True,
    help="Take back what was changed on hosts, in roles that drift.correct allows it for; never what would lose data.",
)
@click.option(
    "--quick",
    is_flag=True,
    help="Ask a host that was clean when last looked at in full only whether all is as it was then, and leave out its checks.",
)
@click.option("--yes", is_flag=True, help="Do not ask before correcting.")
@lock_wait_option
@json_option
@events_option
@click.option("--junit", type=_file, help="Also write operations and checks as JUnit XML to this file.")
@html_option
@click.option(
    "--metrics", type=_file, help="Also write metrics for Prometheus' textfile collector to this file."
)
@click.option(
    "--notify",
    metavar="URL|COMMAND",
    help="Tell this webhook or command instead of those of drift.notify. An empty text tells nobody.",
)
@verbose_option
def drift(
    inventory: Path,
    limit: str | None,
    roles: tuple[str, ...],
    correct: bool,
    quick: bool,
    yes: bool,
    lock_wait: float,
    as_json: bool,
    events: bool,
    junit: Path | None,
    html: Path | None,
    metrics: Path | None,
    notify: str | None,
    verbose: bool,
) -> int:
    """Is everything as declared? Plans and checks in one run, tells the host's changes from the inventory's, and since when.

    Changes nothing without --correct. Exit 0 clean, 2 drift, 5 no drift but a check does not hold, 1 an error.
    """
    from difyfleet.cli.watch import watching

    check_roles(roles)
    console = make_console()
    if correct and not yes and not sys.stdin.isatty():
        raise click.UsageError(
            "--correct asks before it changes anything and there is no terminal to ask on: add --yes"
        )
    environment, hosts = selected(inventory, limit, console)
    told = _targets(environment, notify)
    from difyfleet.errors import Locked
    from difyfleet.fleet import drift as fleet_drift
    from difyfleet.fleet.history import History, record_of

    locked = ""
    policy, earlier = environment.drift, History(environment).runs()
    with watching(console, quiet=as_json, events=events) as watch:
        result = fleet_drift.look(environment, hosts, roles=roles, quick=quick)
        fixable = fleet_drift.correctable(policy, result) if correct else []
        if fixable:
            with watch.paused():
                agreed = yes or _agreed(result, fixable, console)
            if agreed:
                try:
                    result = fleet_drift.correct(
                        environment,
                        hosts,
                        result,
                        roles=roles,
                        reason=f"drift --correct {inventory}",
                        lock_wait=lock_wait,
                    )
                except Locked as error:  # what was found is worth telling all the same
                    locked = str(error)
    result.name_inventory(str(inventory))
    code = Exit.LOCKED if locked else fleet_drift.exit_code(result)
    runs = [*earlier, record_of(result, environment.name, code)]
    remember(environment, runs[-1], console)
    found = fleet_drift.drifted(policy, result, runs)
    if events:
        last_event(result, code)
    _show(result, found, console, as_json or events, verbose)
    if locked:
        console.print(f"not corrected: {locked}", highlight=False, markup=False, soft_wrap=True)
    _tell(told, policy.notify.always, result, found, runs, console)
    _write_files(
        result,
        environment,
        runs,
        inventory,
        junit=junit,
        html=html or environment.drift.html,
        metrics=metrics or environment.drift.metrics,
    )
    return code


def _targets(environment: Environment, notify: str | None) -> list[Target]:
    from difyfleet.fleet.notify import command_target, targets, webhook_target

    folder = environment.path.parent
    if notify is None:
        return targets(environment.drift.notify, folder)
    if not notify.strip():
        return []
    if notify.startswith(("http://", "https://")):
        return [webhook_target(notify)]
    return [command_target(shlex.split(notify), folder)]


def _agreed(result: RunResult, fixable: Sequence[tuple[str, object]], console: Console) -> bool:
    from difyfleet.report import terminal

    terminal.show(result, console)
    return click.confirm(f"Take back {len(fixable)} of these?", err=True)


def _write_files(
    result: RunResult,
    environment: Environment,
    runs: Sequence[RunRecord],
    inventory: Path,
    *,
    junit: Path | None,
    html: Path | None,
    metrics: Path | None,
) -> None:
    """The reports as files, each appearing whole.

    Args:
        runs: this one last.

    Raises:
        FleetError: one of them cannot be written.
    """
    from difyfleet.report import junit as junit_xml
    from difyfleet.report import metrics as prometheus
    from difyfleet.report.html import page

    if junit:
        write_file(junit, junit_xml.render(result))
    if html:
        write_file(html, page(result, runs, at=runs[-1].at, inventory=str(inventory)))
    if metrics:
        write_file(metrics, prometheus.render(result, environment.name, runs))


def _show(
    result: RunResult, found: Sequence[Drifted], console: Console, as_json: bool, verbose: bool
) -> None:
    if as_json:
        json.dump(
            {**result.to_json(), "drift": [each.to_json() for each in found]}, sys.stdout, ensure_ascii=False
        )
        sys.stdout.write("\n")
        sys.stdout.flush()
        return
    from difyfleet.report import terminal

    remarks = {(each.host, each.role, each.operation): _remark(each) for each in found}
    terminal.show(result, console, verbose=verbose, remarks=remarks)


def _remark(each: Drifted) -> str:
    seen = "seen first by this run" if each.runs == 1 else f"seen by {each.runs} runs"
    left = f"--correct leaves it: {each.left}" if each.left else "--correct takes it back"
    return f"drifted since {each.since} ({seen}); {left}"


def _tell(
    told: Sequence[Target],
    always: bool,
    result: RunResult,
    found: Sequence[Drifted],
    runs: Sequence[RunRecord],
    console: Console,
) -> None:
    """Notifications; a failing one is said and changes nothing."""
    from difyfleet.fleet import notify

    payload = notify.summary(result, found, runs)
    if told and (always or payload["changed"]):
        for problem in notify.tell(told, payload):
            console.print(f"[yellow]warning[/] {problem}", highlight=False, soft_wrap=True)
