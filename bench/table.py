"""Paired runs as one table: medians, and the median of each pair's ratio."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from bench.measure import Run

HEAD = (
    "| Row | Contender | pairs | sessions | logins | controller CPU s | peak MiB | host CPU s | wall s | wall: ours / its | CPU: ours / its |\n"
    "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n"
)


@dataclass
class Row:
    """One situation, and what each contender took in it.

    Attributes:
        title: what was done, where, at which distance.
        host: what the hosts are, for the line below the table.
        runs: by contender, one run per round, in the order of the rounds. The first contender is ours.
        hosts: how many were looked at; 0 where that is not the point.
    """

    title: str
    host: str
    runs: dict[str, list[Run]] = field(default_factory=dict)
    hosts: int = 0


def ratios(ours: Sequence[float], theirs: Sequence[float]) -> list[float]:
    """Each round's own ratio. A round in which the other took nothing measurable has none."""
    return [mine / other for mine, other in zip(ours, theirs, strict=True) if other > 0]


def median(values: Iterable[float | int | None]) -> float | None:
    """The median of what was measured; None if nothing was."""
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else None


def number(value: float | None, digits: int = 2) -> str:
    """For a cell; a dash for what was not measured."""
    if value is None:
        return "-"
    return f"{value:.{digits}f}" if abs(value) < 100 else f"{value:.0f}"


def count(value: float | None) -> str:
    """A median of whole numbers, which need not be one."""
    return "-" if value is None else f"{value:g}"


def lines(row: Row) -> list[str]:
    """The table's lines of one row, ours first."""
    ours = next(iter(row.runs.values()))
    result = []
    for place, (contender, runs) in enumerate(row.runs.items()):
        walls = ratios([run.wall for run in ours], [run.wall for run in runs])
        loads = ratios([run.cpu for run in ours], [run.cpu for run in runs])
        cells = [
            row.title if place == 0 else "",
            contender,
            str(len(runs)),
            count(median(run.sessions for run in runs)),
            count(median(run.connections for run in runs)),
            number(median(run.cpu for run in runs)),
            number(median(run.peak for run in runs), 0),
            number(median(run.host_cpu for run in runs)),
            number(median(run.wall for run in runs)),
            "1" if place == 0 else number(median(walls), 3),
            "1" if place == 0 else number(median(loads), 3),
        ]
        result.append(f"| {' | '.join(cells)} |")
    return result


def per_added_host(rows: Sequence[Row]) -> str:
    """The controller's processor time for one host more, by contender: from the row with the fewest hosts to the one with the most."""
    few, most = min(rows, key=lambda row: row.hosts), max(rows, key=lambda row: row.hosts)
    words = []
    for contender in few.runs if few.hosts < most.hosts else ():
        less, more = (median(run.cpu for run in row.runs.get(contender, [])) for row in (few, most))
        if less is not None and more is not None:
            words.append(f"{contender} {(more - less) / (most.hosts - few.hosts) * 1000:.0f} ms")
    if not words:
        return ""
    return f"\nController CPU per added host, from {few.hosts} to {most.hosts}: {'; '.join(words)}\n"


def render(rows: Iterable[Row]) -> str:
    """All rows as one Markdown table, and below it what the hosts of each were."""
    rows = list(rows)
    body = "".join(f"{line}\n" for row in rows for line in lines(row))
    added = per_added_host(rows) if rows else ""
    titles: dict[str, list[str]] = {}
    for row in rows:
        titles.setdefault(row.host, []).append(row.title)
    if len(titles) == 1:
        return f"{HEAD}{body}{added}\nHosts: {rows[0].host}\n"
    return f"{HEAD}{body}{added}\n" + "".join(
        f"- {'; '.join(names)}: {host}\n" for host, names in titles.items()
    )
