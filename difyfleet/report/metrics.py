"""A drift run as metrics for Prometheus: the text that node_exporter's textfile collector reads.

The format is Prometheus' text exposition format 0.0.4. Series exist with 0 as well, so that an alert on one of them resolves.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime

from difyfleet.fleet.results import CHANGED, CORRECTIVE, INTENTIONAL, WOULD_CHANGE, RunRecord, RunResult

UNKNOWN = "unknown"
_Samples = Iterable[tuple[Mapping[str, str], float]]


def render(result: RunResult, environment: str, history: Sequence[RunRecord]) -> str:
    """The file's text.

    Args:
        history: drift runs of the environment, oldest first, this run as its last.
    """
    this = history[-1]
    clean = [run.at for run in history if run.verb == "drift" and run.exit == 0]
    every = {"environment": environment}
    families: tuple[tuple[str, str, _Samples], ...] = (
        (
            "difyfleet_drift_operations",
            "Operations that would change something, by whose change it is (corrective: the host's, intentional: the inventory's).",
            _drift(result, every),
        ),
        ("difyfleet_corrected_operations", "Operations that this run took back.", _corrected(result, every)),
        (
            "difyfleet_checks_failed",
            "Checks that do not hold; warnings do not count.",
            _checks(result, every),
        ),
        (
            "difyfleet_host_up",
            "1 = the host was reached and read to the end, 0 = it was not.",
            [({**every, "host": host.name}, 0 if host.error else 1) for host in result.hosts],
        ),
        ("difyfleet_run_exit_code", "Exit code of the last drift run.", [(every, this.exit)]),
        ("difyfleet_run_seconds", "Duration of the last drift run.", [(every, this.seconds)]),
        ("difyfleet_last_run_timestamp_seconds", "When the last drift run ended.", [(every, _unix(this.at))]),
        (
            "difyfleet_last_clean_timestamp_seconds",
            "When the last drift run ended that found everything as declared.",
            [(every, _unix(clean[-1]))] if clean else [],
        ),
    )
    return "".join(_family(*family) for family in families)


def _family(name: str, help_text: str, samples: _Samples) -> str:
    lines = [f"# HELP {name} {help_text}", f"# TYPE {name} gauge"]
    for labels, value in samples:
        pairs = ",".join(f'{key}="{_escaped(text)}"' for key, text in labels.items())
        lines.append(f"{name}{{{pairs}}} {value:g}" if abs(value) < 1e6 else f"{name}{{{pairs}}} {value:.0f}")
    return "\n".join(lines) + "\n" if len(lines) > 2 else ""


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')


def _unix(at: str) -> float:
    """Seconds since 1970 of a record's time (UTC)."""
    return datetime.strptime(at.replace("Z", "+0000"), "%Y-%m-%dT%H:%M:%S%z").timestamp()


def _drift(result: RunResult, every: Mapping[str, str]) -> Iterator[tuple[Mapping[str, str], float]]:
    for host in result.hosts:
        for role in dict.fromkeys(operation.role for operation in host.operations):
            kinds = [
                operation.kind or UNKNOWN
                for operation in host.operations
                if operation.role == role and operation.state == WOULD_CHANGE
            ]
            for kind in (CORRECTIVE, INTENTIONAL, UNKNOWN):
                yield {**every, "host": host.name, "role": role, "kind": kind}, kinds.count(kind)


def _corrected(result: RunResult, every: Mapping[str, str]) -> Iterator[tuple[Mapping[str, str], float]]:
    for host in result.hosts:
        for role in dict.fromkeys(operation.role for operation in host.operations):
            done = sum(1 for each in host.operations if each.role == role and each.state == CHANGED)
            yield {**every, "host": host.name, "role": role}, done


def _checks(result: RunResult, every: Mapping[str, str]) -> Iterator[tuple[Mapping[str, str], float]]:
    for host in result.hosts:
        for role in dict.fromkeys(check.role for check in host.checks):
            failed = sum(1 for check in host.failed_checks if check.role == role)
            yield {**every, "host": host.name, "role": role}, failed
