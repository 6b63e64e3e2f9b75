"""docs/upstream: the patches fit the pyinfra that is installed, and change no result."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pyinfra
import pytest

from difyfleet.remote import hot_spots

PATCHES = sorted((Path(__file__).parents[2] / "docs" / "upstream").glob("*.patch"))
ASK = """
import json, sys
import pyinfra.api.arguments as arguments, pyinfra.api.util as util, pyinfra.connectors.ssh
class State:
    current_deploy_filename, current_op_file_number = __file__, 3
def below(depth):
    return below(depth - 1) if depth else util.get_operation_order_from_stack(State)
known = [(name, str(kind)) for name, kind in arguments.all_global_arguments()]
from pyinfra.api import Config, Inventory, State
from pyinfra.context import ctx_config
state = State(Inventory((["one"], {"_sudo": True, "_env": {"a": "b"}}), one=(["one"], {"_chdir": "/x"})), Config(SHELL="bash"))
host = state.inventory.get_host("one")
host.data._timeout = 3
popped = [repr(arguments.pop_global_arguments(state, host, {"name": "x", "other": 1, "_su_user": "u"}))]
host.current_deploy_kwargs = {"_sudo": False, "_chdir": "/y"}
with ctx_config.use(Config(SUDO_USER="v")):
    popped.append(repr(arguments.pop_global_arguments(state, host, {"_sudo": True})))
import pyinfra.api.connectors, pyinfra.api.facts as facts
from pyinfra.facts.files import FindInFile
popped.append(sorted(pyinfra.api.connectors.get_all_connectors()))
popped += [
    sorted((key, repr(value)) for key, value in facts._handle_fact_kwargs(state, host, FindInFile, *given)[0].items() if key != "self")
    for given in ((["a", "b"], {}), ([], {"path": "a", "pattern": "b", "interpolate_variables": True}))
]
print(json.dumps([pyinfra.__file__, below(4), below(0), known, popped]))
"""


@pytest.mark.skipif(pyinfra.__version__ not in hot_spots.KNOWN, reason="patches are for this version")
def test_patches_apply_and_answers_stay_the_same(tmp_path: Path) -> None:
    installed = Path(pyinfra.__file__).parent
    patched = tmp_path / "src" / "pyinfra"
    shutil.copytree(installed, patched, ignore=shutil.ignore_patterns("__pycache__"))
    asked = tmp_path / "ask.py"
    asked.write_text(ASK)
    assert len(PATCHES) == 6
    for patch in PATCHES:
        subprocess.run(["git", "apply", str(patch)], cwd=tmp_path, check=True, env={"PATH": "/usr/bin:/bin"})

    def answers(path: str) -> list[object]:
        done = subprocess.run(
            [sys.executable, str(asked)], env={"PYTHONPATH": path}, capture_output=True, text=True, check=True
        )
        found: list[object] = json.loads(done.stdout)
        return found

    before, after = answers(str(installed.parent)), answers(str(patched.parent))
    assert str(after[0]).startswith(str(patched))
    assert before[1:] == after[1:]
