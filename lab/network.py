"""The lab's network: one namespace with one bridge, from which nothing leads out.

Lab hosts are 10.0.2.10 and up; everything else is an address of the bridge itself. What a name means is in ``ZONE``; the
faults are those that a list of registry mirrors meets in the wild.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import time
from pathlib import Path

from lab import pki, services
from lab.engine import LabError, run
from lab.state import CHECKOUT, State

BRIDGE = services.BRIDGE
BRIDGE_MAC = "02:00:0a:00:02:02"
GATEWAY = services.GATEWAY
FIRST_HOST = 10  # 10.0.2.10
OLLAMA, GHCR, MIRROR, WEB, SILENT, REFUSED = (f"10.0.2.{last}" for last in (3, 4, 5, 6, 7, 8))

# The names of the user's own document, so that its inventory works in the lab as it stands.
ZONE: dict[str, str | None] = {
    "repo.lab": GATEWAY,
    "registry.ollama.ai": OLLAMA,
    "ghcr.io": GHCR,
    "docker.m.daocloud.io": MIRROR,
    "mirrors.ustc.edu.cn": WEB,
    "mirror.azure.cn": WEB,
    "dockerpull.org": WEB,
    "docker.1panel.live": SILENT,
    "hub.rat.dev": REFUSED,
}
_SERVICES = "services"


class Network:
    """The network of one lab."""

    def __init__(self, state: State) -> None:
        self.state = state
        self.name = state.prefix

    # --- the namespace ---------------------------------------------------------------------------------------------------

    def exists(self) -> bool:
        """Whether the namespace is there."""
        return Path("/run/netns", self.name).exists()

    def argv(self, command: list[str]) -> list[str]:
        """The command, to run inside the namespace, with the lab's name server."""
        return ["ip", "netns", "exec", self.name, *command]

    def ip(self, *arguments: str) -> None:
        """``ip`` inside the namespace."""
        run(["ip", "-n", self.name, *arguments], timeout=20)

    def spawn(self, what: str, command: list[str], log: Path, env: dict[str, str] | None = None) -> int:
        """Start a long-running program inside the namespace and record it for `down`.

        :param what: its description in the list of processes, unique per lab.
        :param log: file that gets its output.
        :returns: its pid.
        """
        with log.open("ab") as stream:
            process = subprocess.Popen(
                # nsenter and not `ip netns exec`: the pid is then the program's own, in the machine's mount namespace.
                ["nsenter", f"--net=/run/netns/{self.name}", "--", *command],
                stdin=subprocess.DEVNULL, stdout=stream, stderr=stream, start_new_session=True,
                cwd=CHECKOUT, env=env,
            )  # fmt: skip
        self.state.remember(process.pid, what)
        return process.pid

    def up(self) -> None:
        """Make the namespace and its servers; what is there already stays."""
        if not self.exists():
            try:
                self._make()
            except BaseException:
                self._unmake()
                raise
        self.publish_hosts()
        if not self.state.alive(_SERVICES):
            self._serve()

    def _make(self) -> None:
        run(["ip", "netns", "add", self.name])
        # `ip netns exec` puts this file in place of /etc/resolv.conf
        resolver = Path("/etc/netns", self.name, "resolv.conf")
        resolver.parent.mkdir(parents=True, exist_ok=True)
        resolver.write_text(f"nameserver {GATEWAY}\noptions timeout:1 attempts:1\n")
        self.ip("link", "set", "lo", "up")
        # an address of its own: else the bridge takes the lowest of its ports, and each host that comes or goes may change it under the
        # others, which then miss gateway, DNS and registries for ten seconds
        self.ip("link", "add", BRIDGE, "address", BRIDGE_MAC, "type", "bridge", "forward_delay", "0")
        for address in (GATEWAY, OLLAMA, GHCR, MIRROR, WEB, SILENT, REFUSED):
            self.ip("address", "add", f"{address}/24", "dev", BRIDGE)
        self.ip("link", "set", BRIDGE, "up")
        # The silent mirror answers ARP and then nothing: the case that costs dockerd 15 s per pull.
        run(self.argv(["iptables", "-w", "-A", "INPUT", "-d", SILENT, "-j", "DROP"]))

    def _unmake(self) -> None:
        run(["ip", "netns", "delete", self.name], check=False)
        resolver = Path("/etc/netns", self.name)
        (resolver / "resolv.conf").unlink(missing_ok=True)
        if resolver.is_dir():
            resolver.rmdir()

    def down(self) -> None:
        """End the servers and remove the namespace."""
        self.state.stop()
        if self.exists():
            self._unmake()

    # --- servers ---------------------------------------------------------------------------------------------------------

    def _serve(self) -> None:
        self.state.stop(_SERVICES)
        certificate, key = pki.issue(["dockerpull.org"])
        log = self.state.path("services.log")
        command = [sys.executable, "-m", "lab.services", str(self.state.folder), str(certificate), str(key)]
        self.spawn(_SERVICES, command, log)
        self.wait_for_port(GATEWAY, services.FILES_PORT, log)

    def wait_for_port(self, address: str, port: int, log: Path, timeout: float = 15) -> None:
        """Wait until a TCP port inside the lab accepts.

        :param timeout: seconds.
        :raises LabError: after that, with the end of ``log``.
        """
        probe = f"exec 3<>/dev/tcp/{address}/{port}"
        deadline = time.monotonic() + timeout
        while run(self.argv(["timeout", "2", "bash", "-c", probe]), check=False).returncode:
            if time.monotonic() > deadline:
                tail = log.read_text(errors="replace")[-2000:] if log.exists() else ""
                raise LabError(
                    f"nothing listens on {address}:{port} in the lab after {timeout:.0f} s; {log} ends: {tail}"
                )
            time.sleep(0.05)

    def publish(self, name: str, folder: Path) -> None:
        """Serve a folder as ``http://repo.lab:8100/NAME``."""
        link = self.state.path("www") / name
        link.parent.mkdir(exist_ok=True)
        link.unlink(missing_ok=True)
        link.symlink_to(folder)

    # --- names -----------------------------------------------------------------------------------------------------------

    def records(self) -> dict[str, str | None]:
        """What the name server answers now."""
        path = self.state.path("dns.json")
        return dict(json.loads(path.read_text())) if path.exists() else dict(ZONE)

    def set_records(self, changes: dict[str, str | None], remove: tuple[str, ...] = ()) -> None:
        """Change the zone of a running lab.

        :param changes: name -> address, or ``None`` for a name whose questions are never answered.
        :param remove: names that do not exist (NXDOMAIN) from now on.
        """
        zone = {**self.records(), **changes}
        for name in remove:
            zone.pop(name, None)
        path = self.state.path("dns.json")
        temporary = path.with_suffix(".new")
        temporary.write_text(json.dumps(zone, indent=2) + "\n")
        temporary.rename(path)

    def publish_hosts(self) -> None:
        """Make every lab host known as ``NAME.lab``."""
        self.set_records({f"{host.name}.lab": host.address for host in self.state.hosts()})

    # --- the relay -------------------------------------------------------------------------------------------------------

    def relay(self, host_name: str, address: str, ports: tuple[int, ...]) -> dict[int, int]:
        """Join free loopback ports of this machine to ports of a lab host.

        :returns: the host's port -> the port on 127.0.0.1.
        """
        argv = [sys.executable, "-m", "lab.relay", self.name, address, *map(str, ports)]
        with self.state.path("relay.log").open("ab") as stream:
            process = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=stream, start_new_session=True,
                cwd=CHECKOUT, text=True,
            )  # fmt: skip
        self.state.remember(process.pid, f"relay {host_name}")
        assert process.stdout is not None
        line = process.stdout.readline()  # ends also when the process does
        if not line:
            raise LabError(f"the relay to {host_name} did not start; see {self.state.path('relay.log')}")
        return {int(port): bound for port, bound in json.loads(line).items()}

    def run(self, command: list[str]) -> int:
        """Run a command as "another machine on the lab's LAN", with this terminal.

        :returns: its exit status.
        :raises LabError: if no lab is up.
        """
        if not self.exists():
            raise LabError("no lab is up in this checkout: `python -m lab up`")
        try:
            return subprocess.run(self.argv(command), env=os.environ).returncode
        except FileNotFoundError:
            raise LabError(f"cannot run {shlex.join(command)}") from None
