"""lock INVENTORY (lock file): write the lock file."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from difyfleet.cli.common import make_console, selected
from difyfleet.cli.options import inventory_argument, json_option, limit_option
from difyfleet.exits import Exit

if TYPE_CHECKING:
    from rich.console import Console

    from difyfleet.fleet.lock_file import Locking

_GROUPS = ("ollama", "dify", "openwebui", "models", "docker")  # spec.pins.GROUPS, which is imported late


@click.command()
@inventory_argument
@limit_option
@click.option(
    "--update",
    multiple=True,
    type=click.Choice([*_GROUPS, "all"]),
    help="Look again what these mean now (repeatable): registries are asked, not what the hosts have.",
)
@click.option("--installed", is_flag=True, help="Take only what the hosts have; ask no registry.")
@json_option
def file(inventory: Path, limit: str | None, update: tuple[str, ...], installed: bool, as_json: bool) -> int:
    """Write the lock file beside an inventory: digests of all images and models, hashes of the engine and Compose.

    What stands in it stays; what is newly declared is added, what no longer is, dropped. Changes nothing on a host.
    """
    from difyfleet.cli.watch import watching
    from difyfleet.fleet import lock_file
    from difyfleet.paths import write_whole
    from difyfleet.spec.lock import lock_path, render
    from difyfleet.spec.pins import read_lock
    from difyfleet.spec.problems import Problems

    console = make_console()
    environment, hosts = selected(inventory, limit, console, locked=False)
    path, problems = lock_path(inventory), Problems()
    previous = read_lock(path, problems)
    problems.raise_if_any()
    with watching(console, quiet=as_json):
        found = lock_file.make(
            environment.hosts,
            hosts,
            previous[0] if previous else None,
            update=frozenset(_GROUPS if "all" in update else update),
            installed=installed,
        )
    if found.lock is not None:
        text = render(found.lock, inventory.name)
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            write_whole(path, text, mode=0o644)
    _tell(found, path, console, as_json)
    return Exit.ERROR if found.lock is None else Exit.OK


def _tell(found: Locking, path: Path, console: Console, as_json: bool) -> None:
    if as_json:
        answer = {
            "version": 1,
            "verb": "lock",
            "file": None if found.lock is None else str(path),
            "entries": 0 if found.lock is None else len(found.lock.entries()),
            "moves": [asdict(move) for move in found.moves],
            "problems": list(found.problems),
        }
        json.dump(answer, sys.stdout, ensure_ascii=False)
        sys.stdout.write("\n")
        return
    for problem in found.problems:
        console.print(f"error {problem}", highlight=False, markup=False, soft_wrap=True)
    for move in found.moves:
        click.echo(str(move))
    if found.lock is None:
        console.print(f"{path} was not written", highlight=False, markup=False)
    else:
        what = f"{len(found.moves)} changed" if found.moves else "nothing changed"
        console.print(f"{path}: {len(found.lock.entries())} entries, {what}", highlight=False, markup=False)
