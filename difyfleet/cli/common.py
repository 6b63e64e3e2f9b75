"""What every verb does before and after its run: read the inventory, pick hosts, show the result, put it into the history."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from rich.console import Console

    from difyfleet.fleet.each import Outcome
    from difyfleet.fleet.results import RunRecord, RunResult
    from difyfleet.spec.models import Environment, HostSpec


def selected(
    inventory: Path, limit: str | None, console: Console, *, locked: bool = True
) -> tuple[Environment, tuple[HostSpec, ...]]:
    """Read an inventory, show its warnings, and pick the hosts of --limit. Every secret they name is read now.

    Args:
        locked: see spec.loader.load.

    Raises:
        SpecError: the inventory or a secret is wrong; nothing was contacted.
    """
    from difyfleet.spec.loader import load
    from difyfleet.spec.secret_values import require_all

    environment = load(inventory, locked=locked)
    for warning in environment.warnings:
        console.print(f"[yellow]warning[/] {warning}", highlight=False, soft_wrap=True)
    hosts = environment.select(limit)
    require_all(hosts)
    return environment, hosts


def make_console() -> Console:
    """Standard error, for people."""
    from rich.console import Console

    # in a log or a CI window nothing should be cut or folded at 80 columns
    return Console(stderr=True, width=None if sys.stderr.isatty() else 200)


def check_roles(roles: tuple[str, ...]) -> None:
    """Raise a usage error for a --role that does not exist, with a suggestion."""
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


def show_result(
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
    """Print a result as it was asked for: for people, or as the last line of standard output; with html as a page, too.

    Args:
        inventory: as the operator wrote it, for commands in hints.
        environment: see page.write.
    """
    from difyfleet.report import terminal

    if inventory is not None:
        result.name_inventory(str(inventory))

    if events:
        from difyfleet.fleet.verbs import exit_code

        last_event(result, exit_code(result))
    if as_json or events:
        json.dump(result.to_json(), sys.stdout, ensure_ascii=False)
        sys.stdout.write("\n")
        sys.stdout.flush()
    else:
        terminal.show(result, console, verbose=verbose)
    if html is not None:
        from difyfleet.cli.page import write

        write(html, result, inventory, environment)


def show_outcomes(
    verb: str,
    outcomes: Sequence[Outcome[Any]],
    console: Console,
    as_json: bool,
    plain: Callable[[Any], Any],
) -> bool:
    """Print what hosts answered as JSON, or only the errors, for people.

    Args:
        plain: an answer -> JSON types.

    Returns:
        whether the answers have been printed.
    """
    from difyfleet.secrets import mask

    if as_json:
        answers = [
            {"name": each.host, "result": None if each.error else plain(each.value), "error": each.error}
            for each in outcomes
        ]
        json.dump({"version": 1, "verb": verb, "hosts": answers}, sys.stdout, ensure_ascii=False)
        sys.stdout.write("\n")
        return True
    for each in outcomes:
        if each.error:
            console.print(
                f"error {each.host}: {mask(each.error)}", highlight=False, markup=False, soft_wrap=True
            )
    return False


def write_file(path: Path, text: str) -> None:
    """A report as a file, which appears whole and which anybody on this machine may read.

    Raises:
        FleetError: it cannot be written.
    """
    from difyfleet.errors import FleetError
    from difyfleet.paths import write_whole

    try:
        write_whole(path, text, mode=0o644)
    except OSError as error:
        raise FleetError(
            f"cannot be written: {error.strerror or error}", where=str(path), hint="name another FILE"
        ) from error


def last_event(result: RunResult, code: int) -> None:
    """The event that ends a stream of them; the result follows as the last line."""
    from difyfleet.fleet.events import RunFinished
    from difyfleet.report.stream import JsonLines

    JsonLines(sys.stdout)(RunFinished(verb=result.verb, exit=code, seconds=round(result.seconds, 3)))


def remember(environment: Environment, record: RunRecord, console: Console) -> int:
    """Put a run into the environment's history; it counts also where that cannot be written. Returns its exit code."""
    from difyfleet.fleet.history import History

    try:
        History(environment).add(record)
    except OSError as error:
        console.print(f"[yellow]warning[/] this run is not in the history: {error}", highlight=False)
    return record.exit
