"""``python -m bench.remember INVENTORY [ROLE...]``: remember the plan of these hosts as a clean full look, for `drift --quick`.

The questions that a full look also asks of models are left out: of a hundred hosts with recorded answers only one has any.
"""

from __future__ import annotations

import sys
from pathlib import Path

from difyfleet.fleet.engine import engine  # isort: skip - patches gevent first

from difyfleet.fleet import drift
from difyfleet.fleet.clean_looks import CleanLooks
from difyfleet.spec.loader import load


def main(inventory: Path, roles: list[str]) -> int:
    environment = load(inventory)
    with engine(environment.hosts, roles=roles, environment=environment) as run:
        run.prepare()
        drift.remember(run, environment.hosts, CleanLooks(environment, roles))
        return 0 if all(run.evidence(spec.name) for spec in environment.hosts) else 1


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2:]))
