"""fleet.waves: what comes before what, and how many at once."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from difyfleet.errors import FleetError
from difyfleet.fleet.waves import Wave, needs, ordered, waves
from difyfleet.spec.models import Admin, Dify, HostSpec, Ollama, OpenWebui
from difyfleet.spec.rollout import Rollout


def ollama(name: str, address: str | None = None) -> HostSpec:
    return host(name, address, dify=Dify(enabled=False), openwebui=OpenWebui(enabled=False))


def dify(name: str, url: str) -> HostSpec:
    return host(
        name, ollama=Ollama(enabled=False), openwebui=OpenWebui(enabled=False), dify=Dify(ollama_url=url)
    )


def host(name: str, address: str | None = None, **sections: Any) -> HostSpec:
    return HostSpec(name=name, address=address or f"{name}.lan", admin=Admin(email="a@b.cd"), **sections)


def names(found: list[Wave]) -> list[list[list[str]]]:
    return [[[spec.name for spec in step] for step in wave] for wave in found]


GPU = ollama("gpu", "10.0.0.9")
ONE, TWO = dify("one", "http://10.0.0.9:11434"), dify("two", "http://GPU:11434/")
ELSEWHERE = dify("three", "http://llm.example.com:11434")


def test_who_needs_whom() -> None:
    webui = host("webui", openwebui=OpenWebui(ollama_url="http://gpu:11434"))
    assert needs([ONE, TWO, ELSEWHERE, webui, GPU]) == {
        "one": {"gpu"},
        "two": {"gpu"},
        "three": set(),
        "webui": {"gpu"},
        "gpu": set(),
    }
    no_server = dify("gpu", "http://gpu:11434")
    assert needs([no_server, TWO])["two"] == set(), "a host without Ollama serves none"
    assert needs([host("all", "10.0.0.1", dify=Dify(ollama_url="http://10.0.0.1:11434"))])["all"] == set()


def test_the_container_ollama_is_not_the_host_ollama() -> None:
    assert needs([host("all"), ollama("ollama")])["all"] == set()


def test_ollama_first_else_the_order_of_the_inventory() -> None:
    hosts = [ONE, ELSEWHERE, TWO, GPU]
    assert [spec.name for spec in ordered(hosts, needs(hosts))] == ["three", "gpu", "one", "two"]


def test_a_circle_has_no_order() -> None:
    circle = [
        host("a", dify=Dify(ollama_url="http://b.lan:11434")),
        host("b", dify=Dify(ollama_url="http://a.lan:1")),
    ]
    with pytest.raises(FleetError, match="a, b: each uses the Ollama of another of them"):
        ordered([ONE, *circle], needs([ONE, *circle]))


@pytest.mark.parametrize(
    ("written", "hosts", "sizes"),
    [
        ([1, "25%", "100%"], 1, (1,)),
        ([1, "25%", "100%"], 3, (1, 2)),
        ([1, "25%", "100%"], 8, (1, 1, 6)),
        ([1, "25%", "100%"], 9, (1, 2, 6)),
        ([1, "25%", "100%"], 200, (1, 49, 150)),
        (["100%"], 5, (5,)),
        ([2, 10, "100%"], 4, (2, 2)),
        (["10%", 1, "100%"], 20, (2, 18)),
        ([1, "25%", "100%"], 0, ()),
    ],
)
def test_sizes(written: list[int | str], hosts: int, sizes: tuple[int, ...]) -> None:
    assert Rollout(waves=written).sizes(hosts) == sizes


@given(
    st.integers(0, 300),
    st.lists(st.integers(1, 99), max_size=4, unique=True),
    st.lists(st.integers(1, 50), max_size=3, unique=True),
)
def test_every_host_is_in_one_wave(hosts: int, shares: list[int], counts: list[int]) -> None:
    written: list[int | str] = [*sorted(counts), *(f"{share}%" for share in sorted(shares)), "100%"]
    sizes = Rollout(waves=written).sizes(hosts)
    assert sum(sizes) == hosts
    assert all(size > 0 for size in sizes)


def test_a_wave_is_cut_where_its_hosts_need_each_other() -> None:
    hosts = [ONE, TWO, GPU, ELSEWHERE]
    assert names(waves(hosts, Rollout())) == [[["gpu"]], [["one", "two", "three"]]]
    assert names(waves(hosts, Rollout(waves=["100%"]))) == [[["gpu", "three"], ["one", "two"]]]


def test_waves_stay_those_of_all_hosts_when_some_are_done() -> None:
    hosts = [host(name) for name in "abcdefgh"]
    assert names(waves(hosts, Rollout(), only=["b", "c", "h"])) == [[], [["b"]], [["c", "h"]]]
