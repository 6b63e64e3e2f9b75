"""The hosts of an inventory that a run does not work on: connected only when one of its hosts needs something that they may have."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import gevent
from pyinfra.api import Config, Inventory, State
from pyinfra.context import ctx_config, ctx_host, ctx_inventory, ctx_state

from difyfleet.fleet.inventory import names_and_data
from difyfleet.remote.neighbours import OUTSIDE
from difyfleet.spec.models import HostSpec


def connected(specs: Iterable[HostSpec]) -> list[Any]:
    """Connect to some of these hosts, side by side; those that do not answer are left out. No lease is taken: they are not changed,
    but for a service that ends with the run.
    """
    chosen = [spec for spec in specs if spec.share.enabled][:OUTSIDE]
    if not chosen:
        return []
    timeout = max(spec.ssh.connect_timeout for spec in chosen)
    inventory = Inventory((names_and_data(chosen), {}))
    state = State(inventory, Config(CONNECT_TIMEOUT=timeout))

    def connect(host: Any) -> None:
        with (
            ctx_state.use(state),
            ctx_inventory.use(inventory),
            ctx_config.use(state.config),
            ctx_host.use(host),
        ):
            host.connect(show_errors=False)

    gevent.joinall([gevent.spawn(connect, host) for host in inventory])
    return [host for host in inventory if host.connected]
