"""Secrets generated once and kept on the host; never made anew while data that depends on them lives."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from typing import Any

from pyinfra import host

from difyfleet.errors import HostError
from difyfleet.facts.files import PathState
from difyfleet.facts.secrets import SECRETS_DIR, HostSecrets
from difyfleet.operations.base import Change, operation
from difyfleet.operations.files import put_command
from difyfleet.secrets import Secret, generate


def kept(name: str) -> Secret | None:
    """The secret as the host keeps it; None before its first apply ("known after apply")."""
    entry = host.get_fact(HostSecrets).get(name)
    return entry.value if entry else None


@operation
def keep(
    wanted: Mapping[str, Secret | None], guards: Mapping[str, str] | None = None
) -> Generator[Any, None, None]:
    """Secret files, each root:root 0600.

    Args:
        wanted: name -> value given by the inventory, or None = generate once and keep.
        guards: name -> a path whose existence means that data sealed with this secret lives: then a lost secret is an
            error, not a reason to make a new one.

    Raises:
        HostError: a generated secret is gone while its data is there.
    """
    present = host.get_fact(HostSecrets)
    writes = []
    for name, value in wanted.items():
        entry = present.get(name)
        path = f"{SECRETS_DIR}/{name}"
        guard = (guards or {}).get(name)
        if entry is None and value is None and guard and host.get_fact(PathState, path=guard) is not None:
            raise HostError(
                f"secret {name} is gone but the data made with it is still there ({guard})",
                where=path,
                hint=f"put the old value back into {path} (from a backup or the running container), mode 0600",
            )
        if entry is None:
            yield Change(f"{path}: absent, {'generated' if value is None else 'given by the inventory'}")
            writes.append((path, value or generate()))
        elif value is not None and value != entry.value:
            yield Change(f"{path}: the inventory gives another value", loses_data=True)
            writes.append((path, value))
        elif (entry.mode, entry.owner) != ("0600", "root:root"):
            yield Change(f"{path}: mode {entry.mode} {entry.owner}, wanted 0600 root:root")
            writes.append((path, entry.value))
    for path, value in writes:  # after all notes: a plan stops at the first command
        yield put_command(path, value.reveal().encode(), mode="0600", owner="root", group="root")
