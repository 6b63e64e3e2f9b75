"""models: Ollama's own commands, over SSH, on one host or many."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

from difyfleet.cli.common import make_console, selected, show_outcomes
from difyfleet.cli.options import inventory_argument, json_option, limit_option, lock_wait_option
from difyfleet.exits import Exit

Answers = list[tuple[str, Any]]  # host name and what it answered

_name = click.argument("name", metavar="MODEL")


@click.group()
def models() -> None:
    """Ollama's models on the hosts: list, show, ps, stop, rm, pull."""


def _run(
    verb: str,
    inventory: Path,
    limit: str | None,
    as_json: bool,
    function: Callable[[Any, Any], Any],
    show: Callable[[Answers], None],
    plain: Callable[[Any], Any] = lambda value: value,
    *,
    lock_wait: float | None = None,
) -> int:
    """Ask every host, print the answers, and tell whether all of them answered.

    Args:
        lock_wait: for what changes hosts; None = it only reads, and takes no lease.
    """
    from difyfleet.cli.watch import watching
    from difyfleet.fleet.models_verb import on_each

    console = make_console()
    _, hosts = selected(inventory, limit, console)
    with watching(console, quiet=as_json):
        reason = None if lock_wait is None else f"{verb} {inventory.name}"
        outcomes = on_each(hosts, function, lease=reason, lock_wait=lock_wait or 0)
    if not show_outcomes(verb, outcomes, console, as_json, plain):
        show([(each.host, each.value) for each in outcomes if not each.error])
    return Exit.ERROR if any(each.error for each in outcomes) else Exit.OK


def _print_table(rows: Sequence[tuple[str, ...]]) -> None:
    """Rows of text in columns, never cut: the output is also read by programs. The first row is the heading."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        click.echo("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip())


def _size(size: int) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e8 else f"{size / 1e6:.1f} MB"


def _said(answers: Answers) -> None:
    for host, value in answers:
        click.echo(f"{host}: {value}")


@models.command("list")
@inventory_argument
@limit_option
@click.option("--deep", is_flag=True, help="Hash every blob anew, also those already proved.")
@json_option
def list_models(inventory: Path, limit: str | None, deep: bool, as_json: bool) -> int:
    """Models on disk: id, size, whether declared, whether every blob is proved."""
    from difyfleet.fleet import models_verb

    def show(answers: Answers) -> None:
        table = [("host", "model", "id", "size", "declared", "verified", "in memory")]
        for host, value in answers:
            for row in value:
                loaded = {True: "yes", False: "", None: "?"}[row.loaded]
                state = "yes" if not row.faults else row.faults[0].removeprefix(f"model {row.name}: ")
                declared = "yes" if row.declared else "no"
                table.append((host, row.name, row.digest[:12], _size(row.size), declared, state, loaded))
        _print_table(table)

    return _run(
        "models list",
        inventory,
        limit,
        as_json,
        lambda on, spec: models_verb.rows(on, spec, deep=deep),
        show,
        lambda rows: [row.to_json() for row in rows],
    )


@models.command("ps")
@inventory_argument
@limit_option
@json_option
def running_models(inventory: Path, limit: str | None, as_json: bool) -> int:
    """Models in memory, and until when."""
    from dataclasses import asdict

    from difyfleet.fleet import models_verb

    def show(answers: Answers) -> None:
        table = [("host", "model", "id", "size", "processor", "until")]
        for host, value in answers:
            for row in value:
                share = round(100 * row.size_vram / row.size) if row.size else 0
                processor = "100% CPU" if share == 0 else f"{share}% GPU"
                until = row.expires_at[:19]
                table.append((host, row.name, row.digest[:12], _size(row.size), processor, until))
        _print_table(table)

    return _run(
        "models ps",
        inventory,
        limit,
        as_json,
        models_verb.running,
        show,
        lambda rows: [asdict(row) for row in rows],
    )


@models.command("show")
@inventory_argument
@_name
@limit_option
@json_option
def show_model(inventory: Path, name: str, limit: str | None, as_json: bool) -> int:
    """What the server knows of a model: family, parameters, quantization, context, template."""
    from difyfleet.fleet import models_verb

    def show(answers: Answers) -> None:
        for host, about in answers:
            details, info = about.get("details") or {}, about.get("model_info") or {}
            lines = {
                key: details.get(key) for key in ("family", "parameter_size", "quantization_level", "format")
            }
            lines |= {
                key: value
                for key, value in info.items()
                if key.endswith(("context_length", "embedding_length"))
            }
            click.echo(f"{host}: {name}")
            for key, value in lines.items():
                click.echo(f"  {key:<28} {value}")
            for part in ("parameters", "system", "template"):
                if about.get(part):
                    click.echo(f"  {part}:")
                    click.echo("\n".join(f"    {line}" for line in str(about[part]).splitlines()))

    return _run(
        "models show", inventory, limit, as_json, lambda on, spec: models_verb.show(on, spec, name), show
    )


@models.command("stop")
@inventory_argument
@_name
@limit_option
@lock_wait_option
@json_option
def stop_model(inventory: Path, name: str, limit: str | None, lock_wait: float, as_json: bool) -> int:
    """Unload a model from memory."""
    from difyfleet.fleet import models_verb

    return _run(
        "models stop",
        inventory,
        limit,
        as_json,
        lambda on, spec: models_verb.stop(on, spec, name),
        _said,
        lock_wait=lock_wait,
    )


@models.command("rm")
@inventory_argument
@_name
@limit_option
@click.option("--force", is_flag=True, help="Also a model that the inventory declares.")
@lock_wait_option
@json_option
def remove_model(
    inventory: Path, name: str, limit: str | None, force: bool, lock_wait: float, as_json: bool
) -> int:
    """Delete a model from disk. Refuses one that the inventory declares."""
    from difyfleet.fleet import models_verb

    return _run(
        "models rm",
        inventory,
        limit,
        as_json,
        lambda on, spec: models_verb.remove(on, spec, name, force=force),
        _said,
        lock_wait=lock_wait,
    )


@models.command("pull")
@inventory_argument
@_name
@limit_option
@lock_wait_option
@json_option
def pull_model(inventory: Path, name: str, limit: str | None, lock_wait: float, as_json: bool) -> int:
    """Pull a model and prove it by its hashes. The host pulls: cut the connection and it goes on."""
    from difyfleet.fleet import models_verb

    return _run(
        "models pull",
        inventory,
        limit,
        as_json,
        lambda on, spec: models_verb.pull(on, spec, name),
        _said,
        lock_wait=lock_wait,
    )
