"""The timer really fires: difyfleet installed on a lab host of its own, which looks after itself."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
import time
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.lab.conftest import LAB, ROOT, LabHost

pytestmark = pytest.mark.lab

INVENTORY = """\
admin: {email: admin@example.com}
ssh: {user: root, key: /root/.ssh/id_ed25519, known_hosts: /etc/difyfleet/known_hosts}
hosts: {self: 127.0.0.1}
preflight: {disk_gib: 1, memory_mib: 512}
ollama: {enabled: false}
openwebui: {enabled: false}
dify: {enabled: false}
drift: {correct: {docker: auto}, metrics: /var/lib/difyfleet.prom, notify: {command: [tee, /var/lib/difyfleet-told.json]}}
"""
# Every ten seconds instead of every hour; everything else is what `schedule install` wrote.
OFTEN = "[Timer]\nOnCalendar=\nOnCalendar=*-*-* *:*:00/10\nRandomizedDelaySec=0\nAccuracySec=1s\n"
UNIT = "difyfleet-drift-self"
PACKAGES, DIFYFLEET = "/opt/difyfleet-controller", "/usr/local/bin/difyfleet"


UNPACK = "import sys, tarfile; tarfile.open(fileobj=sys.stdin.buffer, mode='r|').extractall(sys.argv[1])"  # no tar there
LAUNCHER = f"""\
#!/usr/bin/python3
import sys
sys.path.insert(0, "{PACKAGES}")
from difyfleet.cli import main
main()
"""


def install(host: LabHost, folder: Path) -> None:
    """The wheel and what it needs, for the host's Python, whatever this machine's is."""
    pip = [sys.executable, "-m", "pip", "-q", "--disable-pip-version-check"]
    version = host.sh("python3 -c 'import sys; print(\"%d.%d\" % sys.version_info[:2])'").strip()
    subprocess.run([*pip, "wheel", "--no-deps", "-w", folder / "wheel", ROOT], check=True, timeout=300)
    (wheel,) = (folder / "wheel").glob("*.whl")
    subprocess.run(
        [
            *pip,
            "install",
            "--target",
            folder / "packages",
            "--python-version",
            version,
            "--only-binary=:all:",
            wheel,
        ],
        check=True,
        timeout=600,
    )
    pack = ["tar", "-C", str(folder / "packages"), "-c", "."]
    unpack = shlex.join(["sudo", "python3", "-c", UNPACK, PACKAGES])
    with subprocess.Popen(pack, stdout=subprocess.PIPE) as packing:
        subprocess.run(
            ["ssh", "-F", str(LAB / "ssh_config"), host.name, unpack],
            stdin=packing.stdout,
            check=True,
            timeout=300,
        )
    assert packing.returncode == 0
    host.sh(f"printf %s {shlex.quote(LAUNCHER)} > {DIFYFLEET}; chmod 0755 {DIFYFLEET}")


def samples(text: str) -> dict[str, float]:
    """Name with role and kind, where there are any -> value."""
    return {
        " ".join([one.name, *(one.labels[key] for key in ("role", "kind") if key in one.labels)]): one.value
        for family in text_string_to_metric_families(text)
        for one in family.samples
    }


def wait_for(host: LabHost, script: str, seconds: float = 90) -> str:
    """Wait until a script succeeds; its output."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        said = host.sh(f"{script} || true").strip()
        if said:
            return said
        time.sleep(1)
    raise AssertionError(
        f"not within {seconds} s: {script}\n" + host.sh(f"journalctl -u {UNIT} -n 50 --no-pager")
    )


def test_the_timer_fires_and_its_metrics_can_be_read(bare_host: LabHost, tmp_path: Path) -> None:
    host, difyfleet = bare_host, DIFYFLEET
    install(host, tmp_path)
    host.sh(
        "ssh-keygen -q -t ed25519 -N '' -f /root/.ssh/id_ed25519 && cat /root/.ssh/id_ed25519.pub >> /root/.ssh/authorized_keys"
    )
    host.sh(f"mkdir -p /etc/difyfleet && printf %s {shlex.quote(INVENTORY)} > /etc/difyfleet/self.yml")
    host.sh(f"cd /etc/difyfleet && {difyfleet} schedule install self.yml --role docker")
    assert host.sh(f"systemctl is-enabled {UNIT}.timer").strip() == "enabled"
    host.sh(f"systemd-analyze verify /etc/systemd/system/{UNIT}.timer /etc/systemd/system/{UNIT}.service")

    host.sh(
        f"mkdir -p /etc/systemd/system/{UNIT}.timer.d && printf %s {shlex.quote(OFTEN)} > /etc/systemd/system/{UNIT}.timer.d/often.conf"
        f" && systemctl daemon-reload && systemctl restart {UNIT}.timer"
    )
    wait_for(host, "cat /var/lib/difyfleet.prom 2>/dev/null")
    host.sh(f"systemctl stop {UNIT}.timer")
    wait_for(host, f"systemctl show -P ActiveState {UNIT}.service | grep -x inactive")

    # nothing was ever applied: a finding, so the service has not failed
    state = json.loads(host.sh(f"{difyfleet} schedule show /etc/difyfleet/self.yml --json"))["state"]
    assert (state["service.Result"], state["service.ExecMainStatus"]) == ("success", "2")
    assert state["timer.LastTriggerUSec"] not in ("", "n/a")
    found = samples(host.sh("cat /var/lib/difyfleet.prom"))
    assert found["difyfleet_host_up"] == 1
    assert found["difyfleet_run_exit_code"] == 2
    assert found["difyfleet_drift_operations docker unknown"] >= 3
    assert abs(found["difyfleet_last_run_timestamp_seconds"] - time.time()) < 300
    assert host.sh("stat -c %a /var/lib/difyfleet.prom").strip() == "644"
    told = json.loads(host.sh("cat /var/lib/difyfleet-told.json"))
    assert (told["event"], told["environment"], told["state"]) == ("drift", "self", "drift")
    runs = json.loads(host.sh(f"{difyfleet} history /etc/difyfleet/self.yml --json"))["runs"]
    assert {run["verb"] for run in runs} == {"drift"}, "the same memory as of what a person types"

    host.sh(f"{difyfleet} schedule remove /etc/difyfleet/self.yml")
    assert host.sh(f"ls /etc/systemd/system/{UNIT}.timer 2>/dev/null || true") == ""
