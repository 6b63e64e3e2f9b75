"""Is the host fit for the stack? Nothing is changed here, and every failure is named at once."""

from __future__ import annotations

import time
from collections.abc import Iterator

from pyinfra import host

from difyfleet.checks import Check
from difyfleet.errors import PreflightError
from difyfleet.facts.fitness import HostFitness
from difyfleet.operations import fitness, fitness_disk
from difyfleet.spec.models import HostSpec

NAME = "preflight"


def wanted(spec: HostSpec) -> bool:
    return True


def converge(spec: HostSpec) -> None:
    """Raise PreflightError that lists every failed check, each with what to do."""
    failures = [check for check in _judged(spec) if not check.ok and not check.warn_only]
    if failures:
        lines = [f"{check.name}: {check.evidence}\n    next: {check.hint}" for check in failures]
        count = "1 check failed" if len(lines) == 1 else f"{len(lines)} checks failed"
        raise PreflightError(
            f"preflight: {count}, nothing was changed\n  " + "\n  ".join(lines), where=spec.name
        )


def checks(spec: HostSpec) -> Iterator[Check]:
    yield from _judged(spec)


def _judged(spec: HostSpec) -> list[Check]:
    seen = host.get_fact(HostFitness, folders=fitness_disk.data_folders(spec), models=spec.ollama.data_dir)
    return fitness.judge(seen, spec, time.time())
