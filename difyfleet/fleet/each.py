"""One question to every host, outside the stack's roles: what `models`, `dify`, `ask`, `pull` and `lock` are made of."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from difyfleet.fleet.engine import engine
from difyfleet.spec.models import HostSpec

T = TypeVar("T")


@dataclass(frozen=True)
class Outcome(Generic[T]):
    """What one host answered: a value, or why there is none."""

    host: str
    value: T | None
    error: str | None = None


def on_each(
    hosts: Iterable[HostSpec],
    function: Callable[[Any, HostSpec], T],
    *,
    lease: str | None = None,
    lock_wait: float = 0,
) -> list[Outcome[T]]:
    """Call `function(host, spec)` on every host at once; the order of the answers is that of the hosts.

    Args:
        lease: for a function that changes hosts: verb and inventory, see Engine.lock. None = it only reads.

    Raises:
        Locked: another run works on one of the hosts; nothing was called.
    """
    values: dict[str, T] = {}

    def keep(on: Any, spec: HostSpec) -> None:
        values[spec.name] = function(on, spec)

    specs = list(hosts)
    with engine(specs, lease=lease, lock_wait=lock_wait) as run:
        run.each(keep)
        errors = {name: result.error for name, result in run.results.items()}
    return [Outcome(spec.name, values.get(spec.name), errors[spec.name]) for spec in specs]
