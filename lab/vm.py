"""A lab host as a virtual machine: an own kernel, a real reboot, real sysctls.

It starts from a saved state (about 2 s until SSH answers, also without hardware virtualization), or boots a disk image of
the user's own.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from lab import cache, disk, engine, hosts, network, qemu
from lab.engine import LabError, run
from lab.network import Network
from lab.qemu import Machine, Monitor
from lab.state import Host

_STATE = "ready"  # name of the snapshot inside the saved disk
_STATE_ADDRESS = "10.0.2.250"
_BOOT_TIMEOUT = 180.0  # seconds
_SSH = (
    "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR", "-o", "ConnectTimeout=10",
    "-o", "IdentitiesOnly=yes",
)  # fmt: skip

# A saved state is the same machine again: it needs a clock, randomness, keys, a name and an address of its own. The
# address goes last, after the answer: it ends the session that sets it.
_REBORN = """
set -e
date -s "$(curl -sI -m 5 http://{gateway}:8100/ | sed -n 's/^Date: //p')" >/dev/null
echo {name} > /etc/hostname
hostname {name}
echo {seed} > /dev/urandom
rm -f /etc/ssh/ssh_host_* /etc/machine-id
systemd-machine-id-setup >/dev/null 2>&1
ssh-keygen -q -t ed25519 -N "" -f /etc/ssh/ssh_host_ed25519_key
{identity}
systemctl reload sshd
cat > /run/reborn <<'END'
sleep 0.2
ip link set eth0 down
ip link set eth0 address {mac}
ip address flush dev eth0
ip address add {address}/24 dev eth0
ip link set eth0 up
ip route replace default via {gateway}
END
setsid sh /run/reborn </dev/null >/dev/null 2>&1 &
"""


def _folder(lab: Network, name: str) -> Path:
    return lab.state.path("vms") / name


def _what(name: str) -> str:
    return f"vm {name}"


def _tap(address: str) -> str:
    return f"t{address.rsplit('.', 1)[1]}"


def _root_ssh(prefix: list[str], key: Path, address: str, command: str) -> list[str]:
    return [*prefix, "ssh", *_SSH, "-o", "BatchMode=yes", "-i", str(key), f"root@{address}", command]


def _until(
    attempt: Callable[[], bool], timeout: float, what: str, process: subprocess.Popen[bytes] | None = None
) -> None:
    """Repeat until it succeeds.

    :param timeout: seconds.
    :param process: QEMU itself, if it is ours: no use to wait when it has ended.
    """
    deadline = time.monotonic() + timeout
    while not attempt():
        if process is not None and process.poll() is not None:
            raise LabError(f"{what}: QEMU ended with status {process.returncode}")
        if time.monotonic() > deadline:
            raise LabError(f"{what}: not within {timeout:.0f} s")
        time.sleep(0.1)


def saved_state() -> Path:
    """Cached: a look-alike that has booted and answers SSH, as ``disk.qcow2`` with its memory in it, and its ``key``."""
    engine.ensure("qemu-system-x86_64", "qemu-img", "ssh", "ip")
    base, kernel = disk.base(), disk.kernel()

    def build(folder: Path) -> None:
        run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "saved-state", "-f", str(folder / "key")])
        disk.overlay(base, folder / "disk.qcow2")
        namespace = f"dfl-state-{os.getpid()}"
        machine = Machine("saved-state", folder, _STATE_ADDRESS, "tap0")
        prefix = ["ip", "netns", "exec", namespace]
        run(["ip", "netns", "add", namespace])
        try:
            run(["ip", "-n", namespace, "tuntap", "add", "dev", "tap0", "mode", "tap"])
            run(["ip", "-n", namespace, "address", "add", f"{network.GATEWAY}/24", "dev", "tap0"])
            run(["ip", "-n", namespace, "link", "set", "tap0", "up"])
            boot = qemu.direct_boot(kernel, "saved-state", _STATE_ADDRESS, (folder / "key.pub").read_text())
            with (folder / "qemu.log").open("wb") as log:
                process = subprocess.Popen([*prefix, *machine.argv(*boot)], stdout=log, stderr=log)
            try:
                # Wait for the whole boot, not for SSH only: what would start later would start again in every copy.
                settled = "systemctl is-system-running --wait | grep -Eq 'running|degraded'"
                login = _root_ssh(prefix, folder / "key", _STATE_ADDRESS, settled)
                _until(
                    lambda: run(login, check=False, timeout=120).returncode == 0,
                    _BOOT_TIMEOUT,
                    "saved state",
                    process,
                )
                with Monitor(machine.monitor) as monitor:
                    monitor.command("stop")
                    monitor.human(f"savevm {_STATE}")
                    monitor.command("quit")
                process.wait(30)
            finally:
                if process.poll() is None:
                    process.kill()
                    process.wait(10)
        finally:
            run(["ip", "netns", "delete", namespace], check=False)

    hardware = Machine("", Path(), _STATE_ADDRESS, "").hardware()
    return cache.step(
        "vm-state", [base, kernel / "vmlinuz", kernel / "initrd.gz", qemu.version(), *hardware], build
    )


def _favour(pid: int) -> None:
    """An emulated host is by far the slowest of what runs side by side: it gets the processor first, as far as the kernel lets us say so."""
    with contextlib.suppress(OSError):
        Path(f"/proc/{pid}/autogroup").write_text("-10")


def start(lab: Network, name: str, address: str, port: int, image: Path | None = None) -> None:
    """Start a VM on the lab's bridge and wait until it can be logged in to.

    :param port: the relay's loopback port for its SSH.
    :param image: the user's own disk image; its own boot loader boots it, and DHCP gives it its address.
    """
    engine.ensure("qemu-system-x86_64", "qemu-img")
    folder = _folder(lab, name)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    machine = Machine(name, folder, address, _tap(address))
    (folder / "tap").write_text(machine.tap)
    lab.ip("tuntap", "add", "dev", machine.tap, "mode", "tap")
    lab.ip("link", "set", machine.tap, "master", network.BRIDGE, "up")
    if image is not None:
        from lab import own_image

        own_image.start(lab, machine, image, lambda timeout: hosts.wait_for_ssh(port, timeout, name))
        return
    state = saved_state()
    run(["cp", "--reflink=auto", str(state / "disk.qcow2"), str(folder / "disk.qcow2")], timeout=120)
    boot = qemu.direct_boot(disk.kernel(), name, address, lab.state.path("key.pub").read_text())
    _favour(lab.spawn(_what(name), machine.argv(*boot, "-loadvm", _STATE), folder / "qemu.log"))
    with Monitor(
        machine.monitor
    ) as monitor:  # answers once the memory is loaded; a SYN before that is lost for seconds
        _until(lambda: bool(monitor.command("query-status")["running"]), 60, f"{name} from its saved state")
    login = _root_ssh(lab.argv([]), state / "key", _STATE_ADDRESS, "sh")

    def reborn() -> bool:
        if not lab.state.alive(_what(name)):
            raise LabError(f"{name}: QEMU ended: {(folder / 'qemu.log').read_text().strip()}")
        script = _REBORN.format(
            name=name, seed=os.urandom(32).hex(), mac=qemu.mac(address), address=address,
            gateway=network.GATEWAY, identity=hosts.identity_script(lab.state.path("key.pub").read_text()),
        )  # fmt: skip
        return run(login, check=False, timeout=60, input=script).returncode == 0

    _until(reborn, 60, f"{name} from its saved state")
    hosts.wait_for_ssh(port, 30, name)


def execute(lab: Network, address: str, command: list[str]) -> list[str]:
    """The argv that runs a command as root in the VM, from inside the lab's network."""
    return _root_ssh(lab.argv([]), lab.state.path("key"), address, shlex.join(command))


def restart(lab: Network, host: Host) -> None:
    """Reboot the guest; returns when the machine has been reset."""
    with Monitor(_folder(lab, host.name) / "qmp") as monitor:
        run(execute(lab, host.address, ["systemctl", "reboot"]), check=False, timeout=30)
        monitor.wait_for("RESET", 90)


def remove(lab: Network, name: str) -> None:
    """End QEMU and remove the VM's files and tap."""
    lab.state.stop(_what(name))
    tap = _folder(lab, name) / "tap"
    if tap.exists():
        run(["ip", "-n", lab.name, "link", "delete", tap.read_text()], check=False)
    shutil.rmtree(_folder(lab, name), ignore_errors=True)
