"""What the program costs before it meets a host: `difyfleet --help`, and `validate` of a large inventory."""

from __future__ import annotations

from pathlib import Path

import yaml

from bench import inventory
from bench.measure import Run, run
from bench.table import Row
from lab.state import CHECKOUT

HOSTS = 200
_DIFYFLEET = str(CHECKOUT / ".venv" / "bin" / "difyfleet")


def large_inventory(hosts: int) -> Path:
    """An inventory of so many hosts."""
    declared = {
        "admin": {"email": "admin@example.com"},
        "hosts": {
            f"h{number}": {"address": f"10.1.{number // 250}.{number % 250 + 1}"} for number in range(hosts)
        },
    }
    path = inventory.folder() / "large.yml"
    path.write_text(yaml.safe_dump(declared))
    return path


def rows(pairs: int) -> list[Row]:
    """Both, each beside a bare `python3 -c pass` of the same environment."""
    python = [str(CHECKOUT / ".venv" / "bin" / "python"), "-c", "pass"]
    commands = {
        "difyfleet --help": [_DIFYFLEET, "--help"],
        f"difyfleet validate, {HOSTS} hosts": [_DIFYFLEET, "validate", str(large_inventory(HOSTS))],
    }
    found = []
    for title, command in commands.items():
        runs: dict[str, list[Run]] = {title: [], "python -c pass": []}
        for number in range(pairs + 1):
            for name, argv in ((title, command), ("python -c pass", python)):
                taken, _ = run(argv, cwd=CHECKOUT)
                if number:  # the first round fills the caches
                    runs[name].append(taken)
        found.append(Row(title, "none", runs))
    return found
