"""A lab VM from a disk image of the user's own, such as openEuler's published qcow2.

The image boots by its own boot loader and gets its address by DHCP. First contact is root with the image's password
(``DIFYFLEET_LAB_IMAGE_PASSWORD``); after that the host has the lab's key, users, repository and CA like any other.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

from lab import disk, pki, qemu, rootfs
from lab.engine import LabError, run
from lab.network import Network
from lab.qemu import Machine

_BOOT_TIMEOUT = 600.0  # seconds: GRUB, dracut and all services of a full system, in an emulated CPU
PASSWORD = "DIFYFLEET_LAB_IMAGE_PASSWORD"  # noqa: S105 - the variable's name


def setup_script(public_key: str, operator_password: str, authority: str, authorize: str, name: str) -> str:
    """Shell commands for root that give a foreign openEuler what the lab's own hosts have."""
    return f"""\
set -e
umask 022
hostname {name} && echo {name} > /etc/hostname
for user in openeuler operator; do
    [ -d /home/$user ] && continue
    # openEuler has a system account and a group `operator`, without a shell or a home of its own
    ! getent passwd $user >/dev/null || userdel $user
    if getent group $user >/dev/null; then group="-g $user"; else group=-U; fi
    useradd -m -s /bin/bash -G wheel $group $user
done
echo 'openeuler ALL=(ALL) NOPASSWD:ALL' > /etc/sudoers.d/openeuler
chmod 440 /etc/sudoers.d/openeuler
echo 'operator:{operator_password}' | chpasswd
mkdir -p /usr/lib/lab
cat > /usr/lib/lab/authorize <<'END'
{authorize.strip()}
END
sh /usr/lib/lab/authorize <<'END'
{public_key.strip()}
END
cat > /etc/pki/ca-trust/source/anchors/difyfleet-lab.crt <<'END'
{authority.strip()}
END
update-ca-trust
printf '[lab]\\nname=difyfleet lab\\nbaseurl=http://repo.lab:8100/rpm\\nenabled=1\\ngpgcheck=0\\n' > /etc/yum.repos.d/lab.repo
"""


def _with_password(password: str, folder: Path) -> dict[str, str]:
    """An environment in which ssh asks a program for the password: no argv and no terminal sees it."""
    program = folder / "askpass"
    program.write_text(f'#!/bin/sh\nprintf "%s\\n" "${PASSWORD}"\n')
    program.chmod(0o700)
    return {
        **os.environ,
        PASSWORD: password,
        "SSH_ASKPASS": str(program),
        "SSH_ASKPASS_REQUIRE": "force",
        "DISPLAY": ":0",
    }


def lease(lab: Network, address: str) -> None:
    """Let the DHCP server hand out a host's address."""
    path = lab.state.path("dhcp.json")
    known = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps({**known, qemu.mac(address): address}, indent=2) + "\n")


def start(lab: Network, machine: Machine, image: Path, wait_for_banner: Callable[[float], object]) -> None:
    """Boot the image and make it a lab host.

    :param wait_for_banner: called with a time-out in seconds; returns when the host's SSH answers.
    :raises LabError: without a password, or when the image does not answer in time.
    """
    from lab import hosts

    password = os.environ.get(PASSWORD)
    if not password:
        raise LabError(
            f"--image: set {PASSWORD} to the image's root password (openEuler publishes that of its images)"
        )
    disk.overlay(image, machine.folder / "disk.qcow2")
    lease(lab, machine.address)
    lab.spawn(f"vm {machine.name}", machine.argv(), machine.folder / "qemu.log")
    wait_for_banner(_BOOT_TIMEOUT)
    script = setup_script(
        lab.state.path("key.pub").read_text(),
        hosts.OPERATOR_PASSWORD,
        (pki.ca() / "ca.crt").read_text(),
        (rootfs.OVERLAY / "usr/lib/lab/authorize").read_text(),
        machine.name,
    )
    with tempfile.TemporaryDirectory(prefix="difyfleet-lab-askpass-") as work:
        login = [
            "setsid", "ssh", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR",
            "-o", "PubkeyAuthentication=no", "-o", "NumberOfPasswordPrompts=1", "-o", "ConnectTimeout=20",
            f"root@{machine.address}", "bash -s",
        ]  # fmt: skip
        # One try: three wrong passwords lock root for 60 s.
        run(lab.argv(login), timeout=120, input=script, env=_with_password(password, Path(work)))
