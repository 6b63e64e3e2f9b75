"""`difyfleet apply FILE` for a file that `difyfleet plan --out FILE` wrote."""

from __future__ import annotations

from pathlib import Path

from difyfleet.cli.common import make_console, remember, selected, show_result
from difyfleet.cli.watch import watching
from difyfleet.fleet import plan_file, verbs
from difyfleet.fleet.history import record_of


def apply_plan(
    path: Path, as_json: bool, verbose: bool, events: bool, lock_wait: float, html: Path | None
) -> int:
    """Carry out a saved plan, or refuse because something has changed. Asks nobody: the file is the approval."""
    saved = plan_file.load(path)
    console = make_console()
    environment, hosts = selected(saved.inventory, saved.limit, console)
    plan_file.refuse_other_inputs(saved, hosts)
    with watching(console, quiet=as_json, events=events):
        result = verbs.apply(
            hosts,
            roles=saved.roles,
            confirm=lambda planned: plan_file.agrees(saved, planned),
            switches=saved.switches,
            only_planned=True,
            environment=environment,
            reason=f"apply {path.name}",
            lock_wait=lock_wait,
        )
    show_result(
        result, console, as_json, verbose, saved.inventory, events=events, html=html, environment=environment
    )
    code = verbs.exit_code(result)
    if result.verb == "plan":  # refused
        return code
    return remember(environment, record_of(result, environment.name, code), console)
