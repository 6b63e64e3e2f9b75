"""Rows of runs that change nothing: one lab host with the whole stack, near and far, alone and under many addresses."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from bench import ansible, inventory
from bench.contenders import Contender, contenders
from bench.controller import Controller, round_trip
from bench.pairs import rounds, say
from bench.table import Row
from bench.watch import Watch
from lab.engine import LabError, run
from lab.network import Network
from lab.state import Host, State

HOST = "llm"
ONE = "one lab host (systemd container, all its programs real, Dify's application a stand-in) with the whole stack of inventory/lab.yml"
OUTER_ROLES = ("docker", "images", "ollama", "openwebui", "dify")
_FIRST = 100  # 10.0.2.100: the first of the extra addresses


def _ready() -> tuple[Network, Host, Watch, Path | None]:
    """The lab host that `apply` has made, and Ansible.

    Raises:
        LabError: there is none.
    """
    state = State()
    try:
        host = state.host(HOST)
    except KeyError:
        raise LabError(
            f"no lab host {HOST}: python3 -m lab up && .venv/bin/difyfleet apply inventory/lab.yml --yes"
        ) from None
    lab = Network(state)
    return lab, host, Watch(lab, HOST), ansible.install()


def chosen(found: Sequence[Contender], only: Sequence[str], hosts: int) -> list[Contender]:
    """Those that are wanted; ours always, since the others are compared with it."""
    wanted = [
        each
        for each in found[1:]
        if each.most_hosts >= hosts and (not only or any(text in each.name for text in only))
    ]
    return [found[0], *wanted]


def near_and_far(round_trips: Sequence[float], pairs: int, only: Sequence[str]) -> Iterator[Row]:
    """One row per round trip in milliseconds."""
    lab, host, watch, mitogen = _ready()
    controller = Controller(lab)
    path = inventory.write("nochange", {HOST: host.address})
    ansible.declare(lab, HOST, path)
    found = chosen(contenders(path, [HOST], mitogen), only, 1)
    for milliseconds in round_trips:
        with controller.at(milliseconds):
            measured = round_trip(controller, host.address)
            say(f"no-change run, round trip {milliseconds:g} ms (measured {measured:.1f} ms)")
            yield Row(f"no change, {milliseconds:g} ms", ONE, rounds(found, 1, pairs, controller, watch))


def many(counts: Sequence[int], milliseconds: float, pairs: int, only: Sequence[str]) -> Iterator[Row]:
    """One row per number of hosts, all at one round trip."""
    lab, host, watch, mitogen = _ready()
    controller = Controller(lab)
    for count in counts:
        addresses = {f"h{number}": f"10.0.2.{_FIRST + number}" for number in range(count)}
        path = inventory.write(f"fleet{count}", addresses, _known_hosts(host, addresses.values()))
        _answer_to(lab, addresses.values())
        ansible.declare(lab, HOST, path)
        found = chosen(contenders(path, list(addresses), mitogen, OUTER_ROLES), only, count)
        what = (
            f"{count} addresses of that one host, roles {', '.join(OUTER_ROLES)} (Dify lets nobody log in so often); "
            f"its processor time is that of {count}, beside the controller's on the same cores"
        )
        with controller.at(milliseconds):
            say(f"no-change run, {count} hosts, round trip {milliseconds:g} ms")
            yield Row(
                f"no change, {count} hosts, {milliseconds:g} ms",
                what,
                rounds(found, count, pairs, controller, watch),
            )


def _answer_to(lab: Network, addresses: Iterable[str]) -> None:
    """Let the lab host have more addresses."""
    holder = run(["docker", "inspect", "-f", "{{.State.Pid}}", f"{lab.name}-{HOST}-net"]).stdout.strip()
    script = "\n".join(f"address replace {address}/24 dev eth0" for address in addresses)
    run(["nsenter", "-t", holder, "-n", "ip", "-batch", "-"], input=script)


def _known_hosts(host: Host, addresses: Iterable[str]) -> Path:
    """A known_hosts file in which each address has the host's key."""
    key = next(
        line.split(" ", 1)[1]
        for line in (inventory.LAB / "known_hosts").read_text().splitlines()
        if line.startswith(f"{host.address} ")
    )
    inventory.FOLDER.mkdir(exist_ok=True)
    path: Path = inventory.FOLDER / "known_hosts"
    path.write_text("".join(f"{address} {key}\n" for address in addresses))
    return path
