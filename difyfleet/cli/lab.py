"""`difyfleet lab`: the lab lives in the checkout, this only hands over."""

from __future__ import annotations

import sys

import click

from difyfleet.errors import FleetError
from difyfleet.exits import Exit
from difyfleet.paths import stack_root


@click.command(
    context_settings={
        "ignore_unknown_options": True,
        "allow_interspersed_args": False,
        "help_option_names": [],
    },
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def lab(arguments: tuple[str, ...]) -> int:
    """Disposable openEuler look-alike hosts: build, up, status, ssh, reboot, down."""
    root = stack_root()
    if not (root / "lab" / "cli.py").is_file():
        raise FleetError(
            "the lab is part of the repository, not of the installed package",
            hint="git clone the repository and run it there",
        )
    sys.path.insert(0, str(root))
    from lab.cli import main

    try:
        return int(main(list(arguments)))
    except SystemExit as ended:  # argparse says 2 for a usage error, which means "changes pending" here
        return Exit.USAGE if ended.code == 2 else int(ended.code or 0)
