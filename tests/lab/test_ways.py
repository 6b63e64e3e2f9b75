"""Another way to the same stack: RPM packages, a sudo user with a password."""

from __future__ import annotations

import pytest

from tests.lab.conftest import LabHost

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
