"""A lab host as a Docker container with systemd as its first process and a dockerd of its own.

A second, idle container holds the network namespace, so that the host keeps its interface when it is restarted: `reboot`
then is a restart of the container, also when the host reboots itself.
"""

from __future__ import annotations

from pathlib import Path

from lab import network, rootfs
from lab.engine import LabError, run
from lab.network import Network

_CAP_SYS_RESOURCE = 24
_LABEL = "lab.difyfleet"

# Docker bind-mounts its own hosts, resolv.conf and hostname, over which nothing can be renamed, on empty files: a host
# has plain files, which stay as they are after a restart. A
# container without CAP_SYS_RESOURCE gets /sys and the cgroups read-only; `remount,rw` alone says "mount point is busy",
# `bind` is needed. systemd and an inner dockerd need the root shared.
_FIRST = r"""
name=$(hostname)
for file in /etc/hosts /etc/resolv.conf /etc/hostname; do umount $file 2>/dev/null; done
echo "$name" > /etc/hostname
chmod 644 /etc/hosts /etc/resolv.conf /etc/hostname
[ -s /etc/hosts ] || cp /usr/lib/lab/hosts /etc/hosts
[ -s /etc/resolv.conf ] || cp /usr/lib/lab/resolv.conf /etc/resolv.conf
for m in /sys $(awk '$3 ~ /^cgroup/ {print $2}' /proc/mounts); do mount -o remount,bind,rw "$m"; done
mount --make-rshared /
exec /sbin/init
"""


def capabilities(status: str) -> list[str]:
    """The flags that give a container the rights of a machine.

    ``--privileged`` asks for every capability, which fails where root itself lacks one (``unable to apply caps``).

    :param status: text of ``/proc/self/status``.
    """
    bounding = next(line.split()[1] for line in status.splitlines() if line.startswith("CapBnd:"))
    if int(bounding, 16) >> _CAP_SYS_RESOURCE & 1:
        return ["--privileged"]
    return [
        # without SYS_TIME a `date -s` in a lab host would move the whole machine's clock
        "--cap-add", "ALL", "--cap-drop", "SYS_RESOURCE", "--cap-drop", "SYS_TIME",
        "--security-opt", "seccomp=unconfined",
        "--security-opt", "apparmor=unconfined",
        "--security-opt", "systempaths=unconfined",
        "--device-cgroup-rule", "a *:* rwm",
    ]  # fmt: skip


def image() -> str:
    """The root file system as a Docker image; imported once (about 8 s)."""
    tarball = rootfs.tarball()
    tag = f"difyfleet-lab/host:{tarball.parent.name.rsplit('-', 1)[1]}"
    if run(["docker", "image", "inspect", tag], check=False).returncode:
        run(["docker", "import", "--change", f"LABEL {_LABEL}=host", str(tarball), tag], timeout=300)
    return tag


def _names(lab: Network, host: str) -> tuple[str, str]:
    """The host's container and the one that holds its network."""
    return f"{lab.name}-{host}", f"{lab.name}-{host}-net"


def start(lab: Network, host: str, address: str) -> None:
    """Start a fresh container host on the lab's bridge; :func:`remove` cleans up what a failure leaves."""
    tag = image()
    remove(lab, host)  # what an `up` that was killed half way left behind
    name, holder = _names(lab, host)
    label = ["--label", f"{_LABEL}={lab.name}"]
    run(["docker", "run", "-d", "--name", holder, *label, "--hostname", host, "--network", "none", tag,
         "/bin/sleep", "infinity"])  # fmt: skip
    pid = run(["docker", "inspect", "-f", "{{.State.Pid}}", holder]).stdout.strip()
    port = f"v{address.rsplit('.', 1)[1]}"
    # the kernel takes away the port of a host that has just gone some time after its container
    run(["ip", "-n", lab.name, "link", "delete", port], check=False, timeout=20)
    lab.ip("link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", pid)
    lab.ip("link", "set", port, "master", network.BRIDGE, "up")
    plug = f"ip address add {address}/24 dev eth0 && ip link set eth0 up && ip route add default via {network.GATEWAY}"
    run(["nsenter", "-t", pid, "-n", "sh", "-c", plug])
    run(
        ["docker", "run", "-d", "--name", name, *label, "--network", f"container:{holder}",
         "--restart", "unless-stopped",  # the host's own `reboot` ends its first process
         *capabilities(Path("/proc/self/status").read_text()), "--cgroupns=private",
         "--tmpfs", "/run:exec,mode=755", "--tmpfs", "/tmp:exec,mode=1777,size=50%",
         # overlay on overlay does not work: an inner dockerd needs a plain file system below it
         "-v", "/var/lib/docker", "-v", "/var/lib/containerd",
         "--stop-signal", "SIGRTMIN+3", "-e", "container=docker", tag, "/bin/sh", "-c", _FIRST],
        timeout=120,
    )  # fmt: skip


def execute(lab: Network, host: str, command: list[str], *, tty: bool = False) -> list[str]:
    """The argv that runs a command as root in the host, without SSH."""
    return ["docker", "exec", "-it" if tty else "-i", _names(lab, host)[0], *command]


def running(lab: Network, host: str) -> bool:
    """Whether the host's two containers run."""
    states = run(
        ["docker", "inspect", "-f", "{{.State.Running}}", *_names(lab, host)], check=False
    ).stdout.split()
    return states == ["true", "true"]


def restart(lab: Network, host: str) -> None:
    """Shut the host down and start it again; returns when its first process runs, not when SSH answers."""
    run(["docker", "restart", "-t", "30", _names(lab, host)[0]], timeout=90)


def remove(lab: Network, host: str) -> None:
    """Remove a container host with its volumes; nothing happens if there is none."""
    present = run(
        ["docker", "ps", "-a", "--filter", f"label={_LABEL}={lab.name}", "--format", "{{.Names}}"]
    ).stdout.split()
    chosen = [name for name in _names(lab, host) if name in present]
    if chosen:
        run(["docker", "rm", "-f", "-v", *chosen], timeout=120)


def remove_all(lab: Network) -> None:
    """Remove every container that carries this lab's label, whatever the records say."""
    present = run(
        ["docker", "ps", "-aq", "--filter", f"label={_LABEL}={lab.name}"], check=False
    ).stdout.split()
    if present and run(["docker", "rm", "-f", "-v", *present], timeout=120, check=False).returncode:
        raise LabError(f"cannot remove the lab's containers: try `docker rm -f -v {' '.join(present)}`")
