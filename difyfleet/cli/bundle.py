"""bundle: everything that hosts need, on a disk, for where there is no network."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from difyfleet.cli.bundle_push import push
from difyfleet.cli.common import make_console, selected
from difyfleet.cli.options import inventory_argument, json_option, limit_option
from difyfleet.exits import Exit

if TYPE_CHECKING:
    from rich.console import Console

    from difyfleet.offline.gather import Gathering
    from difyfleet.offline.minisign import SecretKey
    from difyfleet.spec.models import HostSpec

_bundle_argument = click.argument("path", metavar="BUNDLE", type=click.Path(path_type=Path))
_PASSWORD = "DIFYFLEET_SIGN_PASSWORD"  # noqa: S105 - the variable's name


def _bytes(ctx: click.Context, parameter: click.Parameter, value: str | None) -> int | None:
    """`4095M` or `2G` as bytes."""
    if value is None:
        return None
    match = re.fullmatch(r"([1-9]\d*)([MG])", value)
    if match is None:
        raise click.BadParameter(f"{value!r} is not a size, as in 4095M or 2G")
    return int(match[1]) << (20 if match[2] == "M" else 30)


@click.group()
def bundle() -> None:
    """Bundles for hosts without a network: make, inspect, verify, serve, push."""


@bundle.command()
@inventory_argument
@click.argument("output", type=click.Path(path_type=Path))
@limit_option
@click.option("--from-docker", is_flag=True, help="Take images from this machine's Docker, not from a host.")
@click.option(
    "--ollama-dir",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="With --from-docker: the folder that holds Ollama's models/.",
)
@click.option(
    "--wheels",
    default="auto",
    metavar="auto|none|FOLDER",
    help="Wheels of difyfleet and what it needs: fetched by pip (default), left out, or from a folder.",
)
@click.option(
    "--against",
    type=click.Path(path_type=Path),
    metavar="BUNDLE",
    help="Leave out what this bundle (or bundle.json) has: a delta.",
)
@click.option(
    "--part-size",
    callback=_bytes,
    is_flag=False,
    flag_value="4095M",
    metavar="SIZE",
    help="Cut the tar into parts of this size (4095M, 2G); without a size for FAT32.",
)
@click.option("--sign-key", type=click.Path(path_type=Path), help="minisign's secret key file.")
@json_option
def make(
    inventory: Path,
    output: Path,
    limit: str | None,
    from_docker: bool,
    ollama_dir: Path | None,
    wheels: str,
    against: Path | None,
    part_size: int | None,
    sign_key: Path | None,
    as_json: bool,
) -> int:
    """Make a bundle of all that the inventory declares: OUTPUT is a folder, or NAME.tar.

    Images, models and Docker's files are read from provisioned hosts over SSH. A run that was cut off goes on where it was.
    """
    from difyfleet.cli.watch import watching
    from difyfleet.offline import make as making

    console = make_console()
    environment, hosts = selected(inventory, limit, console)
    if (
        from_docker
        and ollama_dir is None
        and any(spec.ollama.enabled and spec.ollama.models for spec in hosts)
    ):
        raise click.UsageError("--from-docker needs --ollama-dir: the inventory declares models")
    if against is not None and output.resolve() in (against.resolve(), against.resolve().parent):
        raise click.UsageError(f"{against} would be overwritten: name another OUTPUT")
    order = making.Order(
        output=output,
        part_size=part_size,
        base=making.read_base(against) if against else None,
        key=_secret_key(sign_key) if sign_key else None,
    )

    def fill(gathering: Gathering) -> None:
        from difyfleet.offline.sources import Here

        if from_docker:
            for spec in hosts:
                gathering.take(Here(ollama_dir), spec)
        else:
            _from_hosts(gathering, hosts)

    with watching(console, quiet=as_json):
        made = making.make(order, environment.name, hosts, fill, wheels)
    _tell_made(made, console, as_json)
    return Exit.OK


def _from_hosts(gathering: Gathering, hosts: tuple[HostSpec, ...]) -> None:
    """One host after the other: what the first one has, the second need not send."""
    from difyfleet.errors import FleetError
    from difyfleet.fleet.each import on_each
    from difyfleet.offline.sources import Host

    for host in hosts:
        (outcome,) = on_each([host], lambda on, spec: gathering.take(Host(on, spec), spec))
        if outcome.error:
            raise FleetError(outcome.error, where=host.name)


def _secret_key(path: Path) -> SecretKey:
    import os

    from difyfleet.offline.minisign import NeedsPassword, read_secret_key
    from difyfleet.secrets import Secret

    try:
        return read_secret_key(path)
    except NeedsPassword:
        given = os.environ.get(_PASSWORD)
        if given is None and not sys.stdin.isatty():
            raise click.UsageError(f"{path} needs its password: set {_PASSWORD}") from None
        return read_secret_key(
            path, Secret(given or click.prompt(f"Password of {path}", hide_input=True, err=True))
        )


def _tell_made(made: Any, console: Console, as_json: bool) -> None:
    manifest = made.manifest
    carried = sum(manifest.carried.values())
    if as_json:
        _print_json(
            "bundle make",
            {"digest": made.digest, "bytes": carried, "files": [str(file) for file in made.files]},
        )
        return
    left_out = manifest.size_of(manifest.absent)
    words = f", {_size(left_out)} left out" if manifest.base else ""
    console.print(
        f"{len(manifest.images)} images, {len(manifest.models)} models, {len(manifest.files)} files: {_size(carried)}{words}",
        highlight=False,
    )
    for file in made.files:
        click.echo(str(file))


@bundle.command()
@_bundle_argument
@json_option
def inspect(path: Path, as_json: bool) -> int:
    """What is in a bundle. Only its manifest is read; verify proves the rest."""
    from difyfleet.offline.contents import contents

    found = contents(path)
    if as_json:
        _print_json("bundle inspect", found.to_json())
    else:
        for line in found.lines():
            click.echo(line)
    return Exit.OK


@bundle.command()
@_bundle_argument
@click.option("--public-key", metavar="FILE|RW...", help="Whose signature it must have (minisign).")
@click.option(
    "--architecture", metavar="ARCH", help="Fail unless it is for this one (amd64, arm64, x86_64, aarch64)."
)
@json_option
def verify(path: Path, public_key: str | None, architecture: str | None, as_json: bool) -> int:
    """Prove every byte of a bundle. Exit 5 if anything is wrong."""
    from difyfleet.cli.watch import watching
    from difyfleet.offline.minisign import read_public_key
    from difyfleet.offline.pace import Pace
    from difyfleet.offline.verify import verify as check

    console = make_console()
    key = read_public_key(public_key) if public_key else None
    with watching(console, quiet=as_json):
        verdict = check(path, key=key, architecture=architecture, moved=Pace(path.name, "verify").moved)
    if as_json:
        faults = [fault.to_json() for fault in verdict.faults]
        _print_json(
            "bundle verify",
            {"faults": faults, "bytes": verdict.checked, "signed_by": verdict.signed_by or None},
        )
    else:
        for fault in verdict.faults:
            console.print(f"wrong {fault}", highlight=False, markup=False, soft_wrap=True)
        if not verdict.faults:
            signed = f", signed by {verdict.signed_by}" if verdict.signed_by else ", signature not checked"
            console.print(f"{path}: whole, {_size(verdict.checked)}{signed}", highlight=False)
    return Exit.CHECKS_FAILED if verdict.faults else Exit.OK


@bundle.command()
@_bundle_argument
@click.option("--address", default="0.0.0.0", show_default=True, help="Address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), default=8177, show_default=True, help="TCP port.")
def serve(path: Path, address: str, port: int) -> int:
    """Give out a bundle's images and models over HTTP, as a registry mirror for Docker and a registry for Ollama, until interrupted."""
    from difyfleet.errors import FleetError
    from difyfleet.offline.reader import open_bundle
    from difyfleet.offline.serve import server

    with open_bundle(path) as opened:
        try:
            listening = server(opened, address, port, lambda line: click.echo(line, err=True))
        except OSError as error:
            raise FleetError(
                f"cannot listen: {error.strerror}", where=f"{address}:{port}", hint="name another --port"
            ) from error
        with listening:
            click.echo(
                f"serving {path} on {address}:{listening.server_address[1]}; end it with Ctrl-C", err=True
            )
            listening.serve_forever()
    return Exit.OK


bundle.add_command(push)


def _print_json(verb: str, answer: dict[str, Any]) -> None:
    json.dump({"version": 1, "verb": verb, **answer}, sys.stdout, ensure_ascii=False)
    sys.stdout.write("\n")


def _size(size: int) -> str:
    return f"{size / 1e9:.2f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"
