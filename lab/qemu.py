"""QEMU's command line and its monitor."""

from __future__ import annotations

import base64
import json
import os
import socket
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab import engine
from lab.engine import LabError

MEMORY = 3072  # MiB
CPUS = 2


def accelerator() -> str:
    """``kvm`` or ``tcg``; ``DIFYFLEET_LAB_ACCEL`` overrides.

    That /dev/kvm opens says nothing: with kvm_pvm, a software hypervisor, a stock guest kernel runs on the instruction
    emulator and takes minutes. Only the hardware modules count.
    """
    wanted = os.environ.get("DIFYFLEET_LAB_ACCEL")
    if wanted:
        return wanted
    hardware = any(Path("/sys/module", name).is_dir() for name in ("kvm_intel", "kvm_amd"))
    return "kvm" if hardware and os.access("/dev/kvm", os.R_OK | os.W_OK) else "tcg"


def version() -> str:
    """First line of ``qemu --version``: a saved state fits only the QEMU that made it."""
    return engine.run(["qemu-system-x86_64", "--version"]).stdout.splitlines()[0]


def mac(address: str) -> str:
    """The hardware address of the host with this lab address."""
    return f"52:54:00:00:02:{int(address.rsplit('.', 1)[1]):02x}"


@dataclass(frozen=True)
class Machine:
    """One virtual machine; its files (disk, monitor socket, console log) lie in ``folder``."""

    name: str
    folder: Path
    address: str
    tap: str
    memory: int = MEMORY  # MiB
    cpus: int = CPUS

    @property
    def monitor(self) -> Path:
        """Path of the QMP socket."""
        return self.folder / "qmp"

    def hardware(self) -> list[str]:
        """The machine itself: what a saved state depends on, and nothing else."""
        accel = accelerator()
        how = (
            ["-accel", "kvm", "-cpu", "host"]
            if accel == "kvm"
            else ["-accel", f"{accel},thread=multi,tb-size=512", "-cpu", "max"]
        )
        return [*how, "-machine", "q35", "-smp", str(self.cpus), "-m", str(self.memory),
                "-nodefaults", "-no-user-config", "-display", "none"]  # fmt: skip

    def argv(self, *extra: str) -> list[str]:
        """The whole command line; ``extra`` says what boots (:func:`direct_boot`, ``-loadvm``)."""
        return [
            "qemu-system-x86_64", "-name", self.name, *self.hardware(),
            "-drive", f"if=none,id=d0,file={self.folder / 'disk.qcow2'},format=qcow2,cache=unsafe,discard=unmap",
            "-device", "virtio-blk-pci,drive=d0",
            "-netdev", f"tap,id=n0,ifname={self.tap},script=no,downscript=no",
            "-device", f"virtio-net-pci,netdev=n0,romfile=,mac={mac(self.address)}",
            "-device", "virtio-rng-pci",
            "-serial", f"file:{self.folder / 'console.log'}",
            "-qmp", f"unix:{self.monitor},server=on,wait=off",
            *extra,
        ]  # fmt: skip


def direct_boot(kernel: Path, host: str, address: str, public_key: str) -> list[str]:
    """Boot our own kernel beside the disk; the host's identity is on the kernel command line (overlay/usr/lib/lab/net).

    :param kernel: folder with ``vmlinuz`` and ``initrd.gz``.
    """
    key = base64.b64encode(public_key.encode()).decode()
    append = (
        "root=/dev/vda console=ttyS0 quiet net.ifnames=0 mitigations=off "
        "systemd.unified_cgroup_hierarchy=0 "  # cgroup v1, openEuler's own default
        f"systemd.hostname={host} "
        f"lab.ip={address}/24 lab.key={key}"
    )
    return ["-kernel", str(kernel / "vmlinuz"), "-initrd", str(kernel / "initrd.gz"), "-append", append]


class Monitor:
    """A connection to QEMU's monitor (QMP).

    :raises LabError: if the socket does not appear within ``timeout`` seconds.
    """

    def __init__(self, path: Path, timeout: float = 20) -> None:
        deadline = time.monotonic() + timeout
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(timeout)
        while True:
            try:
                self._socket.connect(str(path))
                break
            except OSError as error:
                if time.monotonic() > deadline:
                    raise LabError(f"QEMU's monitor {path} does not answer: {error}") from None
                time.sleep(0.05)
        self._stream = self._socket.makefile("rw")
        self._read()  # greeting
        self.command("qmp_capabilities")

    def __enter__(self) -> Monitor:
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()
        self._socket.close()

    def _read(self) -> dict[str, Any]:
        line = self._stream.readline()
        if not line:
            raise LabError("QEMU ended")
        return dict(json.loads(line))

    def command(self, name: str, **arguments: Any) -> Any:
        """Run a QMP command and return its value; events in between are dropped."""
        self._stream.write(json.dumps({"execute": name, "arguments": arguments}) + "\n")
        self._stream.flush()
        while True:
            reply = self._read()
            if "error" in reply:
                raise LabError(f"QEMU: {name}: {reply['error'].get('desc')}")
            if "return" in reply:
                return reply["return"]

    def human(self, line: str, timeout: float = 120) -> None:
        """Run a command of the human monitor, such as ``savevm ready``; it answers only if something is wrong.

        :param timeout: seconds.
        """
        self._socket.settimeout(timeout)
        said = self.command("human-monitor-command", **{"command-line": line})
        if said.strip():
            raise LabError(f"QEMU: {line}: {said.strip()}")

    def wait_for(self, event: str, timeout: float) -> None:
        """Wait for an event such as ``RESET``.

        :param timeout: seconds.
        """
        self._socket.settimeout(timeout)
        try:
            while self._read().get("event") != event:
                pass
        except TimeoutError:
            raise LabError(f"QEMU: no {event} within {timeout:.0f} s") from None
