"""pull, ask, and the group dify: what is inside Dify, by hand."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from difyfleet.cli.common import make_console, selected, show_outcomes
from difyfleet.cli.options import inventory_argument, json_option, limit_option, lock_wait_option
from difyfleet.exits import Exit

T = TypeVar("T")


def _run(
    verb: str,
    inventory: Path,
    limit: str | None,
    as_json: bool,
    function: Callable[[Any, Any], T],
    show: Callable[[str, T], None],
    plain: Callable[[T], Any] = lambda value: value,
    *,
    one: bool = False,
    lock_wait: float | None = None,
) -> int:
    """Ask every host (or the only one), print the answers, and tell whether all of them answered.

    Args:
        lock_wait: for what changes hosts; None = it only reads, and takes no lease.
    """
    from difyfleet.cli.watch import watching
    from difyfleet.fleet.content_verbs import on_each

    console = make_console()
    _, hosts = selected(inventory, limit, console)
    if one and len(hosts) != 1:
        names = ", ".join(spec.name for spec in hosts)
        how = "write HOST/ASSISTANT" if verb == "ask" else "name it with --limit"
        raise click.UsageError(f"{verb} works on one host; {how} (here: {names})")
    with watching(console, quiet=as_json):
        reason = None if lock_wait is None else f"{verb} {inventory.name}"
        outcomes = on_each(hosts, function, lease=reason, lock_wait=lock_wait or 0)
    if not show_outcomes(verb, outcomes, console, as_json, plain):
        for each in outcomes:
            if each.value is not None:
                show(each.host, each.value)
    return Exit.ERROR if any(each.error for each in outcomes) else Exit.OK


@click.command()
@inventory_argument
@limit_option
@click.option(
    "--output",
    "-o",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write to this file instead of standard output.",
)
@click.option(
    "--documents",
    type=click.Path(path_type=Path, file_okay=False),
    help="Fetch the documents' originals into this folder and declare them too.",
)
def pull(inventory: Path, limit: str | None, output: Path | None, documents: Path | None) -> int:
    """Write what is inside a host's Dify (models, knowledge bases, assistants) as declarations. Changes nothing."""
    from difyfleet.fleet import content_verbs

    named = os.path.relpath(documents, inventory.resolve().parent) if documents else None

    def show(host: str, text: str) -> None:
        if output is None:
            click.echo(text, nl=False)
        else:
            output.write_text(text, encoding="utf-8")
            click.echo(f"{host}: {output}", err=True)

    return _run(
        "pull",
        inventory,
        limit,
        False,
        lambda on, spec: content_verbs.pulled(on, spec, documents, named),
        show,
        one=True,
    )


@click.command()
@inventory_argument
@click.argument("assistant", metavar="[HOST/]ASSISTANT")
@click.argument("question")
@json_option
def ask(inventory: Path, assistant: str, question: str, as_json: bool) -> int:
    """Ask an assistant and show its answer and the documents it cites.

    ASSISTANT is its key in the inventory, or its name in Dify. HOST/ is needed where the inventory has several hosts.
    """
    from difyfleet.fleet import content_verbs

    host, slash, key = assistant.partition("/")
    limit, key = (host, key) if slash else (None, assistant)
    return _run(
        "ask",
        inventory,
        limit,
        as_json,
        lambda on, spec: content_verbs.ask(on, spec, key, question),
        lambda _, answer: click.echo(content_verbs.show(answer)),
        lambda answer: answer.to_json(),
        one=True,
    )


@click.group()
def dify() -> None:
    """Dify by hand: reset-password, unlock, export, import."""


@dify.command("reset-password")
@inventory_argument
@limit_option
@lock_wait_option
@json_option
def reset_password(inventory: Path, limit: str | None, lock_wait: float, as_json: bool) -> int:
    """Make the admin's password the one that the inventory gives (or the host keeps), clear the login lock, and log in."""
    from difyfleet.fleet import content_verbs

    return _run(
        "dify reset-password",
        inventory,
        limit,
        as_json,
        content_verbs.reset_password,
        _said,
        lock_wait=lock_wait,
    )


@dify.command()
@inventory_argument
@limit_option
@lock_wait_option
@json_option
def unlock(inventory: Path, limit: str | None, lock_wait: float, as_json: bool) -> int:
    """Clear the login lock that Dify sets after too many wrong passwords (it lasts 24 hours)."""
    from difyfleet.fleet import content_verbs

    return _run("dify unlock", inventory, limit, as_json, content_verbs.unlock, _said, lock_wait=lock_wait)


@dify.command("export")
@inventory_argument
@click.argument("app")
@limit_option
@click.option(
    "--output",
    "-o",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write to this file instead of standard output.",
)
def export_app(inventory: Path, app: str, limit: str | None, output: Path | None) -> int:
    """Write an app (by key or exact name) as Dify's DSL, a YAML text. Any kind of app, without secrets."""
    from difyfleet.fleet import content_verbs

    def show(host: str, text: str) -> None:
        if output is None:
            click.echo(text, nl=False)
        else:
            output.write_text(text, encoding="utf-8")
            click.echo(f"{host}: {output}", err=True)

    return _run(
        "dify export",
        inventory,
        limit,
        False,
        lambda on, spec: content_verbs.export(on, spec, app),
        show,
        one=True,
    )


@dify.command("import")
@inventory_argument
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@limit_option
@click.option("--name", help="Name of the new app. Default: the one in the file.")
@lock_wait_option
@json_option
def import_app(
    inventory: Path, file: Path, limit: str | None, name: str | None, lock_wait: float, as_json: bool
) -> int:
    """Make a new app from Dify's DSL. Refused where an app of the name is there."""
    from dataclasses import asdict

    from difyfleet.fleet import content_verbs

    text = file.read_text(encoding="utf-8")

    def show(host: str, made: Any) -> None:
        click.echo(f"{host}: {made.name} ({made.id})")
        if made.missing:
            click.echo(
                f"{host}: it names knowledge bases that are not here: {', '.join(made.missing)}", err=True
            )

    return _run(
        "dify import",
        inventory,
        limit,
        as_json,
        lambda on, spec: content_verbs.import_app(on, spec, text, name),
        show,
        asdict,
        lock_wait=lock_wait,
    )


def _said(host: str, text: str) -> None:
    click.echo(f"{host}: {text}")
