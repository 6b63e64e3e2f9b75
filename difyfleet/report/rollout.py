"""What a rollout adds to the end of a run: how far each wave came, why it stopped, and what was not reached."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from difyfleet.fleet.results import HostResult, RolloutResult


def verdict(result: RolloutResult) -> str | None:
    """Where it stopped; None = it went through all its waves."""
    if result.halt is None:
        return None
    return f"[red]{'stopped, locked' if result.halt.locked else 'halted'} in wave {result.halt.wave}[/]"


def lines(result: RolloutResult) -> Iterator[str]:
    """The waves with their hosts' states, then the hosts that this run did not work on, then what to type to go on."""
    for number, wave in enumerate(result.waves, 1):
        yield f"  wave {number}: {', '.join(f'{name} {state}' for name, state in wave.items())}"
    if result.halt is not None and result.halt.locked:
        yield from (f"  {why}" for why in result.halt.why)
    for note, names in _notes(result.hosts):
        yield f"  {', '.join(names)}: {note}"
    if result.next:
        yield f"  next: {result.next}"


def _notes(hosts: Iterable[HostResult]) -> list[tuple[str, list[str]]]:
    found: dict[str, list[str]] = {}
    for host in hosts:
        if host.note:
            found.setdefault(host.note, []).append(host.name)
    return list(found.items())
