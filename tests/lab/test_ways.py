"""Other ways to the same stack: RPM packages, a sudo user with a password, a real kernel of its own (QEMU)."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.lab.conftest import LabHost, lab, make_host

pytestmark = pytest.mark.lab


def test_docker_from_an_rpm_repository_with_a_sudo_password(bare_host: LabHost) -> None:
    bare_host.write_inventory(
        ssh={"user": "operator", "sudo_password": {"env": "SUDO_PASSWORD"}},
        docker={"method": "rpm", "rpm": {"baseurl": "http://repo.lab:8100/rpm", "gpgkey": None}},
    )
    arguments = ("apply", str(bare_host.inventory), "--yes", "--json", "--role", "docker")
    first = bare_host.difyfleet(*arguments, SUDO_PASSWORD="lab-operator-1")
    assert first.code == 0, first.out + first.err
    assert bare_host.sh("rpm -q docker-ce").startswith("docker-ce-26.1.5")
    assert bare_host.sh("systemctl is-enabled docker").strip() == "enabled"
    again = bare_host.difyfleet(*arguments, SUDO_PASSWORD="lab-operator-1")
    assert again.code == 0, again.out + again.err
    assert again.summary["changed"] == 0, again.would_change
    assert bare_host.changing_commands() == []


@pytest.mark.vm
def test_the_whole_stack_on_a_virtual_machine(tmp_path: Path) -> None:
    """A kernel, a boot loader and a disk of its own. Its processor is emulated: one model, and what is inside Dify up to the admin."""
    host: LabHost = make_host("t-vm", tmp_path, "--kind", "vm")
    model = {"name": "qwen2.5:7b", "context_size": 4096, "default": True}
    host.write_inventory(
        ollama={"models": ["qwen2.5:7b"]}, dify={"models": [model]}, knowledge=None, assistants=None
    )
    try:
        first = host.apply()
        assert first.code == 0, first.out + first.err
        again = host.apply()
        assert again.code == 0, again.out + again.err
        assert again.summary["changed"] == 0, again.would_change
        assert host.changing_commands() == []
    finally:
        lab("down", host.name, check=False)
