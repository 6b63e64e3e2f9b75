"""What the channel for reads answers on a real host: the same as the shell, through one sudo, with and without a password."""

from __future__ import annotations

import base64
import json
import shlex
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from difyfleet import host_calls
from difyfleet.facts.fitness_script import fitness_in_short
from tests.lab.conftest import LAB, LabHost

pytestmark = pytest.mark.lab

FRONT = "sudo -H -n sh -c "
BOTH = """
import base64, json, subprocess, sys
job = json.load(sys.stdin)
for name, code in job["modules"]:
    module = sys.modules[name] = type(sys)(name)
    exec(code, module.__dict__)
from difyfleet.known_script import MOMENT
for line, call in job["reads"]:
    MOMENT[0] += 1
    found = [getattr(sys.modules[call[0]], call[1])(*call[2:]) for _ in range(2)]
    said = subprocess.run(line, shell=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    print(json.dumps([call[1], said.returncode, said.stderr.decode(), *(base64.b64encode(one).decode() for one in (said.stdout, *found))]))
"""


def learned(host: LabHost) -> dict[str, list[str]]:
    """Lines and calls of all phases."""
    found = (host.state / "read-ahead").glob(f"{host.name}-????????.json")
    file = max(found, key=lambda path: path.stat().st_mtime_ns)  # one per login
    phases = json.loads(file.read_text())["phases"]
    reads = [read for entry in phases.values() for read in entry.get("reads", ())]
    return {read[0].removeprefix(FRONT): read[3] for read in reads if read[3]}


def sudo_lines(host: LabHost, cursor: str = "") -> tuple[str, list[str]]:
    """The journal's cursor, and what sudo has run since another one."""
    after = f"--after-cursor={shlex.quote(cursor)}" if cursor else "-n 0"
    said = host.sh(f"journalctl --sync; journalctl -o json --show-cursor {after} _COMM=sudo", timeout=60)
    lines = said.splitlines()
    messages = [str(json.loads(line)["MESSAGE"]) for line in lines if line.startswith("{")]
    found = [message.partition("COMMAND=")[2] for message in messages if "COMMAND=" in message]
    return lines[-1].removeprefix("-- cursor: "), [each for each in found if "journalctl" not in each]


def test_calls_give_what_the_shell_gives(stack_host: LabHost) -> None:
    assert stack_host.plan().code == stack_host.plan().code == 0
    reads: dict[str, Any] = learned(stack_host)
    modules = {
        name: host_calls.source(name).decode()
        for call in reads.values()
        for name in host_calls.modules(call[0])
    }
    job = json.dumps(
        {"modules": list(modules.items()), "reads": [[f"sh -c {line}", call] for line, call in reads.items()]}
    )
    done = subprocess.run(
        ["ssh", "-F", str(LAB / "ssh_config"), stack_host.name, f"sudo -H python3 -I -c {shlex.quote(BOTH)}"],
        input=job, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    compared = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(compared) == len(reads) > 45
    for function, status, errors, *answers in compared:
        assert (status, errors) == (0, ""), function
        shell, first, again = map(base64.b64decode, answers)
        if function == "fitness":  # the clock, and free room
            shell, first, again = map(fitness_in_short, (shell, first, again))
        assert first == shell, function
        assert again == shell, function


def test_a_plan_is_one_sudo(stack_host: LabHost) -> None:
    stack_host.plan()
    cursor, _ = sudo_lines(stack_host)
    assert stack_host.plan().code == 0
    _, commands = sudo_lines(stack_host, cursor)
    assert [command.split()[0].rpartition("/")[2] for command in commands] == ["python3"]


@pytest.fixture
def restricted(stack_host: LabHost) -> Iterator[LabHost]:
    """Sudoers that allow all but python3."""
    rule = "openeuler ALL=(ALL) NOPASSWD: ALL, !/bin/python3, !/usr/bin/python3"
    stack_host.sh(
        f"echo {shlex.quote(rule)} >/etc/sudoers.d/zz-test; chmod 440 /etc/sudoers.d/zz-test; visudo -c >&2"
    )
    yield stack_host
    stack_host.sh("rm /etc/sudoers.d/zz-test")


def test_sudoers_that_refuse_python_get_a_sudo_per_read(restricted: LabHost) -> None:
    assert restricted.plan().code == 0
    cursor, _ = sudo_lines(restricted)
    planned = restricted.plan()
    assert (planned.code, planned.summary["would_change"], planned.summary["exec_round_trips"]) == (0, 0, 1)
    _, commands = sudo_lines(restricted, cursor)
    assert sum(" -c " in command and "/sh" in command.split()[0] for command in commands) > 40


def test_a_password_is_asked_once(stack_host: LabHost) -> None:
    stack_host.write_inventory(ssh={"user": "operator", "sudo_password": {"env": "SUDO_PASSWORD"}})
    try:
        command = ("plan", str(stack_host.inventory), "--json")
        for _ in range(2):
            cursor, _ = sudo_lines(stack_host)
            planned = stack_host.difyfleet(*command, SUDO_PASSWORD="lab-operator-1")
            assert (planned.code, planned.summary["would_change"]) == (0, 0), planned.out + planned.err
        _, commands = sudo_lines(stack_host, cursor)
        assert planned.summary["exec_round_trips"] == 1
        assert [
            each.split()[0].rpartition("/")[2] for each in commands if "/true" not in each.split()[0]
        ] == ["python3"]
    finally:
        stack_host.write_inventory()
