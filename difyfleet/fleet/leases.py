"""The leases of all hosts of a run: all of them, or none."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any

import gevent

from difyfleet.errors import HostError, Locked
from difyfleet.remote import lease


def take_all(hosts: Iterable[Any], reason: str, wait: float, failed: Callable[[Any, str], None]) -> None:
    """Take the lease of every host, one after the other.

    Args:
        hosts: pyinfra's hosts, connected, always in the order of the inventory: so two runs that wait never wait for each other.
        reason: verb and inventory, for those who meet a held lease.
        wait: seconds to wait for hosts that another run works on.
        failed: told of a host whose lease cannot be taken at all, and why.

    Raises:
        Locked: a lease was not to be had in time. Those taken are given back.
    """
    hosts, deadline = list(hosts), time.monotonic() + wait
    for host in hosts:
        try:
            host.connector.lease = lease.take(host.connector, reason, deadline)
        except Locked:
            give_back(hosts)
            raise
        except HostError as error:
            failed(host, str(error))


def give_back(hosts: Iterable[Any]) -> None:
    """Give back the leases that are held on these hosts. What is still under way there can change nothing from then on."""
    held = [host.connector for host in hosts if getattr(host.connector, "lease", None) is not None]
    gevent.joinall([gevent.spawn(door.lease.release) for door in held])


def lost(host: Any) -> str | None:
    """Why a connected host can be worked on no more: its connection or its lease is gone. None = it can."""
    if host.connected:
        try:
            host.connector.require_connection()
            lease.require_lease(host.connector)
        except HostError as error:
            return str(error)
    return None
