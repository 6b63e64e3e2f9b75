"""--html FILE: a run as a page."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from difyfleet.cli.common import write_file

if TYPE_CHECKING:
    from difyfleet.fleet.results import RunResult
    from difyfleet.spec.models import Environment

html_option = click.option(
    "--html",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Also write the result to this file as a page for a browser.",
)


def write(path: Path, result: RunResult, inventory: Path | None, environment: Environment | None) -> None:
    """Write the page, before the run itself is put into the history. It appears whole, and anybody on this machine may read it.

    Args:
        environment: whose history tells "since when" and is drawn.

    Raises:
        FleetError: the file cannot be written.
    """
    from difyfleet.fleet.history import History
    from difyfleet.report.html import page

    earlier = History(environment).runs() if environment is not None else []
    text = page(result, earlier, inventory=None if inventory is None else str(inventory))
    write_file(path, text)
