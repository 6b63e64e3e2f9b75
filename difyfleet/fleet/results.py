"""The one result of every verb. Reports know only this module."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from typing import Any

SCHEMA_VERSION = 1

UNCHANGED, CHANGED, WOULD_CHANGE, FAILED, SKIPPED = (
    "unchanged",
    "changed",
    "would_change",
    "failed",
    "skipped",
)

KNOWN_AFTER_APPLY = "known after apply"  # an operation's words for it
CORRECTIVE, INTENTIONAL = "corrective", "intentional"  # the host was changed; the inventory was changed


def now() -> str:
    """The time as results, records and plans hold it: UTC, whole seconds, ISO 8601."""
    return datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass
class OperationResult:
    """One operation on one host."""

    role: str
    name: str
    state: str
    diff: str | None = None
    seconds: float = 0.0
    why: list[str] = field(default_factory=list)
    error: str | None = None
    kind: str | None = None  # of a change: CORRECTIVE, INTENTIONAL; None = not known or nothing to change
    loses_data: bool = False  # the change would remove something that only exists on this host
    first_command: str | None = None  # what a plan stopped at; for comparing plans, not part of the JSON form

    @property
    def known_after_apply(self) -> bool:
        """Whether a plan could not say what will change, because earlier operations decide it."""
        return any(KNOWN_AFTER_APPLY in why for why in self.why)

    def to_json(self) -> dict[str, Any]:
        found = {**vars(self), "why": list(self.why), "seconds": round(self.seconds, 3)}
        del found["first_command"]
        return found


@dataclass
class CheckResult:
    """One check on one host."""

    role: str
    name: str
    ok: bool
    evidence: str
    hint: str | None = None
    warn_only: bool = False


@dataclass
class HostResult:
    """Everything a run did to, or found on, one host."""

    name: str
    operations: list[OperationResult] = field(default_factory=list)
    checks: list[CheckResult] = field(default_factory=list)
    error: str | None = None
    changing_commands: int = 0
    exec_round_trips: int = 0
    note: str | None = (
        None  # why a host of the run has nothing to show: a rollout did not reach it, another run works on it
    )
    as_of: str | None = (
        None  # of a quick look: time of the full look whose findings still stand (UTC, ISO 8601)
    )

    def count(self, state: str) -> int:
        return sum(1 for operation in self.operations if operation.state == state)

    @property
    def failed(self) -> bool:
        return self.error is not None or self.count(FAILED) > 0

    @property
    def failed_checks(self) -> list[CheckResult]:
        return [check for check in self.checks if not check.ok and not check.warn_only]

    @property
    def warnings(self) -> list[CheckResult]:
        return [check for check in self.checks if not check.ok and check.warn_only]


@dataclass
class RunResult:
    """A finished run over a fleet."""

    verb: str
    hosts: list[HostResult]
    seconds: float = 0.0
    journal: str | None = None
    inventory: str | None = None  # as the operator names it, for commands to type; not part of the JSON form

    def name_inventory(self, path: str) -> None:
        """Make the commands in hints and errors typeable: roles do not know the inventory's name, the caller does."""

        self.inventory = path

        def complete(text: str | None) -> str | None:
            if text is None:
                return None
            text = re.sub(r"\bINVENTORY\b", lambda _: path, text)
            return re.sub(
                rf"difyfleet (apply|plan|verify|status)(?! {re.escape(path)})\b",
                rf"difyfleet \1 {path}",
                text,
            )

        for host in self.hosts:
            host.error = complete(host.error)
            for operation in host.operations:
                operation.error = complete(operation.error)
            for check in host.checks:
                check.hint = complete(check.hint)

    def summary(self) -> dict[str, Any]:
        """The figures every run ends with (design: summary of `--json`)."""
        return {
            "hosts": len(self.hosts),
            "operations": sum(len(host.operations) for host in self.hosts),
            "changed": sum(host.count(CHANGED) for host in self.hosts),
            "would_change": sum(host.count(WOULD_CHANGE) for host in self.hosts),
            "failed": sum(host.count(FAILED) for host in self.hosts)
            + sum(1 for host in self.hosts if host.error),
            "changing_commands": sum(host.changing_commands for host in self.hosts),
            "exec_round_trips": max((host.exec_round_trips for host in self.hosts), default=0),
            "checks_passed": sum(1 for host in self.hosts for check in host.checks if check.ok),
            "checks_failed": sum(len(host.failed_checks) for host in self.hosts),
            "seconds": round(self.seconds, 1),
        }

    def to_json(self) -> dict[str, Any]:
        """The versioned JSON form."""
        return {
            "version": SCHEMA_VERSION,
            "verb": self.verb,
            "summary": self.summary(),
            "hosts": [
                {
                    "name": host.name,
                    "operations": [operation.to_json() for operation in host.operations],
                    "checks": [asdict(check) for check in host.checks],
                    "error": host.error,
                    "note": host.note,
                    "as_of": host.as_of,
                }
                for host in self.hosts
            ],
            "journal": self.journal,
        }


@dataclass
class Halt:
    """Where and why a rollout stopped.

    Args:
        wave: its number, from 1.
        why: one line per host that failed, `host: what`.
        locked: it stopped because another run works on one of the wave's hosts.
    """

    wave: int
    why: list[str]
    locked: bool = False


@dataclass
class RolloutResult(RunResult):
    """A rollout: the results of all its waves, and where it stopped.

    Args:
        waves: host -> untouched, started, done or failed; one mapping per wave, of all hosts of the rollout.
    """

    waves: list[dict[str, str]] = field(default_factory=list)
    halt: Halt | None = None
    next: str | None = None  # the command that goes on with it, when it is not complete

    def name_inventory(self, path: str) -> None:
        super().name_inventory(path)
        self.next = self.next and self.next.replace("INVENTORY", path)
        if self.halt is not None:
            self.halt.why = [why.replace("INVENTORY", path) for why in self.halt.why]

    def to_json(self) -> dict[str, Any]:
        halted = asdict(self.halt) if self.halt else None
        return {**super().to_json(), "rollout": {"waves": self.waves, "halted": halted, "next": self.next}}


@dataclass(frozen=True)
class RoleRecord:
    """One role on one host in one past run."""

    role: str
    state: str  # clean, drift, changed, failed
    kind: str | None = None  # CORRECTIVE, INTENTIONAL or both as "mixed"; None = not known or clean
    changes: tuple[str, ...] = ()  # "operation: why"
    failed_checks: tuple[str, ...] = ()  # "check: evidence"


@dataclass(frozen=True)
class HostRecord:
    """One host in one past run."""

    name: str
    roles: tuple[RoleRecord, ...] = ()
    error: str | None = None


@dataclass(frozen=True)
class RunRecord:
    """One past run as the history keeps it: what a report needs, no diffs."""

    verb: str
    at: str  # UTC, ISO 8601: 2026-11-24T10:45:00Z
    environment: str
    exit: int
    seconds: float
    hosts: tuple[HostRecord, ...] = ()
