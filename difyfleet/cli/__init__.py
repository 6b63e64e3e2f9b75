"""The command line. Verbs are thin: each imports what it needs when it runs, so that --help stays quick."""

from __future__ import annotations

import sys
from typing import Any

import click

from difyfleet import __version__
from difyfleet.exits import Exit

_VERBS = {
    "validate": ("verbs", "Check an inventory without touching a network."),
    "plan": ("verbs", "Show what an apply would change. Exit 2 if anything would."),
    "apply": ("verbs", "Make the hosts as declared, then check them."),
    "rollout": ("rollout", "Apply in waves, with all checks as gates between them."),
    "verify": ("verbs", "Run every check against the hosts. Changes nothing."),
    "drift": ("drift", "Is everything as declared? Who changed what, since when; taken back where allowed."),
    "schedule": ("schedule", "Look for drift on a schedule: a systemd timer on this machine."),
    "history": ("history", "What earlier runs found, without contacting a host."),
    "lock": ("lock", "Pin what tags and versions mean; and who works on the hosts: show, release."),
    "status": ("verbs", "One line per host and role: is it well?"),
    "ask": ("content", "Ask an assistant; show its answer and the documents it cites."),
    "pull": ("content", "Write what is inside a host's Dify as declarations."),
    "dify": ("content", "Dify by hand: reset-password, unlock, export, import."),
    "models": ("models", "Ollama's models on the hosts: list, show, ps, stop, rm, pull."),
    "bundle": ("bundle", "Bundles for hosts without a network: make, inspect, verify, serve, push."),
    "lab": ("lab", "Disposable openEuler look-alike hosts for trying and testing."),
}


class _Verbs(click.Group):
    """Loads a verb's module only when that verb is asked for; help texts stand in the table above."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _VERBS:
            return None
        from importlib import import_module

        module = import_module(f"difyfleet.cli.{_VERBS[cmd_name][0]}")
        command: click.Command = getattr(module, cmd_name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in _VERBS.items()])

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            import difflib

            close = difflib.get_close_matches(args[0], _VERBS, n=1)
            if close:
                raise click.UsageError(f"{error.message} Did you mean '{close[0]}'?", ctx) from error
            raise


@click.group(cls=_Verbs, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="difyfleet")
def cli() -> None:
    """A private LLM service on machines of one's own: Docker, Ollama, Open WebUI, Dify; declared, applied, verified, kept.

    Exit codes: 0 clean or done, 1 error, 2 changes pending, 3 rollout halted, 4 locked, 5 checks failed, 64 usage or inventory error, 130 interrupted.
    """


def main(argv: list[str] | None = None) -> None:
    """Entry point of the `difyfleet` program. Ends the process with an Exit code."""
    sys.exit(int(run(argv)))


def run(argv: list[str] | None = None) -> int:
    """Run one command line and return its exit code. Nothing is raised."""
    try:
        result = cli.main(args=argv, prog_name="difyfleet", standalone_mode=False)
        return int(result) if result is not None else Exit.OK
    except click.exceptions.Abort:
        click.echo("interrupted", err=True)
        return Exit.INTERRUPTED
    except KeyboardInterrupt:
        click.echo("interrupted", err=True)
        return Exit.INTERRUPTED
    except click.exceptions.Exit as error:
        return error.exit_code
    except click.UsageError as error:
        error.show()
        return Exit.USAGE
    except click.ClickException as error:
        error.show()
        return Exit.ERROR
    except BrokenPipeError:
        return Exit.ERROR
    except Exception as error:  # noqa: BLE001 - told apart below; what is not ours is raised again
        return _failed(error)


def _failed(error: Exception) -> int:
    from difyfleet.errors import FleetError, Locked, SpecError
    from difyfleet.secrets import mask

    if isinstance(error, FleetError):
        click.echo(mask(str(error)), err=True)
        if isinstance(error, Locked):
            return Exit.LOCKED
        return Exit.USAGE if isinstance(error, SpecError) else Exit.ERROR
    raise error
