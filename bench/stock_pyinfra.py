"""The inventory of "plain pyinfra": our roles on pyinfra's own SSH connector. `BENCH_INVENTORY=FILE pyinfra bench/stock_pyinfra.py deploy.py`.

Roles speak HTTP through SSH, for which the host must have our connector; its commands and its connect are made pyinfra's own again:
an exec channel per fact, no TCP_NODELAY, no journal of commands.
"""

import os
from pathlib import Path

from pyinfra.connectors.ssh import SSHConnector

from difyfleet.fleet.inventory import names_and_data
from difyfleet.remote.door import DoorConnector
from difyfleet.spec.loader import load

for _method in ("connect", "run_shell_command", "put_file"):
    setattr(DoorConnector, _method, getattr(SSHConnector, _method))

hosts = (
    names_and_data(load(Path(os.environ["BENCH_INVENTORY"])).hosts),
    {"roles_only": tuple(os.environ.get("BENCH_ROLES", "").split())},
)
