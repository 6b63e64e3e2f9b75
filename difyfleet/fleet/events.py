"""What happens in a run, told while it happens: one event per fact, to whoever listens.

The JSON Schema of the events, docs/reference/events.schema.json, is written from these models: `python -m difyfleet.fleet.events`.
"""

from __future__ import annotations

import datetime
import json
import sys
from collections.abc import Callable
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from difyfleet.fleet.results import CheckResult, OperationResult
from difyfleet.paths import stack_root


def _now() -> str:
    return datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


class _Event(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    version: Literal[1] = 1
    event: str
    at: str = Field(default_factory=_now, description="UTC, ISO 8601.")


class HostConnected(_Event):
    """A host answers and the login works."""

    event: Literal["host_connected"] = "host_connected"
    host: str


class HostFailed(_Event):
    """A host drops out of the run: not reachable, not fit, a fact that could not be read. The others go on."""

    event: Literal["host_failed"] = "host_failed"
    host: str
    error: str


class Progress(_Event):
    """What a host is busy with, in words; not to be relied on."""

    event: Literal["progress"] = "progress"
    host: str
    text: str


class OperationPlanned(_Event):
    """The plan of one operation, once its host is planned."""

    event: Literal["operation_planned"] = "operation_planned"
    host: str
    role: str
    name: str
    state: Literal["unchanged", "would_change"]
    why: list[str]
    diff: str | None


class OperationStarted(_Event):
    """An operation is about to be carried out."""

    event: Literal["operation_started"] = "operation_started"
    host: str
    role: str
    name: str


class OperationFinished(_Event):
    """An operation was carried out, failed, or was skipped because an earlier one on that host failed."""

    event: Literal["operation_finished"] = "operation_finished"
    host: str
    role: str
    name: str
    state: Literal["unchanged", "changed", "failed", "skipped"]
    why: list[str]
    diff: str | None
    seconds: float
    error: str | None


class CheckDone(_Event):
    """One check, once all checks of its host are done."""

    event: Literal["check"] = "check"
    host: str
    role: str
    name: str
    ok: bool
    evidence: str
    hint: str | None
    warn_only: bool = Field(description="A failure is shown but does not fail the run.")


class WaveStarted(_Event):
    """A wave of a rollout begins."""

    event: Literal["wave_started"] = "wave_started"
    wave: int = Field(description="From 1.")
    of: int
    hosts: list[str]


class WaveFinished(_Event):
    """A wave of a rollout is over, checks included."""

    event: Literal["wave_finished"] = "wave_finished"
    wave: int
    of: int
    done: list[str] = Field(description="Hosts of the wave that are as declared, all their checks hold.")
    halted: bool = Field(description="The rollout ends here; later waves are not begun.")


class RunFinished(_Event):
    """The run is over; the summary document follows as the last line."""

    event: Literal["run_finished"] = "run_finished"
    verb: str
    exit: int = Field(description="The exit code the program ends with.")
    seconds: float


Event = Annotated[
    HostConnected
    | HostFailed
    | Progress
    | OperationPlanned
    | OperationStarted
    | OperationFinished
    | CheckDone
    | WaveStarted
    | WaveFinished
    | RunFinished,
    Field(discriminator="event"),
]
KINDS: tuple[type[_Event], ...] = get_args(get_args(Event)[0])

_listeners: list[Callable[[_Event], None]] = []


def emit(event: _Event) -> None:
    """Tell everybody who listens. Nobody listening = nothing happens."""
    for listener in _listeners:
        listener(event)


def heard() -> bool:
    """Whether anybody listens; else an event need not be made."""
    return bool(_listeners)


def listen(listener: Callable[[_Event], None]) -> Callable[[], None]:
    """Call `listener(event)` at every event; the returned function ends that."""
    _listeners.append(listener)
    return lambda: _listeners.remove(listener)


def planned(host: str, operation: OperationResult) -> OperationPlanned:
    return OperationPlanned.model_validate({"host": host, **_of(operation, "state", "why", "diff")})


def finished(host: str, operation: OperationResult) -> OperationFinished:
    return OperationFinished.model_validate(
        {"host": host, **_of(operation, "state", "why", "diff", "seconds", "error")}
    )


def checked(host: str, check: CheckResult) -> CheckDone:
    return CheckDone(host=host, **vars(check))


def _of(operation: OperationResult, *names: str) -> dict[str, Any]:
    shown = operation.to_json()
    return {name: shown[name] for name in ("role", "name", *names)}


def schema() -> dict[str, Any]:
    """The JSON Schema of one line of the stream, the last one excepted (docs/reference/json.md)."""
    found = TypeAdapter(Event).json_schema()
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "An event of difyfleet --events",
        **found,
    }


def schema_text() -> str:
    return json.dumps(schema(), indent=2) + "\n"


if __name__ == "__main__":
    path = stack_root() / "docs" / "reference" / "events.schema.json"
    path.write_text(schema_text(), encoding="utf-8")
    print(f"wrote {path}", file=sys.stderr)
