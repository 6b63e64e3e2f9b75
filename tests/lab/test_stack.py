"""The main job on a real host: applied once, a second time nothing, alive after a reboot. Drift: test_drift_matrix.py."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.lab.conftest import LAB, ROOT, LabHost, lab

pytestmark = pytest.mark.lab


def test_second_apply_changes_nothing(stack_host: LabHost) -> None:
    again = stack_host.apply()
    assert again.code == 0, again.err
    assert again.summary["changed"] == 0, again.would_change
    assert again.summary["operations"] > 20
    assert again.summary["changing_commands"] == 0
    assert stack_host.changing_commands() == []


def test_plan_is_empty_and_exits_0(stack_host: LabHost) -> None:
    planned = stack_host.plan()
    assert planned.code == 0, planned.would_change
    assert planned.summary["would_change"] == 0


def test_plain_pyinfra_agrees(stack_host: LabHost, tmp_path: Path) -> None:
    shim = tmp_path / "t_stack.py"
    shim.write_text(
        f"from difyfleet.fleet.inventory import pyinfra_hosts\nhosts = pyinfra_hosts({str(stack_host.inventory)!r})\n"
    )
    done = subprocess.run(
        [ROOT / ".venv/bin/pyinfra", "--json", "--dry", str(shim), "deploy.py"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    plan = json.loads(done.stdout)["plan"]
    assert len(plan) > 20
    assert [operation["name"] for operation in plan if operation["hosts_with_change"]] == []


def test_reboot_then_verify_is_green_without_an_apply(stack_host: LabHost) -> None:
    lab("reboot", stack_host.name)
    verified = stack_host.difyfleet("verify", str(stack_host.inventory), "--json", "--wait", "180")
    assert verified.code == 0, verified.out
    assert verified.summary["checks_failed"] == 0
    assert verified.summary["checks_passed"] > 30


def test_only_the_declared_ports_answer_from_another_host(stack_host: LabHost) -> None:
    address = next(
        host["address"]
        for host in json.loads((LAB / "hosts.json").read_text())
        if host["name"] == stack_host.name
    )
    probe = (
        "import socket,sys\n"
        "open_ports=[]\n"
        "for port in (22,80,443,2375,3000,3128,5001,5432,6379,8080,8194,11434,50051):\n"
        "    s=socket.socket(); s.settimeout(2)\n"
        "    try: s.connect((sys.argv[1],port)); open_ports.append(port)\n"
        "    except OSError: pass\n"
        "    finally: s.close()\n"
        "print(open_ports)"
    )
    found = lab("net", "--", "python3", "-c", probe, address).stdout
    assert json.loads(found) == [
        22,
        80,
        8080,
    ]  # sshd, Dify's nginx, Open WebUI (8080 is its own port, not weaviate's)
    page = lab("net", "--", "curl", "-sS", "--max-time", "10", f"http://{address}:8080/health").stdout
    assert json.loads(page)["status"] is True


def test_an_invalid_daemon_setting_never_reaches_the_running_daemon(stack_host: LabHost) -> None:
    before = stack_host.sh("sha256sum /etc/docker/daemon.json; systemctl show -p MainPID docker")
    stack_host.write_inventory(
        docker={"daemon": {"log-driver": "no-such-driver", "shutdown-timeout": "soon"}}
    )
    try:
        refused = stack_host.apply("--role", "docker")
    finally:
        stack_host.write_inventory()
    assert refused.code == 1
    assert "shutdown-timeout" in refused.out or "no-such-driver" in refused.out
    assert stack_host.sh("sha256sum /etc/docker/daemon.json; systemctl show -p MainPID docker") == before
    assert stack_host.plan().code == 0
