"""The history as a picture: a strip of marks for each host, and bars for the fleet. Positions only; the template draws."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from difyfleet.fleet.results import RunRecord
from difyfleet.report.html import marks

RUNS = 30  # newest runs that are drawn; on a phone each is 8 px wide then
FEW = 12  # hosts that are drawn one and all
STEP = 12  # width of a run in the drawing's own units
LABEL = 60  # width of a day's label on a phone, same units
BAR = 36  # height of the tallest bar, same units

# what a bar is stacked of, from the bottom
_LAYERS = (
    ("bad", (marks.ERROR, marks.CHECKS)),
    ("drift", marks.DRIFT),
)


@dataclass(frozen=True)
class Column:
    """One run.

    Args:
        hosts: the mark of each host that took part.
    """

    at: str
    verb: str
    hosts: Mapping[str, str]


@dataclass(frozen=True)
class Shape:
    """A mark at a place of a strip."""

    x: float
    mark: str
    title: str


@dataclass(frozen=True)
class Strip:
    """One host's runs.

    Args:
        clean: places of the runs in which all was well.
        words: the strip in one sentence.
    """

    host: str
    clean: tuple[float, ...]
    shapes: tuple[Shape, ...]
    words: str


@dataclass(frozen=True)
class Bar:
    """Hosts of one kind in one run.

    Args:
        layer: bad or drift.
    """

    x: float
    y: float
    height: float
    layer: str
    title: str


@dataclass(frozen=True)
class Picture:
    """Everything drawn.

    Args:
        days: place and text of each day's first run, as far as they do not overlap.
        tallest: hosts that the tallest bar stands for.
        quiet: hosts without trouble in any run, which are not drawn where there are many.
    """

    runs: int
    first: str
    last: str
    days: tuple[tuple[float, str], ...]
    bars: tuple[Bar, ...]
    tallest: int
    strips: tuple[Strip, ...]
    quiet: int

    @property
    def width(self) -> int:
        """Of the drawing, in its own units."""
        return self.runs * STEP


def column(run: RunRecord) -> Column:
    """A past run."""
    return Column(run.at, run.verb, {host.name: marks.of_record(host) for host in run.hosts})


def draw(runs: Sequence[Column], hosts: Sequence[str]) -> Picture | None:
    """The newest runs as a picture; None for fewer than two of them.

    Args:
        runs: oldest first, the present one last.
        hosts: names, in the order of the strips.
    """
    runs = runs[-RUNS:]
    if len(runs) < 2:
        return None
    strips = [_strip(name, runs) for name in hosts]
    drawn = tuple(
        strip
        for strip in strips
        if len(strips) <= FEW or any(shape.mark in marks.TROUBLE for shape in strip.shapes)
    )
    bars, tallest = _bars(runs)
    return Picture(
        len(runs), runs[0].at, runs[-1].at, tuple(_days(runs)), bars, tallest, drawn, len(strips) - len(drawn)
    )


def moment(at: str) -> str:
    """2026-11-24T10:45:00Z -> 2026-11-24 10:45."""
    return at[:16].replace("T", " ")


def _middle(place: int) -> float:
    return place * STEP + STEP / 2


def _strip(host: str, runs: Sequence[Column]) -> Strip:
    clean, shapes = [], []
    seen = [run.hosts.get(host) for run in runs]
    for place, (run, mark) in enumerate(zip(runs, seen, strict=True)):
        if mark is None:
            continue
        if mark == marks.CLEAN:
            clean.append(_middle(place))
        else:
            shapes.append(Shape(_middle(place), mark, f"{moment(run.at)} {run.verb}: {marks.WORDS[mark]}"))
    count = {mark: sum(1 for each in seen if each == mark) for mark in marks.WORDS}
    said = [f"{number} {marks.WORDS[mark]}" for mark, number in count.items() if number]
    return Strip(
        host, tuple(clean), tuple(shapes), f"{host}, {len(runs)} runs: {'; '.join(said) or 'in none'}"
    )


def _bars(runs: Sequence[Column]) -> tuple[tuple[Bar, ...], int]:
    counts = [
        [sum(1 for mark in run.hosts.values() if mark in kinds) for _, kinds in _LAYERS] for run in runs
    ]
    tallest = max(sum(each) for each in counts)
    bars = []
    for place, (run, numbers) in enumerate(zip(runs, counts, strict=True)):
        bottom = float(BAR)
        for (layer, _), number in zip(_LAYERS, numbers, strict=True):
            if number:
                height = number / tallest * BAR
                bottom -= height
                title = f"{moment(run.at)} {run.verb}: {number} of {len(run.hosts)} hosts {_SAID[layer]}"
                bars.append(Bar(place * STEP + 1.5, round(bottom, 2), round(height, 2), layer, title))
    return tuple(bars), tallest


_SAID = {"bad": "with an error or a failed check", "drift": "would change"}


def _days(runs: Sequence[Column]) -> list[tuple[float, str]]:
    """Month and day where a day begins, as far as the labels do not overlap; one at the right edge is drawn to the left of it."""
    found: list[tuple[float, str]] = []
    for place, run in enumerate(runs):
        new = place == 0 or run.at[:10] != runs[place - 1].at[:10]
        if new and (not found or place * STEP - found[-1][0] >= LABEL):
            found.append((place * STEP, run.at[5:10]))
    edge = len(runs) * STEP - LABEL
    if len(found) > 1 and found[-1][0] > edge and found[-2][0] > edge - LABEL:
        del found[-2]
    return found
