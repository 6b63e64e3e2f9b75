"""What a running lab knows about itself: the folder ``<checkout>/.lab``."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Host:
    """A lab host. The ``*_port`` are loopback ports of the relay on this machine, for the host's 22, 80, 443 and 8080."""

    name: str
    kind: str  # container | vm
    address: str
    ssh_port: int
    http_port: int
    https_port: int
    webui_port: int


@dataclass
class State:
    """The state folder of one checkout.

    :param folder: usually ``<checkout>/.lab``.
    """

    folder: Path = field(default_factory=lambda: CHECKOUT / ".lab")

    @property
    def prefix(self) -> str:
        """Name of the namespace and prefix of the containers: ``dfl-`` and six digits of the checkout's path."""
        return "dfl-" + hashlib.sha256(str(self.folder.parent).encode()).hexdigest()[:6]

    def path(self, name: str) -> Path:
        """A file of the state folder."""
        return self.folder / name

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Only one `up`, `down` or `reboot` at a time."""
        self.folder.mkdir(exist_ok=True)
        with self.path("lock").open("w") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX)
            yield

    def hosts(self) -> list[Host]:
        """The hosts that are up, in the order in which they were made."""
        path = self.path("hosts.json")
        return [Host(**entry) for entry in json.loads(path.read_text())] if path.exists() else []

    def host(self, name: str) -> Host:
        """:raises KeyError: if no such host is up; the message names those that are."""
        for host in self.hosts():
            if host.name == name:
                return host
        up = ", ".join(host.name for host in self.hosts()) or "none"
        raise KeyError(f"no lab host named {name} (up: {up}); `python -m lab up {name}` makes one")

    def save_hosts(self, hosts: list[Host]) -> None:
        """Write ``hosts.json`` and the ``ssh_config`` that goes with it."""
        self._write("hosts.json", json.dumps([asdict(host) for host in hosts], indent=2) + "\n")
        self._write("ssh_config", ssh_config(hosts, self.folder))

    def _write(self, name: str, content: str) -> None:
        temporary = self.path(f".{name}.new")
        temporary.write_text(content)
        temporary.rename(self.path(name))

    # --- processes -------------------------------------------------------------------------------------------------------

    def processes(self) -> list[dict[str, Any]]:
        """The processes that this lab started: ``{"pid", "what", "started"}`` each."""
        path = self.path("pids")
        return list(json.loads(path.read_text())) if path.exists() else []

    def remember(self, pid: int, what: str) -> None:
        """Record a process that `down` has to end, with its start time, because pids are used again."""
        self._write(
            "pids",
            json.dumps([*self.processes(), {"pid": pid, "what": what, "started": _started(pid)}]) + "\n",
        )

    def alive(self, what: str) -> bool:
        """Whether processes of that description are recorded and all of them still run."""
        chosen = [entry for entry in self.processes() if entry["what"] == what]
        return bool(chosen) and all(_is_running(entry) for entry in chosen)

    def stop(self, what: str | None = None, timeout: float = 5) -> None:
        """End recorded processes: all, or those of one description. SIGTERM, then SIGKILL after ``timeout`` seconds."""
        chosen = [entry for entry in self.processes() if what is None or entry["what"] == what]
        running = [entry for entry in chosen if _is_running(entry)]
        for entry in running:
            _signal(entry["pid"], signal.SIGTERM)
        deadline = time.monotonic() + timeout
        while any(_is_running(entry) for entry in running):
            _reap()
            if time.monotonic() > deadline:
                for entry in running:
                    if _is_running(entry):
                        _signal(entry["pid"], signal.SIGKILL)
                break
            time.sleep(0.02)
        self._write("pids", json.dumps([entry for entry in self.processes() if entry not in chosen]) + "\n")


def _signal(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def _reap() -> None:
    """Collect children of ours that have ended: as zombies they would still look alive."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def _started(pid: int) -> int:
    """Start time of a process in clock ticks since boot; 0 if there is no such process, or only its zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except OSError:
        return 0
    return 0 if fields[0] == "Z" else int(fields[19])


def _is_running(entry: dict[str, Any]) -> bool:
    started: int = entry["started"]
    return started != 0 and _started(entry["pid"]) == started


def ssh_config(hosts: list[Host], folder: Path) -> str:
    """The text of ``ssh_config``: every lab host by its name, through the relay."""
    blocks = [
        f"Host {host.name}\n"
        "    HostName 127.0.0.1\n"
        f"    Port {host.ssh_port}\n"
        "    User openeuler\n"
        f"    IdentityFile {folder / 'key'}\n"
        "    IdentitiesOnly yes\n"
        f"    UserKnownHostsFile {folder / 'known_hosts'}\n"
        "    StrictHostKeyChecking yes\n"
        "    LogLevel ERROR\n"
        for host in hosts
    ]
    return "\n".join(blocks)
