"""lock show and lock release: who works on the hosts, and ending a run that should not."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from difyfleet.fleet.each import Outcome, on_each
from difyfleet.remote import lease
from difyfleet.remote.lease import Holder
from difyfleet.spec.models import HostSpec

__all__ = ["Holder", "holders", "release"]


def holders(hosts: Iterable[HostSpec]) -> list[Outcome[Holder]]:
    """Who holds each host's lease; a value of None (and no error) = it is free."""
    found: dict[str, Holder] = {}

    def look(on: Any, spec: HostSpec) -> None:
        holder = lease.look(on.connector)
        if holder is not None:
            found[spec.name] = holder

    return [Outcome(each.host, found.get(each.host), each.error) for each in on_each(hosts, look)]


def release(hosts: Iterable[HostSpec], seen: Mapping[str, Holder]) -> list[Outcome[Holder]]:
    """End the runs that hold these leases.

    Args:
        seen: host -> the holder that was shown to the operator; nobody else is ended.

    Returns:
        Who holds each host's lease now, as holders().
    """
    left: dict[str, Holder] = {}

    def end(on: Any, spec: HostSpec) -> None:
        holder = lease.release(on.connector, seen[spec.name])
        if holder is not None:
            left[spec.name] = holder

    chosen = [spec for spec in hosts if spec.name in seen]
    return [Outcome(each.host, left.get(each.host), each.error) for each in on_each(chosen, end)]
