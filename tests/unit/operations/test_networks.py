"""The network that the stack's parts find each other on."""

from __future__ import annotations

import pytest

from difyfleet.errors import HostError
from difyfleet.facts.networks import Network, NetworkState
from difyfleet.operations import networks
from tests.unit.fakehost import fact, fake_host, run_steps


def steps(found: Network | None) -> tuple[list[str], list[str]]:
    with fake_host({fact(NetworkState, network=networks.STACK): found}):
        changes, commands = run_steps(networks.network, networks.STACK)
    return [change.why for change in changes], commands


def test_absent_and_there() -> None:
    whys, commands = steps(None)
    assert whys == ["docker network difyfleet: absent"]
    assert commands == ["docker network create --driver bridge --label difyfleet.managed=true difyfleet"]
    assert steps(Network("difyfleet", "bridge", internal=False)) == ([], [])


def test_a_network_of_another_kind_is_refused() -> None:
    for found, kind in (
        (Network("difyfleet", "macvlan", internal=False), "macvlan"),
        (Network("difyfleet", "bridge", internal=True), "internal"),
    ):
        with pytest.raises(HostError, match=f"exists but is {kind}"):
            steps(found)
