"""Long work on a host that has ended: units that nobody has forgotten yet."""

from __future__ import annotations

import shlex
from collections.abc import Iterable

from pyinfra.api import FactBase

from difyfleet.host_calls import Command

_ENDED = ("exited", "failed", "dead")


class EndedJobs(FactBase[tuple[str, ...]]):
    """Units of one kind of job (see remote/jobs.py) that run no more."""

    def command(self, kind: str) -> Command:
        pattern = f"difyfleet-{kind}-*.service"
        text = f"command -v systemctl >/dev/null || exit 0; systemctl list-units --all --plain --no-legend {shlex.quote(pattern)}"
        return Command(text, "difyfleet.facts.systemd_script", "units", pattern)

    @staticmethod
    def default() -> tuple[str, ...]:
        return ()

    def process(self, output: Iterable[str]) -> tuple[str, ...]:
        """Lines of UNIT LOAD ACTIVE SUB DESCRIPTION."""
        rows = [line.split(None, 4) for line in output]
        return tuple(sorted(row[0] for row in rows if len(row) > 3 and row[3] in _ENDED))
