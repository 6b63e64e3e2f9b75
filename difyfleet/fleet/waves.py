"""The order of a rollout: hosts by what they need of each other, cut into waves."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from urllib.parse import urlsplit

from difyfleet.errors import FleetError
from difyfleet.spec.defaults import OLLAMA_URL
from difyfleet.spec.models import HostSpec
from difyfleet.spec.rollout import Rollout

Needs = Mapping[str, frozenset[str]]
Step = tuple[HostSpec, ...]  # hosts that are worked on side by side
Wave = tuple[Step, ...]  # one step, unless hosts in it need others in it


def needs(hosts: Sequence[HostSpec]) -> Needs:
    """Host -> the hosts whose Ollama its Dify or Open WebUI asks, told by the host in their URLs: a host's address or its name.

    The default of dify.ollama_url is the container `ollama` beside Dify, whatever hosts there are.
    """
    servers = {
        word.lower(): spec.name for spec in hosts if spec.ollama.enabled for word in (spec.name, spec.address)
    }
    found = {}
    for spec in hosts:
        urls = [spec.dify.ollama_url] if spec.dify.enabled and spec.dify.ollama_url != OLLAMA_URL else []
        urls += [spec.openwebui.ollama_url] if spec.openwebui.enabled and spec.openwebui.ollama_url else []
        asked = {servers.get((urlsplit(url).hostname or "").lower()) for url in urls}
        found[spec.name] = frozenset(name for name in asked if name is not None and name != spec.name)
    return found


def ordered(hosts: Sequence[HostSpec], needed: Needs) -> tuple[HostSpec, ...]:
    """The hosts with every host after those that it needs, else in their own order.

    Raises:
        FleetError: hosts need each other in a circle.
    """
    left, done = list(hosts), list[HostSpec]()
    while left:
        names = {spec.name for spec in left}
        ready = next((spec for spec in left if not needed[spec.name] & names), None)
        if ready is None:
            raise FleetError(
                f"{', '.join(spec.name for spec in left)}: each uses the Ollama of another of them, so none can be first",
                hint="apply them together: difyfleet apply INVENTORY --limit "
                + ",".join(spec.name for spec in left),
            )
        done.append(ready)
        left.remove(ready)
    return tuple(done)


def waves(hosts: Sequence[HostSpec], rollout: Rollout, *, only: Iterable[str] | None = None) -> list[Wave]:
    """The waves of a rollout.

    Args:
        hosts: all hosts of the rollout, in the order of the inventory.
        only: hosts that are still to be done; the waves stay those of all hosts, so some may be empty. None = all.

    Raises:
        FleetError: see ordered().
    """
    needed = needs(hosts)
    order = ordered(hosts, needed)
    chosen = {spec.name for spec in hosts} if only is None else set(only)
    found, start = [], 0
    for size in rollout.sizes(len(order)):
        members = [spec for spec in order[start : start + size] if spec.name in chosen]
        start += size
        found.append(_steps(members, needed))
    return found


def _steps(members: Sequence[HostSpec], needed: Needs) -> Wave:
    """A wave cut where hosts need others of the same wave. `members` are ordered."""
    steps: list[list[HostSpec]] = []
    depth: dict[str, int] = {}
    for spec in members:
        depth[spec.name] = max((depth[name] + 1 for name in needed[spec.name] if name in depth), default=0)
        if depth[spec.name] == len(steps):
            steps.append([])
        steps[depth[spec.name]].append(spec)
    return tuple(tuple(step) for step in steps)
