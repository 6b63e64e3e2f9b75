"""Lab hosts of either kind: make, wait for, restart, remove."""

from __future__ import annotations

import socket
import subprocess
import time
from pathlib import Path

from lab import container
from lab.engine import LabError, run
from lab.network import FIRST_HOST, Network
from lab.state import Host, State

OPERATOR_PASSWORD = "lab-operator-1"  # noqa: S105 - of user `operator`, whose sudo asks for it; no host outside the lab has it
_PORTS = (22, 80, 443, 8080)  # SSH, Dify, Dify over TLS, Open WebUI


def ensure_key(state: State) -> None:
    """The lab's SSH key, one per checkout."""
    if not state.path("key").exists():
        run(
            [
                "ssh-keygen",
                "-q",
                "-t",
                "ed25519",
                "-N",
                "",
                "-C",
                "difyfleet-lab",
                "-f",
                str(state.path("key")),
            ]
        )


def free_address(hosts: list[Host]) -> str:
    """The first address that no host has."""
    taken = {host.address for host in hosts}
    for last in range(FIRST_HOST, 250):
        if f"10.0.2.{last}" not in taken:
            return f"10.0.2.{last}"
    raise LabError("all 240 host addresses of the lab are taken: `python -m lab down`")


def wait_for_ssh(port: int, timeout: float, what: str) -> float:
    """Wait until an SSH server sends its banner: a relay or QEMU accepts long before the host is up.

    :param port: port on 127.0.0.1.
    :param timeout: seconds.
    :returns: seconds waited.
    """
    started = time.monotonic()
    while time.monotonic() - started < timeout:
        try:
            with socket.create_connection(("127.0.0.1", port), 1) as probe:
                probe.settimeout(3)
                if probe.recv(4) == b"SSH-":
                    return time.monotonic() - started
        except OSError:
            pass
        time.sleep(0.05)
    raise LabError(f"{what}: no SSH banner within {timeout:.0f} s (127.0.0.1:{port})")


def record_host_key(state: State, host: Host) -> None:
    """Put a new host's key into ``known_hosts``, under the relay's name and under its lab address."""
    scan = run(
        ["ssh-keyscan", "-T", "10", "-t", "ed25519", "-p", str(host.ssh_port), "127.0.0.1"], timeout=30
    ).stdout
    keys = [line.split(" ", 1)[1] for line in scan.splitlines() if line and not line.startswith("#")]
    if not keys:
        raise LabError(f"{host.name} shows no ed25519 host key on 127.0.0.1:{host.ssh_port}")
    names = (f"[127.0.0.1]:{host.ssh_port}", host.address)
    path = state.path("known_hosts")
    # What an earlier host of this address, or an earlier relay on this port, left behind goes.
    kept = [
        line
        for line in (path.read_text().splitlines() if path.exists() else [])
        if line.split(" ", 1)[0] not in names
    ]
    path.write_text(
        "".join(f"{line}\n" for line in [*kept, *(f"{name} {key}" for name in names for key in keys)])
    )


def alive(lab: Network, host: Host) -> bool:
    """Whether a recorded host's container or VM still runs, and its relay with it."""
    if not lab.state.alive(f"relay {host.name}"):
        return False
    if host.kind == "container":
        return container.running(lab, host.name)
    return lab.state.alive(f"vm {host.name}")


def make(lab: Network, name: str, kind: str, image: Path | None = None) -> Host:
    """Make a host, wait until it can be logged in to, and add it to the records.

    :param kind: ``container`` or ``vm``.
    :param image: only for ``vm``: the user's own openEuler disk image instead of the look-alike.
    """
    state = lab.state
    address = free_address(state.hosts())
    ports = lab.relay(name, address, _PORTS)
    try:
        if kind == "container":
            container.start(lab, name, address)
            authorize(container.execute(lab, name, ["sh"]), state.path("key.pub").read_text())
            wait_for_ssh(ports[22], 60, name)
        else:
            from lab import vm  # the container kind needs none of QEMU's parts

            vm.start(lab, name, address, ports[22], image)
    except BaseException:
        remove(lab, name, kind)
        raise
    host = Host(name, kind, address, *(ports[port] for port in _PORTS))
    record_host_key(state, host)
    state.save_hosts([*state.hosts(), host])
    lab.publish_hosts()
    return host


def identity_script(public_key: str) -> str:
    """Shell commands for root in the look-alike: who may log in, and operator's password."""
    return (
        f"set -e\nsh /usr/lib/lab/authorize <<'END'\n{public_key.strip()}\nEND\n"
        f"echo 'operator:{OPERATOR_PASSWORD}' | chpasswd -c SHA256\n"  # yescrypt takes seconds in an emulated VM
    )


def authorize(shell: list[str], public_key: str) -> None:
    """Run the identity script in a root shell, given as an argv that reads commands from stdin."""
    run(shell, timeout=30, input=identity_script(public_key))


def execute(lab: Network, host: Host, command: list[str], *, tty: bool = False) -> int:
    """Run a command as root in a host, not through the relay.

    :returns: its exit status.
    """
    if host.kind == "container":
        argv = container.execute(lab, host.name, command, tty=tty)
    else:
        from lab import vm

        argv = vm.execute(lab, host.address, command)
    return subprocess.run(argv).returncode


def restart(lab: Network, host: Host, timeout: float = 120) -> float:
    """Reboot a host and wait for its SSH banner.

    :param timeout: seconds to wait for the banner.
    :returns: seconds from the order to the banner.
    """
    started = time.monotonic()
    if host.kind == "container":
        container.restart(lab, host.name)
    else:
        from lab import vm

        vm.restart(lab, host)
    wait_for_ssh(host.ssh_port, timeout, host.name)
    return time.monotonic() - started


def remove(lab: Network, name: str, kind: str) -> None:
    """Remove a host and its relay; also one that was only half made."""
    if kind == "container":
        container.remove(lab, name)
    else:
        from lab import vm

        vm.remove(lab, name)
    lab.state.stop(f"relay {name}")
    hosts = [host for host in lab.state.hosts() if host.name != name]
    if len(hosts) != len(lab.state.hosts()):
        lab.state.save_hosts(hosts)
        lab.set_records({}, remove=(f"{name}.lab",))
