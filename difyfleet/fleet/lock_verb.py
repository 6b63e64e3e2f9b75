"""lock show and lock release: who works on the hosts, and ending a run that should not."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from difyfleet.fleet.each import Outcome, on_each
from difyfleet.remote import lease
from difyfleet.remote.lease import Holder
from difyfleet.spec.models import HostSpec

__all__ = ["Holder", "holders", "release"]


def holders(hosts: Iterable[HostSpec]) -> list[Outcome[Holder | None]]:
    """Who holds each host's lease; a value of None (and no error) = it is free."""
    return on_each(hosts, lambda on, spec: lease.look(on.connector))


def release(hosts: Iterable[HostSpec], seen: Mapping[str, Holder]) -> list[Outcome[Holder | None]]:
    """End the runs that hold these leases.

    Args:
        seen: host -> the holder that was shown to the operator; nobody else is ended.

    Returns:
        Who holds each host's lease now, as holders().
    """
    chosen = [spec for spec in hosts if spec.name in seen]
    return on_each(chosen, lambda on, spec: lease.release(on.connector, seen[spec.name]))
