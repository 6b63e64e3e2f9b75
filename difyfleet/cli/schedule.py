"""schedule: drift by a systemd timer on this machine."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import click

from difyfleet.cli.common import check_roles, make_console
from difyfleet.cli.options import inventory_argument, json_option, limit_option, role_option
from difyfleet.exits import Exit


@click.group()
def schedule() -> None:
    """Look for drift on a schedule: a systemd service and timer on this machine. install, show, remove."""


@schedule.command()
@inventory_argument
@click.option(
    "--every", default="1h", show_default=True, metavar="TIME", help="How often: 5m to 30m, 1h to 12h, 1d."
)
@click.option("--correct", is_flag=True, help="Take back what drift.correct allows (drift --correct --yes).")
@limit_option
@role_option
def install(inventory: Path, every: str, correct: bool, limit: str | None, roles: tuple[str, ...]) -> int:
    """Put service and timer in place and start the timer. Safe to repeat; the last call counts."""
    from difyfleet.fleet import schedule as texts
    from difyfleet.fleet import units
    from difyfleet.spec.loader import load

    check_roles(roles)
    try:
        when = texts.timing(every)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--every") from error
    environment = load(inventory)
    environment.select(limit)
    console, system = make_console(), units.is_system()
    if correct and not any(environment.drift.corrects(role) for role in environment.drift.correct):
        console.print(
            "[yellow]warning[/] drift.correct says auto for no role: --correct will change nothing",
            soft_wrap=True,
        )
    words = texts.command_line(texts.program(), environment.path, correct=correct, limit=limit, roles=roles)
    installed = units.units_of(environment.path)
    changed = installed.install(
        environment.path,
        texts.service_text(environment, words, system=system, correct=correct),
        texts.timer_text(environment, when),
    )
    said = f"{installed.timer}: {'runs' if changed else 'nothing to change, runs'} every {every}"
    console.print(said, highlight=False, soft_wrap=True)
    if changed:
        file = texts.environment_file(environment, system).replace("%h", str(Path.home()))
        hints = [f"variables with secrets: put NAME=VALUE lines into {file}, mode 0600"]
        hints += [] if system else ["to have it run while you are logged out: loginctl enable-linger"]
        hints += [f"what it says: journalctl {'' if system else '--user '}-u {installed.name}"]
        for hint in hints:
            console.print(f"  {hint}", highlight=False, soft_wrap=True)
    return Exit.OK


@schedule.command()
@inventory_argument
@json_option
def show(inventory: Path, as_json: bool) -> int:
    """What is installed for this inventory, when it runs next, and how it ended last."""
    from difyfleet.fleet import units

    installed = units.units_of(inventory)
    there = installed.timer.exists()
    state = installed.state() if there else {}
    if as_json:
        found = {
            "version": 1,
            "verb": "schedule show",
            "unit": installed.name,
            "installed": there,
            "state": state,
        }
        json.dump(found, sys.stdout, ensure_ascii=False)
        sys.stdout.write("\n")
        return Exit.OK
    if not there:
        print(f"{installed.name}: not installed")
        return Exit.OK
    line = next(line for line in installed.service.read_text().splitlines() if line.startswith("ExecStart="))
    print(f"{installed.timer}: {state.get('timer.UnitFileState')}, {state.get('timer.ActiveState')}")
    print(f"runs:  {line.removeprefix('ExecStart=')}")
    print(f"next:  {state.get('timer.NextElapseUSecRealtime') or 'not known'}")
    last = state.get("timer.LastTriggerUSec")
    ended = f"exit code {state.get('service.ExecMainStatus')}, {state.get('service.ExecMainExitTimestamp') or 'under way'}"
    print(f"last:  {f'{last} ({ended})' if last and last != 'n/a' else 'never'}")
    return Exit.OK


@schedule.command()
@inventory_argument
def remove(inventory: Path) -> int:
    """Stop and delete service and timer. Safe to repeat; the inventory itself need not be there any more."""
    from difyfleet.fleet import units

    installed = units.units_of(inventory)
    installed.refuse_others(Path(os.path.abspath(inventory)))
    removed = installed.remove()
    make_console().print(
        f"{installed.name}: {'removed' if removed else 'was not installed'}", highlight=False
    )
    return Exit.OK
