"""Telling people: a command or a webhook gets a JSON summary when the state of a fleet changes. It never changes a run's result."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from difyfleet.exits import Exit
from difyfleet.fleet.drift import Drifted
from difyfleet.fleet.history import CLEAN, last_states, states_of
from difyfleet.fleet.results import CHANGED, RunRecord, RunResult
from difyfleet.secrets import Secret, mask
from difyfleet.spec.drift import Notify
from difyfleet.spec.secret_values import value_of

COMMAND_TIMEOUT = 60  # seconds
WEBHOOK_TIMEOUT = 10  # seconds per try
_TRIES, _PAUSE = 2, 1.0
_STATES = {Exit.OK: CLEAN, Exit.PENDING: "drift", Exit.LOCKED: "busy", Exit.CHECKS_FAILED: "checks_failed"}


@dataclass(frozen=True)
class Target:
    """One that is told.

    Args:
        name: for error messages; holds no token.
        send: takes the JSON text; raises OSError, ValueError or a subprocess or requests error.
    """

    name: str
    send: Callable[[str], None]


def targets(notify: Notify, folder: Path) -> list[Target]:
    """Those that the inventory names.

    Args:
        folder: the inventory's; a command runs in it.

    Raises:
        SpecError: the source of a webhook's URL gives nothing.
    """
    found = []
    if notify.command:
        found.append(command_target(list(notify.command), folder))
    if notify.webhook:
        found.append(webhook_target(notify.webhook))
    secret = value_of(notify.webhook_from)
    if secret is not None:
        found.append(webhook_target(secret))
    return found


def command_target(argv: list[str], folder: Path) -> Target:
    """A program that reads the summary on its standard input."""

    def send(text: str) -> None:
        done = subprocess.run(
            argv, input=text, text=True, capture_output=True, timeout=COMMAND_TIMEOUT, cwd=folder, check=False
        )
        if done.returncode != 0:
            said = (done.stderr or done.stdout).strip().splitlines()
            raise ValueError(f"exit code {done.returncode}" + (f": {said[-1]}" if said else ""))

    return Target(f"command {argv[0]}", send)


def webhook_target(url: str | Secret) -> Target:
    """A URL that gets the summary as a POST; one more try when the first fails."""
    address = url.reveal() if isinstance(url, Secret) else url

    def send(text: str) -> None:
        import requests

        body, headers = text.encode(), {"Content-Type": "application/json"}
        for attempt in range(1, _TRIES + 1):
            try:
                answer = requests.post(address, data=body, headers=headers, timeout=WEBHOOK_TIMEOUT)
            except requests.RequestException as error:
                problem = type(error).__name__
            else:
                if answer.ok:
                    return
                problem = f"HTTP {answer.status_code}"
            if attempt < _TRIES:
                time.sleep(_PAUSE)
        raise ValueError(f"{problem}, twice")

    return Target(f"webhook {urlsplit(address).scheme}://{urlsplit(address).hostname}/...", send)


def changes(runs: Sequence[RunRecord]) -> list[dict[str, str]]:
    """Which roles of which hosts are in another state than when a drift run last looked at them; the role "host" is the host itself.

    Args:
        runs: oldest first, the run in question as the last.
    """
    before = last_states(runs[:-1])
    found = []
    for (host, role), state in states_of(runs[-1]).items():
        was = before.get((host, role), CLEAN)
        was = CLEAN if was == CHANGED else was  # what was corrected then is in order now
        if state != was:
            found.append({"host": host, "role": role, "from": was, "to": state})
    return found


def summary(result: RunResult, drifted: Sequence[Drifted], runs: Sequence[RunRecord]) -> dict[str, Any]:
    """What is told: no diffs, no secrets."""
    this = runs[-1]
    changed = changes(runs)
    return {
        "version": 1,
        "event": "drift",
        "environment": this.environment,
        "at": this.at,
        "state": _STATES.get(Exit(this.exit), "error"),
        "exit": this.exit,
        "text": _text(this, changed),
        "changed": changed,
        "summary": result.summary(),
        "drifted": [each.to_json() for each in drifted],
        "failed_checks": [
            {"host": host.name, "role": check.role, "name": check.name, "evidence": check.evidence}
            for host in result.hosts
            for check in host.failed_checks
        ],
        "errors": [{"host": host.name, "error": host.error} for host in result.hosts if host.error],
        "busy": [host.name for host in result.hosts if host.note],
    }


def _text(run: RunRecord, changed: Sequence[dict[str, str]]) -> str:
    """One line for a chat."""
    state = _STATES.get(Exit(run.exit), "error").replace("_", " ")
    words = [f"{each['host']} {each['role']}: {each['from']} -> {each['to']}" for each in changed]
    more = f" (and {len(words) - 10} more)" if len(words) > 10 else ""
    return f"difyfleet {run.environment}: {state}" + (f"; {', '.join(words[:10])}{more}" if words else "")


def tell(told: Sequence[Target], payload: dict[str, Any]) -> Iterator[str]:
    """Send a summary to everyone; yields a sentence for each that could not be told."""
    text = mask(json.dumps(payload, ensure_ascii=False))
    for target in told:
        try:
            target.send(text)
        except (OSError, ValueError, subprocess.SubprocessError) as error:
            yield mask(f"{target.name} was not told: {error}")
