"""RunResult as one HTML page: no other file, no script, nothing fetched, everything escaped and masked."""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from difyfleet import __version__
from difyfleet.fleet.results import HostResult, RolloutResult, RunRecord, RunResult, now
from difyfleet.fleet.streaks import Streaks
from difyfleet.report.html import findings, marks, picture, words
from difyfleet.report.html.findings import Finding
from difyfleet.secrets import mask

NAMED = 24  # hosts that a finding names

# no place in a page, or able to show a text in another order than it has (bidirectional controls)
_UNSEEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]"
)


@dataclass(frozen=True)
class Cell:
    """One role on one host.

    Args:
        target: id of the finding that tells more.
    """

    mark: str
    target: str | None


@dataclass(frozen=True)
class Row:
    """One host of the grid.

    Args:
        first: the worst finding.
        more: number of the others.
        since: earliest moment of them; None = new, or not known.
        note: why there is nothing to show.
    """

    name: str
    mark: str
    cells: tuple[Cell, ...]
    first: Finding | None
    more: int
    since: str | None
    note: str | None


def page(
    result: RunResult,
    history: Sequence[RunRecord] = (),
    *,
    at: str | None = None,
    inventory: str | None = None,
) -> str:
    """The page's text.

    Args:
        history: earlier runs over the same inventory, in any order; one of the same `at` is this run and counts once.
        at: when the run was, UTC, as RunRecord has it. Default: now.
        inventory: its path, for the commands to type.
    """
    at = at or now()
    past = sorted((run for run in history if run.at != at), key=lambda run: run.at)
    roles = findings.roles_of(result)
    found = findings.collect(result, Streaks(past))
    rows = _rows(result, roles, found)
    this = picture.Column(at, result.verb, {row.name: row.mark for row in rows})
    folded = [row for row in rows if row.mark not in marks.TROUBLE] if len(rows) > picture.FEW else []
    shown = [row for row in rows if row not in folded]
    return _environment().get_template("page.html.j2").render(
        result=result,
        summary=result.summary(),
        at=at,
        inventory=inventory,
        version=__version__,
        verdict=words.verdict(result),
        worst=marks.worst(row.mark for row in rows),
        rollout=result if isinstance(result, RolloutResult) else None,
        steps=words.steps(result, inventory or "INVENTORY"),
        roles=roles,
        shown=shown,
        folded=folded,
        groups=[(mark, [each for each in found if each.mark == mark]) for mark in marks.WORDS],
        said=marks.WORDS,
        used=[mark for mark in marks.WORDS if any(mark in (row.mark, *(c.mark for c in row.cells)) for row in rows)],
        picture=picture.draw([*map(picture.column, past), this], [row.name for row in rows]),
        has_history=bool(past),
        named=NAMED,
        moment=picture.moment,
        label=picture.LABEL,
        diff_parts=findings.parts,
    )  # fmt: skip


def _rows(result: RunResult, roles: Sequence[str], found: Sequence[Finding]) -> list[Row]:
    """The grid's rows: trouble first, then by name as people count (llm-2 before llm-10)."""
    of: dict[str, list[Finding]] = {host.name: [] for host in result.hosts}
    for finding in found:
        for name in finding.hosts:
            of[name].append(finding)
    untouched = marks.untouched(result)
    rows = [_row(host, roles, of[host.name], untouched=host.name in untouched) for host in result.hosts]
    return sorted(rows, key=lambda row: (marks.rank(row.mark), _natural(row.name)))


def _row(host: HostResult, roles: Sequence[str], found: Sequence[Finding], *, untouched: bool) -> Row:
    cells = []
    for role in roles:
        target = next((finding.id for finding in found if finding.role == role), None)
        cells.append(Cell(marks.of_role(host, role, untouched=untouched), target))
    mark = marks.of_host(host, roles, untouched=untouched)
    times = [
        since.at
        for finding in found
        for variant in finding.variants
        for since, names in variant.hosts.items()
        if since and host.name in names
    ]
    first = found[0] if found else None
    return Row(
        host.name, mark, tuple(cells), first, max(0, len(found) - 1), min(times, default=None), host.note
    )


def _natural(name: str) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", name)]


def _clean(value: Any) -> Any:
    """The one way of a text into the page, before it is escaped: secrets masked, control characters made visible."""
    return _UNSEEN.sub("\ufffd", mask(value)) if type(value) is str else value


@functools.lru_cache(maxsize=1)
def _environment() -> Environment:
    return Environment(
        loader=FileSystemLoader(str(Path(__file__).parent)),
        autoescape=True,
        finalize=_clean,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
