"""What earlier runs found: one line of JSON per run and environment in the controller's state folder, the newest last.

It holds what a report needs (which role of which host was in which state, and why), no diffs. It is bounded, and a line that a
crash has torn is left out.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from difyfleet.fleet.results import (
    CHANGED,
    FAILED,
    SKIPPED,
    WOULD_CHANGE,
    HostRecord,
    HostResult,
    OperationResult,
    RoleRecord,
    RunRecord,
    RunResult,
    now,
)
from difyfleet.paths import environment_dir, locked, write_whole
from difyfleet.secrets import mask
from difyfleet.spec.models import Environment

RUNS = 1000  # runs kept per environment: six weeks of one an hour
_BYTES = 32 << 20  # bytes kept at most: of a fleet of hundreds of hosts fewer runs
_SLACK = 100  # runs above RUNS before the file is rewritten
_WORDS = 300  # characters kept of one reason
_REASONS = 20  # reasons kept per role

CLEAN, DRIFT, MIXED = "clean", "drift", "mixed"


def record_of(result: RunResult, environment: str, exit: int, at: str | None = None) -> RunRecord:
    """A result as the history keeps it, without hosts that the run did not come to.

    Args:
        at: when it ended; default: now.
    """
    looked_at = [host for host in result.hosts if host.note is None]
    hosts = tuple(HostRecord(host.name, tuple(_roles(host)), host.error) for host in looked_at)
    return RunRecord(result.verb, at or now(), environment, int(exit), round(result.seconds, 1), hosts)


def _roles(host: HostResult) -> Iterator[RoleRecord]:
    names = dict.fromkeys([*(each.role for each in host.operations), *(each.role for each in host.checks)])
    for name in names:
        operations = [each for each in host.operations if each.role == name]
        failed = [f"{each.name}: {each.evidence}" for each in host.failed_checks if each.role == name]
        state = _state(operations, bool(failed))
        news = [each for each in operations if each.state == {DRIFT: WOULD_CHANGE}.get(state, state)]
        yield RoleRecord(name, state, _kind(news), _short(map(_words, news)), _short(failed))


def _state(operations: Sequence[OperationResult], failed_checks: bool) -> str:
    states = {each.state for each in operations}
    if states & {FAILED, SKIPPED}:
        return FAILED
    if WOULD_CHANGE in states:
        return DRIFT
    if failed_checks:
        return FAILED
    return CHANGED if CHANGED in states else CLEAN


def _kind(news: Sequence[OperationResult]) -> str | None:
    kinds = {each.kind for each in news}
    return (kinds.pop() if len(kinds) == 1 else MIXED) if kinds else None


def _words(operation: OperationResult) -> str:
    why = operation.error if operation.state == FAILED else "; ".join(operation.why)
    return f"{operation.name}: {why or operation.state}"


def _short(reasons: Iterable[str]) -> tuple[str, ...]:
    lines = [" ".join(mask(reason).split()) for reason in reasons]
    return tuple(line if len(line) <= _WORDS else line[: _WORDS - 3] + "..." for line in lines[:_REASONS])


class History:
    """The runs of one environment."""

    def __init__(self, environment: Environment) -> None:
        self._folder = environment_dir(environment.name, environment.path)
        self._path = self._folder / "history.jsonl"

    def add(self, record: RunRecord) -> None:
        """Append a run.

        Raises:
            OSError: the state folder cannot be written.
        """
        line = json.dumps(asdict(record), ensure_ascii=False, separators=(",", ":")) + "\n"
        with locked(self._folder):
            _append(self._path, line)
            _bound(self._path)

    def runs(self) -> list[RunRecord]:
        """All runs that are kept, oldest first."""
        try:
            text = self._path.read_text(encoding="utf-8", errors="replace")
        except FileNotFoundError:
            return []
        found = (_parsed(line) for line in text.splitlines())
        return [record for record in found if record is not None]


def _append(path: Path, line: str) -> None:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
    with os.fdopen(descriptor, "r+b") as file:
        size = file.seek(0, os.SEEK_END)
        if (
            size and (file.seek(size - 1), file.read(1))[1] != b"\n"
        ):  # what a crash has torn stays a line of its own
            file.write(b"\n")
        file.write(line.encode("utf-8", "replace"))


def _bound(path: Path) -> None:
    """Drop the oldest runs when there are too many of them; the file is rewritten whole."""
    lines = path.read_bytes().splitlines(keepends=True)
    if len(lines) <= RUNS + _SLACK and path.stat().st_size <= _BYTES:
        return
    kept, size = lines[-RUNS:], sum(map(len, lines[-RUNS:]))
    while len(kept) > 1 and size > _BYTES * 3 // 4:
        size -= len(kept.pop(0))
    write_whole(path, b"".join(kept).decode("utf-8", "replace"))


def _parsed(line: str) -> RunRecord | None:
    """A record, or None for a line that is none."""
    try:
        raw = json.loads(line)
        hosts = tuple(
            HostRecord(
                host["name"],
                tuple(
                    RoleRecord(
                        role["role"],
                        role["state"],
                        role.get("kind"),
                        tuple(role.get("changes", ())),
                        tuple(role.get("failed_checks", ())),
                    )
                    for role in host.get("roles", ())
                ),
                host.get("error"),
            )
            for host in raw["hosts"]
        )
        return RunRecord(raw["verb"], raw["at"], raw["environment"], raw["exit"], raw["seconds"], hosts)
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def last_states(runs: Sequence[RunRecord], verbs: Sequence[str] = ("drift",)) -> dict[tuple[str, str], str]:
    """(host, role) -> state as the newest of these runs that looked found it; a host that could not be reached has the role "host"."""
    found: dict[tuple[str, str], str] = {}
    for run in runs:
        if run.verb in verbs:
            found |= states_of(run)
    return found


def states_of(run: RunRecord) -> dict[tuple[str, str], str]:
    """(host, role) -> state in one run; the role "host" says whether the host itself was in order."""
    found: dict[tuple[str, str], str] = {}
    for host in run.hosts:
        found[host.name, "host"] = FAILED if host.error else CLEAN
        for role in host.roles:
            found[host.name, role.role] = role.state
    return found


def to_json(runs: Iterable[RunRecord]) -> list[dict[str, Any]]:
    """Records as JSON types."""
    return [asdict(run) for run in runs]
