"""Since when something is as it is: the first run of the unbroken streak in the history."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from difyfleet.fleet.results import HostRecord, RunRecord
from difyfleet.secrets import mask

ERROR, CHECKS, DRIFT = (
    "error",
    "checks",
    "drift",
)  # what is asked about: failed, a check does not hold, would change

_NO_CHECKS = ("plan",)
_NO_CHANGES = ("verify", "status")


@dataclass(frozen=True)
class Since:
    """The first run that saw it, and how many did, the present one not counted."""

    at: str
    runs: int


class Streaks:
    """Looks back through the past runs of a fleet.

    Args:
        history: past runs, oldest first.
    """

    def __init__(self, history: Sequence[RunRecord]) -> None:
        self._runs = [(run, {host.name: host for host in run.hosts}) for run in reversed(history)]

    def since(self, what: str, host: str, role: str, title: str) -> Since | None:
        """The first run of those, up to the newest, in which it was so without a break.

        A run that did not reach the host, or does not look at such things (a plan runs no checks), says neither yes nor no.

        Args:
            what: ERROR, CHECKS, or DRIFT of whatever kind.
            title: name of the operation or check; of no matter for a host that dropped out (role "").
        """
        first, runs = None, 0
        for run, hosts in self._runs:
            seen = _seen(run, hosts[host], what, role, title) if host in hosts else None
            if seen is False:
                break
            if seen:
                first, runs = run.at, runs + 1
        return Since(first, runs) if first else None


def _seen(run: RunRecord, host: HostRecord, what: str, role: str, title: str) -> bool | None:
    """Whether a past run saw the same; None = it cannot tell."""
    if not role:
        return host.error is not None
    record = next((each for each in host.roles if each.role == role), None)
    if record is None:
        return None
    if what == CHECKS:
        return None if run.verb in _NO_CHECKS else _named(record.failed_checks, title)
    if run.verb in _NO_CHANGES:
        return None
    failed = record.state == "failed" and bool(
        record.changes
    )  # an operation did; what others would do is not known
    if what == ERROR:
        return failed and _named(record.changes, title)
    return None if failed else record.state == "drift" and _named(record.changes, title)


def _named(lines: Sequence[str], title: str) -> bool:
    """Whether a "name: text" line is about this name. The history keeps its lines without line ends, and masked."""
    name = " ".join(mask(title).split())
    return any(line == name or line.startswith(f"{name}: ") for line in lines)
