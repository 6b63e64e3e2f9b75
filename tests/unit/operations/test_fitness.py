"""The preflight's judgements: facts in, named checks out."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from difyfleet.checks import Check
from difyfleet.facts.fitness import Disk, HostFitness, Listener, Published
from difyfleet.operations.fitness import JUDGES, conflicting, judge, name_of
from difyfleet.operations.fitness_disk import GIB, manifest_path, missing_gib
from difyfleet.operations.fitness_network import port_holder, wanted_ports
from difyfleet.spec.models import HostSpec
from difyfleet.spec.values import with_tag
from tests.unit.facts.recorded import lines

FIT = replace(HostFitness().process(lines("fitness")), containers=(), listeners=())
NOW = FIT.time + 3


def spec(**sections: Any) -> HostSpec:
    return HostSpec.model_validate(
        {"name": "llm", "address": "192.0.2.7", "admin": {"email": "a@example.com"}, **sections}
    )


SMALL = {"preflight": {"disk_gib": 10}}


def blocking(seen: Any, wanted: HostSpec, now: float = NOW) -> list[Check]:
    return [check for check in judge(seen, wanted, now) if not check.ok and not check.warn_only]


def names(checks: list[Check]) -> list[str]:
    return [name_of(check) for check in checks]


def test_a_fit_host_passes() -> None:
    assert blocking(FIT, spec(**SMALL)) == []


def test_every_check_can_be_named_in_skip() -> None:
    assert {name_of(check) for check in judge(FIT, spec(**SMALL), NOW)} <= set(JUDGES)


def test_all_failures_at_once_each_with_a_hint() -> None:
    seen = replace(
        FIT, machine="aarch64", memory_mib=512, python="", iptables="", init="init", time=NOW - 500
    )
    found = blocking(seen, spec(**SMALL))
    assert names(found) == ["machine", "systemd", "python3", "clock", "memory", "iptables"]
    assert all(check.hint and check.evidence for check in found)


def test_skipped_checks_warn() -> None:
    seen = replace(FIT, memory_mib=512, machine="aarch64")
    wanted = spec(preflight={"disk_gib": 10, "skip": ["memory"]})
    assert names(blocking(seen, wanted)) == ["machine"]
    [memory] = [check for check in judge(seen, wanted, NOW) if name_of(check) == "memory"]
    assert (memory.ok, memory.warn_only, memory.evidence) == (False, True, "512 MiB (skipped)")


def test_a_misspelt_skip_is_an_error() -> None:
    [found] = blocking(FIT, spec(preflight={"disk_gib": 10, "skip": ["memroy"]}))
    assert "memroy" in found.evidence
    assert "memory" in str(found.hint)


@pytest.mark.parametrize(
    ("release", "accepted"),
    [
        ({"ID": "openEuler", "VERSION": "22.03 (LTS-SP3)", "VERSION_ID": "22.03"}, True),
        ({"ID": "openeuler", "VERSION": "22.03 (LTS-SP4)", "VERSION_ID": "22.03"}, True),
        ({"ID": "openEuler", "VERSION": "24.03 (LTS)", "VERSION_ID": "24.03"}, False),
        ({"ID": "debian", "VERSION_ID": "12", "PRETTY_NAME": "Debian GNU/Linux 12 (bookworm)"}, False),
        ({}, False),
    ],
)
def test_the_distribution(release: dict[str, str], accepted: bool) -> None:
    seen = replace(FIT, os=release)
    assert (blocking(seen, spec(**SMALL)) == []) is accepted
    assert blocking(seen, spec(os="any", **SMALL)) == []


def test_another_service_pack_warns() -> None:
    seen = replace(FIT, os={**FIT.os, "VERSION": "22.03 (LTS-SP4)"})
    assert [c.name for c in judge(seen, spec(**SMALL), NOW) if not c.ok] == ["os: service pack 3"]


@pytest.mark.parametrize(("skew", "accepted"), [(119, True), (-119, True), (121, False), (-3600, False)])
def test_the_clock(skew: int, accepted: bool) -> None:
    assert ("clock" not in names(blocking(FIT, spec(**SMALL), FIT.time + skew))) is accepted


@pytest.mark.parametrize(
    ("wish", "count", "warn_only"), [("require", 1, False), ("warn", 1, True), ("ignore", 0, False)]
)
def test_avx(wish: str, count: int, warn_only: bool) -> None:
    found = [
        c
        for c in judge(replace(FIT, avx=False), spec(preflight={"disk_gib": 10, "cpu_avx": wish}), NOW)
        if not c.ok
    ]
    assert len(found) == count
    assert all(check.warn_only is warn_only for check in found)


def test_room_is_asked_for_what_is_missing_only() -> None:
    wanted = spec()  # 50 GiB
    fresh = replace(FIT, images=frozenset(), models=frozenset())
    assert sum(missing_gib(fresh, wanted)) == pytest.approx(50)
    there = frozenset(map(with_tag, wanted.wanted_images))
    full = replace(
        FIT, images=there, models=frozenset(manifest_path(m.name) for m in wanted.ollama.declared())
    )
    assert missing_gib(full, wanted) == (0, 0)
    one_model = replace(full, models=frozenset(["registry.ollama.ai/library/llama3.2/latest"]))
    assert missing_gib(one_model, wanted) == (0, pytest.approx(50 * 6.7 / 20.2 / 2))


def test_one_file_system_must_hold_both() -> None:
    fresh = replace(FIT, images=frozenset(), models=frozenset())
    apart = {
        "/var/lib/docker": Disk(34 * GIB, "/var/lib/docker", "a"),
        "/opt/ollama": Disk(17 * GIB, "/", "b"),
    }
    assert blocking(replace(fresh, disk=apart), spec()) == []
    shared = {path: Disk(34 * GIB, "/", "a") for path in apart}
    [found] = blocking(replace(fresh, disk=shared), spec())
    assert found.name == "disk: room for /var/lib/docker and /opt/ollama"
    assert found.evidence == "34.0 GiB free on /, 50.0 GiB needed for what is not there yet"


def test_a_full_disk_only_warns_once_everything_is_there() -> None:
    wanted = spec()
    full = replace(
        FIT,
        images=frozenset(map(with_tag, wanted.wanted_images)),
        models=frozenset(manifest_path(m.name) for m in wanted.ollama.declared()),
        disk={path: Disk(GIB, "/", "a") for path in ("/var/lib/docker", "/opt/ollama")},
    )
    assert blocking(full, wanted) == []
    assert [name_of(c) for c in judge(full, wanted, NOW) if not c.ok] == ["disk"]


def test_names_of_images_and_models() -> None:
    assert with_tag("docker.io/library/nginx") == "nginx:latest"
    assert with_tag("reg.example:5000/a/b@sha256:1") == "reg.example:5000/a/b:latest"
    assert with_tag("ghcr.io/open-webui/open-webui:0.4.7") == "ghcr.io/open-webui/open-webui:0.4.7"
    assert manifest_path("qwen2.5:7b") == "registry.ollama.ai/library/qwen2.5/7b"
    assert manifest_path("me/mine:1") == "registry.ollama.ai/me/mine/1"
    assert manifest_path("hf.co/me/mine:Q4") == "hf.co/me/mine/Q4"


def test_conflicting_packages() -> None:
    seen = replace(
        FIT,
        packages={"docker-engine": "18.09.0-345", "docker-ce": "26.1.5-1"},
        dockerd="18.09.0",
        managed=False,
    )
    assert conflicting(seen, spec()) == {"docker-engine": "18.09.0-345"}
    [found] = blocking(seen, spec(**SMALL))
    assert found.evidence == "docker-engine-18.09.0-345"
    assert "dnf remove docker-engine" in str(found.hint)
    allowed = spec(preflight={"disk_gib": 10, "remove_conflicting_packages": True})
    assert blocking(seen, allowed) == []


def test_dockers_own_packages_are_in_the_way_of_the_archive_only() -> None:
    seen = replace(FIT, packages={"docker-ce": "26.1.5-1"})
    assert names(blocking(seen, spec(**SMALL))) == ["packages"]
    assert blocking(seen, spec(docker={"method": "rpm"}, **SMALL)) == []


def test_ports_name_their_holder() -> None:
    nginx = replace(FIT, listeners=(Listener("*", 80, "nginx", 77), Listener("127.0.0.1", 8080, "", None)))
    assert [c.evidence for c in blocking(nginx, spec(**SMALL))] == [
        "held by a process",
        "held by nginx (pid 77)",
    ]
    assert blocking(nginx, spec(dify={"http_port": 81}, openwebui={"port": 8081}, **SMALL)) == []


def test_a_port_on_another_address_is_free() -> None:
    seen = replace(FIT, listeners=(Listener("192.0.2.7", 11434, "ollama", 5),))
    assert blocking(seen, spec(**SMALL)) == []
    assert names(blocking(seen, spec(ollama={"bind": "0.0.0.0"}, **SMALL))) == ["ports"]


def test_our_own_containers_hold_ports_rightly() -> None:
    proxy = (Listener("127.0.0.1", 11434, "docker-proxy", 9),)
    ours = Published("ollama", "ollama", "/opt/difyfleet/ollama", (("127.0.0.1", 11434),))
    assert blocking(replace(FIT, listeners=proxy, containers=(ours,)), spec(**SMALL)) == []
    want = wanted_ports(spec())[0]
    # somebody's own `ollama` container, and one whose folder only begins like ours
    for stranger in (
        replace(ours, project="", working_dir=""),
        replace(ours, working_dir="/opt/difyfleet-old/x"),
    ):
        assert (
            port_holder(replace(FIT, listeners=proxy, containers=(stranger,)), spec(), want)
            == "container ollama"
        )


def test_a_restarting_container_of_ours_shows_no_port_but_its_proxy_may_live() -> None:
    proxy = (Listener("127.0.0.1", 11434, "docker-proxy", 9),)
    restarting = Published("ollama", "ollama", "/opt/difyfleet/ollama", ())
    assert blocking(replace(FIT, listeners=proxy, containers=(restarting,)), spec(**SMALL)) == []
    assert names(blocking(replace(FIT, listeners=proxy, containers=()), spec(**SMALL))) == ["ports"]


def test_without_ss_ports_only_warn() -> None:
    found = [c for c in judge(replace(FIT, listeners=None), spec(**SMALL), NOW) if name_of(c) == "ports"]
    assert [(c.ok, c.warn_only) for c in found] == [(False, True)] * 3


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"addresses": (("eth0", "10.201.7.2/24"),)}, "10.201.7.2/24 on eth0"),
        ({"routes": (("10.0.0.0/8", "tun0"),)}, "the route to 10.0.0.0/8"),
        ({"client": "10.200.0.77"}, "the controller's address 10.200.0.77"),
    ],
)
def test_subnet_clashes(change: dict[str, Any], word: str) -> None:
    [found] = blocking(replace(FIT, **change), spec(**SMALL))
    assert name_of(found) == "subnets"
    assert word in found.evidence


def test_dockers_own_bridges_are_no_clash() -> None:
    seen = replace(
        FIT,
        addresses=(("docker0", "10.200.0.1/24"), ("br-0a1b", "10.201.0.1/24"), ("eth0", "192.0.2.7/24")),
        routes=(("default", "eth0"), ("10.201.0.0/24", "br-0a1b")),
    )
    assert blocking(seen, spec(**SMALL)) == []


def test_networks_given_through_docker_daemon_count() -> None:
    seen = replace(FIT, addresses=(("eth0", "172.31.1.1/24"),))
    [found] = blocking(seen, spec(docker={"daemon": {"bip": "172.31.1.9/24"}}, **SMALL))
    assert name_of(found) == "subnets"
    [found] = blocking(FIT, spec(docker={"daemon": {"bip": "wurst"}}, **SMALL))
    assert "wurst" in found.evidence
