"""``make bench``: the rows of the table, one or all of them."""

from __future__ import annotations

import argparse
import os
import platform
import signal
import subprocess
import sys
import time
from collections.abc import Sequence

from bench import inventory, table
from bench.pairs import say
from bench.table import Row
from lab import engine
from lab.engine import LabError
from lab.state import CHECKOUT

ROWS = ("startup", "nochange", "fleet", "replay", "install")
PAGE = CHECKOUT / "docs" / "performance.md"
START, END = "<!-- {row}: written by make bench -->", "<!-- end of {row} -->"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="bench", description="Paired runs on this machine, as ratios.")
    parser.add_argument("rows", nargs="*", metavar="ROW", help=f"of {', '.join(ROWS)}; default: all")
    parser.add_argument(
        "--pairs", type=int, default=3, metavar="N", help="runs of each contender (default: 3)"
    )
    parser.add_argument(
        "--rtt", type=_numbers, metavar="MS,...", help="round trips; default: nochange 0,20,50,100; else 20"
    )
    parser.add_argument(
        "--hosts",
        type=_numbers,
        metavar="N,...",
        help="default: fleet 1,10; replay 1,10,50,100",
    )
    parser.add_argument(
        "--rate",
        type=float,
        default=50,
        metavar="MB/S",
        help="link of the first install; 0 = not limited (default: 50)",
    )
    parser.add_argument(
        "--only",
        action="append",
        default=[],
        metavar="TEXT",
        help="only contenders whose name contains it, and ours",
    )
    parser.add_argument(
        "--write",
        metavar="REMARK",
        help="also write the tables into docs/performance.md, with a remark on the machine",
    )
    return parser


def _numbers(text: str) -> list[float]:
    return [float(part) for part in text.split(",")]


def _measure(row: str, arguments: argparse.Namespace) -> str:
    from bench import ansible, fleet, install, nochange, startup

    pairs, only = arguments.pairs, arguments.only
    found: Sequence[Row]
    if row == "startup":
        found = startup.rows(pairs)
    elif row == "nochange":
        found = list(nochange.near_and_far(arguments.rtt or [0, 20, 50, 100], pairs, only))
    elif row in ("fleet", "replay"):
        kind, usual = (fleet.real, [1, 10]) if row == "fleet" else (fleet.replayed, [1, 10, 50, 100])
        counts = [int(count) for count in arguments.hosts or usual]
        found = [each for rtt in arguments.rtt or [20] for each in kind(counts, rtt, pairs, only)]
    else:
        return install.render(install.run_pairs(pairs, arguments.rate, only), arguments.rate)
    text = table.render(found)
    if any("Ansible" in name for each in found for name in each.runs):
        text += f"\nAnsible: {ansible.versions()}\n"
    return text


def _git(*words: str) -> str:
    done = subprocess.run(
        ["git", *words], cwd=CHECKOUT, capture_output=True, text=True, timeout=20, check=False
    )
    return done.stdout.strip()


def machine() -> str:
    """Where and when, for the line above a table. The page that the tables go into does not make a checkout another one."""
    changed = " with changes" if _git("status", "--porcelain", "--", ".", ":!docs/performance.md") else ""
    load = " ".join(f"{value:.1f}" for value in os.getloadavg())
    return (
        f"{time.strftime('%Y-%m-%d')}, commit {_git('rev-parse', '--short', 'HEAD') or 'unknown'}{changed}, "
        f"{os.cpu_count()} cores, Python {platform.python_version()}, load average {load}"
    )


def placed(page: str, row: str, text: str) -> str:
    """The page with the text between the row's marks.

    Raises:
        ValueError: the marks are not there.
    """
    start, end = START.format(row=row), END.format(row=row)
    before, _, rest = page.partition(start)
    _, found, after = rest.partition(end)
    if not found:
        raise ValueError(f"no {start} ... {end} in docs/performance.md")
    return f"{before}{start}\n\n{text.strip()}\n\n{end}{after}"


def _one(row: str, arguments: argparse.Namespace) -> None:
    where = machine()
    text = _measure(row, arguments)
    print(f"{where}\n\n{text}", flush=True)
    if arguments.write is not None:
        remark = f"{where}. {arguments.write}".strip()
        PAGE.write_text(placed(PAGE.read_text(), row, f"{remark}\n\n{text}"))


def main(argv: list[str]) -> int:
    """Run rows and print their tables; the exit status is 1 if something did not do what its row is about."""
    arguments = _parser().parse_args(argv)
    unknown = [row for row in arguments.rows if row not in ROWS]
    if unknown:
        say(f"bench: no row {', '.join(unknown)}; there are {', '.join(ROWS)}")
        return 64
    # so that namespace, line and commands are cleaned up
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        engine.require_root()
        with inventory.alone():
            for row in arguments.rows or ROWS:
                _one(row, arguments)
    except (LabError, RuntimeError) as error:
        say(f"bench: {error}")
        return 1
    return 0
