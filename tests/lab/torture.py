"""`make torture`: a fresh host is applied with a cut at every change, once by SIGKILL to the controller, once by cutting its connection, and
must end exactly as a host that nobody disturbed. The figures go into docs/reliability.md.

    .venv/bin/python -m tests.lab.torture [--seed 1] [--ways kill,net] [--drop-every 20] [--keep]
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.lab import cuts, hoststate
from tests.lab.conftest import LabHost, lab, make_host

PAGE = hoststate.ROOT / "docs" / "reliability.md"
START, END = "<!-- figures: written by make torture -->", "<!-- end of figures -->"
REFERENCE = "t-undisturbed"


@dataclass
class Passage:
    """One way to cut, applied at every change of one host's first apply."""

    way: str
    walk: cuts.Walk
    missed: set[cuts.Kind]  # commands and requests of the undisturbed apply that no cut met
    differences: list[str]
    residue: Mapping[str, int]

    @property
    def good(self) -> bool:
        return not self.differences and not self.walk.faults


@dataclass
class Calm:
    """What an undisturbed apply does and makes."""

    changes: list[cuts.Kind]
    state: dict[str, Any]


def every_change_killed(host: LabHost) -> cuts.Choose:
    """SIGKILL, wherever the run is."""
    return lambda point, entry: ("kill", cuts.kill)


def every_connection_cut(host: LabHost, drop_every: int) -> cuts.Choose:
    """The host's sshd is killed; each `drop_every`th time the network is cut without a word instead, which takes a minute to notice."""
    count, end_sshd = 0, cuts.EndSshd(host)

    def choose(point: cuts.Point, entry: Mapping[str, Any]) -> tuple[str, cuts.Sever]:
        nonlocal count
        count += 1
        return ("drop", cuts.drop_packets) if count % drop_every == drop_every // 2 else ("sshd", end_sshd)

    return choose


def pass_through(
    way: str, chooser: Callable[[LabHost], cuts.Choose], calm: Calm, seed: int, folder: Path
) -> Passage:
    """A fresh host, cut at every change, and what it differs in from the reference at the end."""
    host = make_host(f"t-cut-by-{way}", folder)
    walk = cuts.walk(host, chooser(host), seed, say=say)
    state = hoststate.take(host.name)
    differences = [*hoststate.differences(calm.state, state), *dirty(host)]
    met = {kind for cut in walk.cuts for kind, _ in cut.points}
    return Passage(way, walk, set(calm.changes) - met, differences, hoststate.residue(state))


def dirty(host: LabHost) -> list[str]:
    """What plan and verify find on a host that should be done."""
    planned, verified = host.plan(), host.verify()
    found = (
        [f"plan: {line}" for line in planned.would_change] if planned.code != 1 else [f"plan: {planned.err}"]
    )
    if verified.code != 0:
        found.append(f"verify: exit {verified.code}: {verified.out[-2000:]}{verified.err[-2000:]}")
    return found


def figures(passages: list[Passage], calm: Calm, seed: int, seconds: float) -> str:
    """The part of docs/reliability.md that a run writes."""
    processors = os.cpu_count()
    lines = [
        f"{time.strftime('%Y-%m-%d', time.gmtime())}, {processors} cores, Python {platform.python_version()}, seed {seed},"
        f" {seconds / 60:.0f} minutes in all. An undisturbed apply makes {len(calm.changes)} changes,"
        f" {len(set(calm.changes))} of them different (the rest are uploads and the like, one after the other).",
        "",
        "| | " + " | ".join(TITLES[each.way] for each in passages) + " |",
        "| --- |" + " ---: |" * len(passages),
    ]
    for title, value in ROWS.items():
        lines.append(f"| {title} | " + " | ".join(value(each) for each in passages) + " |")
    lines += [
        "",
        "Cuts by operation:",
        "",
        "| Operation | " + " | ".join(TITLES[each.way] for each in passages) + " |",
    ]
    lines.append("| --- |" + " ---: |" * len(passages))
    counts = [by_operation(each.walk) for each in passages]
    for operation in dict.fromkeys(name for count in counts for name in count):
        lines.append(f"| {operation} | " + " | ".join(str(count[operation]) for count in counts) + " |")
    lines += ["", f"Left in Dify out of sight (an undisturbed host: {shown(hoststate.residue(calm.state))}):"]
    lines += [f"- {TITLES[each.way]}: {shown(each.residue)}" for each in passages]
    return "\n".join(lines)


TITLES = {"kill": "controller killed", "net": "connection cut"}
ROWS: dict[str, Callable[[Passage], str]] = {
    "cuts": lambda each: str(len(each.walk.cuts)),
    "of these with packets dropped": lambda each: str(sum(cut.way == "drop" for cut in each.walk.cuts)),
    "different changes that no cut met": lambda each: str(len(each.missed)),
    "operations cut": lambda each: str(len(by_operation(each.walk))),
    "runs until one went through": lambda each: str(each.walk.runs),
    "runs that failed though nobody cut them": lambda each: str(len(each.walk.failed)),
    "seconds until the lease was free, median": lambda each: f"{statistics.median(locks(each.walk)):.1f}",
    "seconds until the lease was free, longest": lambda each: f"{max(locks(each.walk)):.1f}",
    "seconds until a cut run ended by itself, longest": lambda each: longest_end(each.walk),
    "broken promises (exit code, message, time)": lambda each: str(
        sum(len(cut.faults) for cut in each.walk.cuts)
    ),
    "differences from an undisturbed host": lambda each: str(len(each.differences)),
}


def locks(walk: cuts.Walk) -> list[float]:
    return [cut.lock if cut.lock is not None else float("inf") for cut in walk.cuts]


def longest_end(walk: cuts.Walk) -> str:
    ended = [cut.ended for cut in walk.cuts if cut.way != "kill"]
    return f"{max(ended):.1f}" if ended else "-"


def by_operation(walk: cuts.Walk) -> Counter[str]:
    """How often each operation was cut."""
    return Counter(cut.operation for cut in walk.cuts)


def shown(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in counts.items()) or "nothing"


def write(text: str) -> None:
    """Put the figures into the page."""
    before, _, rest = PAGE.read_text().partition(START)
    _, _, after = rest.partition(END)
    PAGE.write_text(f"{before}{START}\n\n{text}\n\n{END}{after}")


def say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S', time.gmtime())} {text}", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(prog="torture", description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("--seed", type=int, default=1, help="of the moments of the cuts")
    parser.add_argument("--ways", default="kill,net", help="kill, net or both, in this order")
    parser.add_argument(
        "--drop-every", type=int, default=20, help="one in so many connections is cut without a word"
    )
    parser.add_argument("--keep", action="store_true", help="leave the hosts for a look")
    chosen = parser.parse_args()
    choices: dict[str, Callable[[LabHost], cuts.Choose]] = {
        "kill": every_change_killed,
        "net": lambda host: every_connection_cut(host, chosen.drop_every),
    }
    ways = [way for way in chosen.ways.split(",") if way in choices]
    began, passages, folder = time.monotonic(), list[Passage](), Path(tempfile.mkdtemp(prefix="torture-"))
    say(f"journals, inventories and what the runs said: {folder}")
    try:
        undisturbed = make_host(REFERENCE, folder)
        applied = undisturbed.apply()
        if applied.code != 0:
            say(f"the undisturbed apply failed:\n{applied.out}{applied.err}")
            return 1
        changes = [kind for (kind, _), _ in cuts.points(iter(undisturbed.changing_commands()))]
        calm = Calm(changes, hoststate.take(undisturbed.name))
        say(f"an undisturbed apply made {len(changes)} changes in {time.monotonic() - began:.0f} s")
        if not chosen.keep:
            lab("down", REFERENCE, check=False)
        for way in ways:
            (folder / way).mkdir()
            passages.append(pass_through(way, choices[way], calm, chosen.seed, folder / way))
            for line in [*passages[-1].walk.faults, *passages[-1].differences]:
                say(f"{way}: {line}")
            for operation, _, what in sorted(passages[-1].missed):
                say(f"{way}: met by no cut: {operation}: {what[:150]}")
            if not chosen.keep:
                lab("down", f"t-cut-by-{way}", check=False)
    finally:
        if not chosen.keep:
            lab("down", REFERENCE, *(f"t-cut-by-{way}" for way in ways), check=False)
    passages.sort(key=lambda each: list(choices).index(each.way))
    text = figures(passages, calm, chosen.seed, time.monotonic() - began)
    print(text)
    if set(ways) == set(choices):
        write(text)
    return 0 if all(each.good for each in passages) else 1


if __name__ == "__main__":
    sys.exit(main())
