"""The row of a run that changes nothing: one lab host with the whole stack, near and far."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from bench import ansible, inventory
from bench.contenders import Contender, contenders
from bench.controller import Controller, round_trip
from bench.pairs import rounds, say
from bench.table import Row
from bench.watch import Watch
from lab.engine import LabError
from lab.network import Network
from lab.state import Host, State

HOST = "llm"
ONE = "one lab host (systemd container, all its programs real, Dify's application a stand-in) with the whole stack of inventory/lab.yml"


def ready() -> tuple[Network, Host, Watch, Path | None]:
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
    lab, host, watch, mitogen = ready()
    controller = Controller(lab)
    path = inventory.write("nochange", {HOST: host.address})
    ansible.declare(lab, HOST, path)
    found = chosen(contenders(path, [HOST], mitogen), only, 1)
    for milliseconds in round_trips:
        with controller.at(milliseconds):
            measured = round_trip(controller, host.address)
            say(f"no-change run, round trip {milliseconds:g} ms (measured {measured:.1f} ms)")
            yield Row(f"no change, {milliseconds:g} ms", ONE, rounds(found, 1, pairs, controller, watch))
