"""Bad input and unfit hosts: a clear error, the right exit code, and nothing changed on the host."""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.conftest import LAB, LabHost, lab, make_host

pytestmark = pytest.mark.lab

MARK = "touch /run/difyfleet-mark; sleep 0.05"
CHANGED = (
    "find /etc /opt /usr/bin /usr/local /usr/libexec /var/lib /root -xdev -newer /run/difyfleet-mark"
    " -not -path '/var/lib/systemd/*' -not -path '/var/lib/dnf/*' -not -path '/var/lib/private/*' -type f"
    " -not -name 'rpmdb.sqlite-*'"  # rpm -q itself touches its database's shared memory file
)


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabHost]:
    made = make_host("t-refuse", tmp_path_factory.mktemp("refuse"))
    yield made
    lab("down", made.name, check=False)


def refused(host: LabHost, *words: str, code: int = 1) -> str:
    """Apply, expect a refusal that says these words, and nothing changed."""
    host.sh(MARK)
    outcome = host.apply()
    said = outcome.out + outcome.err
    assert outcome.code == code, said
    for word in words:
        assert word.lower() in said.lower(), said
    assert host.changing_commands() == []
    assert host.sh(CHANGED).split() == []
    return said


def test_a_host_that_is_not_openeuler(host: LabHost) -> None:
    host.sh("cp /usr/lib/os-release /run/os-release.kept; sed -i 's/openEuler/CentOS/g' /usr/lib/os-release")
    try:
        refused(host, "t-refuse", "openEuler", "CentOS")
    finally:
        host.sh("cp /run/os-release.kept /usr/lib/os-release")


def test_too_little_disk(host: LabHost) -> None:
    host.write_inventory(preflight={"disk_gib": 1_000_000})
    refused(host, "disk", "GiB needed", "preflight.disk_gib")
    host.write_inventory()


def test_a_port_held_by_somebody_else_is_named_with_its_holder(host: LabHost) -> None:
    listens = "until ss -Hltn | grep -q ':80 '; do sleep 0.1; done"
    host.sh(
        f"systemd-run --unit=squatter python3 -m http.server 80 && timeout 60 sh -c {shlex.quote(listens)}"
    )
    try:
        refused(host, "80", "python3")
    finally:
        host.sh("systemctl stop squatter")


def test_all_failures_are_said_at_once(host: LabHost) -> None:
    host.write_inventory(preflight={"disk_gib": 1_000_000, "memory_mib": 9_000_000})
    refused(host, "disk", "memory")
    host.write_inventory()


def test_a_wrong_sudo_password_is_tried_once(host: LabHost) -> None:
    host.write_inventory(ssh={"user": "operator", "sudo_password": {"env": "SUDO_PASSWORD"}})
    host.sh(MARK)
    outcome = host.difyfleet("apply", str(host.inventory), "--yes", SUDO_PASSWORD="not-the-password")
    host.write_inventory()
    assert outcome.code == 1
    assert "sudo refused the password of operator" in outcome.err
    assert "1 incorrect password attempt" in outcome.err
    assert "not-the-password" not in outcome.out + outcome.err
    assert host.sh(CHANGED).split() == []


def test_a_sudo_that_needs_a_password_without_one(host: LabHost) -> None:
    host.write_inventory(ssh={"user": "operator"})
    host.sh(MARK)
    outcome = host.apply()
    host.write_inventory()
    assert outcome.code == 1
    assert "sudo_password" in outcome.out + outcome.err
    assert host.sh(CHANGED).split() == []


def test_an_unreachable_host_does_not_stop_the_others(host: LabHost) -> None:
    host.write_inventory(
        hosts={host.name: None, "gone": {"address": "127.0.0.1", "ssh": {"port": 9, "config": None}}}
    )
    planned = host.plan()
    host.write_inventory()
    assert planned.code == 1
    results = {entry["name"]: entry for entry in planned.json["hosts"]}
    assert "cannot connect" in results["gone"]["error"]
    assert results[host.name]["error"] is None
    assert results[host.name]["operations"]


def test_a_changed_host_key_is_refused(host: LabHost, tmp_path: Path) -> None:
    wrong = tmp_path / "known_hosts"
    key = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True, timeout=30)
    other = (tmp_path / "key.pub").read_text().split()[1]
    lines = [line.split() for line in (LAB / "known_hosts").read_text().splitlines()]
    wrong.write_text("".join(f"{line[0]} ssh-ed25519 {other}\n" for line in lines))
    host.write_inventory(ssh={"known_hosts": str(wrong)})
    outcome = host.plan()
    host.write_inventory()
    assert outcome.code == 1
    assert "host key" in outcome.out.lower()
    assert "ssh-keygen -R" in outcome.out


@pytest.mark.parametrize(
    ("change", "position", "words"),
    [
        ({"dockr": {}}, ":", ["dockr", "docker"]),
        ({"docker": {"mirrors": ["ftp://x"]}}, ":", ["ftp", "http"]),
        ({"dify": {"upload_limit_mb": "50M"}}, ":", ["upload_limit_mb"]),
        ({"dify": {"http_port": 8080}}, ":", ["8080", "openwebui"]),
        ({"dify": {"https": {"enabled": True, "certificate": "no.pem", "key": "no.key"}}}, ":", ["no.pem"]),
    ],
)
def test_a_bad_inventory_is_refused_before_any_connection(
    host: LabHost, change: dict, position: str, words: list[str]
) -> None:
    path = host.write_inventory(**change)
    for verb in (["validate"], ["plan"], ["apply", "--yes"]):
        outcome = host.difyfleet(verb[0], str(path), *verb[1:])
        assert outcome.code == 64, outcome.err
        assert f"{path.name}:" in outcome.err
        for word in words:
            assert word in outcome.err
    host.write_inventory()
