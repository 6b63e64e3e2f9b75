"""Records of a running lab: hosts, processes, and names by checkout."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest

from lab import hosts
from lab.engine import LabError
from lab.state import Host, State, ssh_config


@pytest.fixture
def state(tmp_path: Path) -> State:
    folder = tmp_path / ".lab"
    folder.mkdir()
    return State(folder)


def host(name: str, last: int) -> Host:
    return Host(name, "container", f"10.0.2.{last}", 40000 + last, 41000, 42000, 43000)


def test_two_checkouts_have_two_names(tmp_path: Path) -> None:
    one, other = State(tmp_path / "a" / ".lab"), State(tmp_path / "b" / ".lab")
    assert one.prefix != other.prefix
    assert one.prefix == State(tmp_path / "a" / ".lab").prefix
    # names of interfaces and namespaces are short
    assert len(one.prefix) == 10


def test_hosts_survive_on_disk(state: State) -> None:
    state.save_hosts([host("llm", 10), host("r1", 11)])
    assert [entry.name for entry in state.hosts()] == ["llm", "r1"]
    assert state.host("r1").address == "10.0.2.11"
    with pytest.raises(KeyError, match=r"no lab host named db \(up: llm, r1\)"):
        state.host("db")


def test_ssh_config_names_every_host_and_checks_its_key(tmp_path: Path) -> None:
    text = ssh_config([host("llm", 10)], tmp_path)
    assert text.splitlines() == [
        "Host llm",
        "    HostName 127.0.0.1",
        "    Port 40010",
        "    User openeuler",
        f"    IdentityFile {tmp_path}/key",
        "    IdentitiesOnly yes",
        f"    UserKnownHostsFile {tmp_path}/known_hosts",
        "    StrictHostKeyChecking yes",
        "    LogLevel ERROR",
    ]


def test_addresses_of_removed_hosts_are_used_again() -> None:
    assert hosts.free_address([]) == "10.0.2.10"
    assert hosts.free_address([host("a", 10), host("c", 12)]) == "10.0.2.11"
    with pytest.raises(LabError, match="all 240"):
        hosts.free_address([host(f"h{last}", last) for last in range(10, 250)])


def test_stop_ends_what_was_recorded(state: State) -> None:
    process = subprocess.Popen(["sleep", "60"])
    state.remember(process.pid, "relay llm")
    assert state.alive("relay llm")
    state.stop("relay llm")
    assert not state.alive("relay llm")
    assert state.processes() == []


def test_stop_kills_what_ignores_a_request(state: State) -> None:
    process = subprocess.Popen(
        ["bash", "-c", "trap '' TERM; echo ready; while :; do sleep 1; done"],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    process.stdout.readline()
    state.remember(process.pid, "stubborn")
    state.stop(timeout=0.2)
    assert process.wait(10) == -signal.SIGKILL
    process.stdout.close()


def test_stop_leaves_a_reused_pid_alone(state: State) -> None:
    """A pid that now belongs to another program (here: this test) has another start time."""
    state.path("pids").write_text(json.dumps([{"pid": os.getpid(), "what": "old", "started": 1}]))
    state.stop()
    assert state.processes() == []


def test_alive_means_all_of_them(state: State) -> None:
    assert not state.alive("registries")
    first, second = (subprocess.Popen(["sleep", "60"]) for _ in range(2))
    for process in (first, second):
        state.remember(process.pid, "registries")
    assert state.alive("registries")
    first.terminate()
    first.wait(10)
    assert not state.alive("registries")
    state.stop()
