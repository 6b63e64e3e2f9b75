"""The preflight's one trip: recorded output in, a typed host out."""

from __future__ import annotations

import subprocess

from difyfleet.facts.fitness import (
    Fitness,
    HostFitness,
    Listener,
    Published,
    engine_version,
    published_ports,
    sections,
)
from tests.unit.facts.recorded import lines

SEEN = HostFitness().process(lines("fitness"))


def test_a_recorded_host() -> None:
    assert SEEN.os["ID"] == "openEuler"
    assert SEEN.os["VERSION"] == "22.03 (LTS-SP3)"
    assert (SEEN.machine, SEEN.avx, SEEN.memory_mib) == ("x86_64", True, 24105)
    assert (SEEN.init, SEEN.init_state, SEEN.python) == ("systemd", "running", "3.11.2")
    assert SEEN.disk["/opt/ollama"].free == 57216405504
    assert SEEN.disk["/opt/ollama"].fs != SEEN.disk["/var/lib/docker"].fs
    assert (SEEN.tmp, SEEN.forward, SEEN.selinux) == ("tmpfs", "1", "Disabled")
    assert SEEN.dockerd == "26.1.5"
    assert SEEN.managed
    assert SEEN.client == "10.0.2.2"
    assert SEEN.models == {"registry.ollama.ai/library/llama3.2/latest"}
    assert SEEN.time == 1795501718.512501473


def test_who_holds_a_port() -> None:
    assert SEEN.listeners is not None
    assert Listener("0.0.0.0", 8080, "docker-proxy", 901) in SEEN.listeners
    assert Published("ollama", "ollama", "/opt/difyfleet/ollama", (("127.0.0.1", 11434),)) in SEEN.containers


def test_networks() -> None:
    assert ("eth0", "10.0.2.17/24") in SEEN.addresses
    assert SEEN.routes == (("default", "eth0"), ("10.0.2.0/24", "eth0"), ("10.200.0.0/24", "docker0"))


def test_published_port_ranges_and_udp() -> None:
    assert published_ports("0.0.0.0:5000-5002->5000-5002/tcp, :::53->53/udp, 53/tcp") == (
        ("0.0.0.0", 5000),
        ("0.0.0.0", 5001),
        ("0.0.0.0", 5002),
    )
    assert published_ports("[::]:80->80/tcp") == (("[::]", 80),)


def test_a_bare_host_has_defaults() -> None:
    bare = HostFitness().process(["##os", "##listeners", "no ss", "##dockerd", "##time", "12.5"])
    assert bare.listeners is None
    assert (bare.dockerd, bare.python, bare.memory_mib, bare.time) == ("", "", 0, 12.5)
    assert HostFitness.default() == Fitness()


def test_sections() -> None:
    assert sections(["lost", "##a", "1", "##b", "##c", "2", "3"]) == {"a": ["1"], "b": [], "c": ["2", "3"]}


def test_engine_version() -> None:
    assert engine_version("Docker version 26.1.5+dfsg1, build a72d7cd") == "26.1.5"
    assert engine_version("sh: dockerd: not found") == ""


def test_the_script_runs_in_a_plain_shell() -> None:
    command = HostFitness().command(folders=("/nowhere/at/all", "/"), models="/nowhere")
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    seen = HostFitness().process(done.stdout.split("\n")[:-1])
    assert seen.disk["/nowhere/at/all"].fs == seen.disk["/"].fs
    assert seen.memory_mib > 0
