"""Long work: nothing of it is left when it is done."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from pyinfra import host

from difyfleet.facts.jobs import EndedJobs
from difyfleet.operations.base import Change, operation, shell
from difyfleet.remote.jobs import forget_command, log_of


@operation
def forgotten(kind: str) -> Generator[Any, None, None]:
    """No ended unit of this kind of job: a run that was cut during a pull leaves one, which ends by itself and which no later run
    looks for once the model is there.

    Args:
        kind: of remote.jobs.Job.
    """
    ended = host.get_fact(EndedJobs, kind=kind)
    for unit in ended:
        yield Change(f"{unit}: ended, left by a run that was cut")
    for unit in ended:
        yield shell(forget_command(unit, log_of(unit)))
