"""fleet.patched: whoever runs something over hosts has gevent patched, or hosts are worked on one after the other."""

from __future__ import annotations

import subprocess
import sys

import pytest

CODE = "import {module}; from gevent import monkey; print(*map(monkey.is_module_patched, ('socket', 'threading', 'time')))"


@pytest.mark.parametrize("module", ["engine", "drift", "verbs", "rollout", "clean_looks"])
def test_what_runs_over_hosts_is_patched(module: str) -> None:
    code = CODE.format(module=f"difyfleet.fleet.{module}")
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.split() == ["True"] * 3
