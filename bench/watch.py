"""What a contender did on a lab host, seen by the host itself: sshd's own log of logins and sessions, processor time below sshd.

The same count for every contender, whatever it says of itself: a session is one command, shell or subsystem over SSH.
"""

from __future__ import annotations

from dataclasses import dataclass

from lab import container
from lab.engine import run
from lab.network import Network

# A control group of its own: systemd gives units none for processor time on a host with separate v1 controllers.
_PREPARE = """
if [ -d /sys/fs/cgroup/cpuacct ]; then
  mkdir -p /sys/fs/cgroup/cpuacct/bench
  systemctl show --property MainPID --value sshd >/sys/fs/cgroup/cpuacct/bench/cgroup.procs
else
  systemctl set-property --runtime sshd.service CPUAccounting=yes
fi
# connections of a hundred hosts arrive together
grep -q '^MaxStartups 1000' /etc/ssh/sshd_config || echo 'MaxStartups 1000' >>/etc/ssh/sshd_config
systemctl reload sshd
"""
_CPU = "cat /sys/fs/cgroup/cpuacct/bench/cpuacct.usage 2>/dev/null || systemctl show --property CPUUsageNSec --value sshd"
_CURSOR = "journalctl --sync; journalctl -n 0 --show-cursor | sed -n 's/^-- cursor: //p'"


@dataclass(frozen=True)
class Mark:
    """A moment on the host: its journal's cursor and nanoseconds of processor time."""

    cursor: str
    cpu: int


@dataclass(frozen=True)
class Seen:
    """What happened since a mark. `cpu` in seconds: sshd and what it started, not what a daemon did for it."""

    sessions: int
    logins: int
    cpu: float


class Watch:
    """A container host's sshd."""

    def __init__(self, lab: Network, host: str) -> None:
        self._lab, self._host = lab, host
        self._sh(_PREPARE)

    def _sh(self, script: str) -> str:
        return str(run(container.execute(self._lab, self._host, ["sh", "-c", script]), timeout=60).stdout)

    def mark(self) -> Mark:
        """Now."""
        return Mark(self._sh(_CURSOR).strip(), int(self._sh(_CPU)))

    def since(self, mark: Mark) -> Seen:
        """What happened since."""
        cpu = int(self._sh(_CPU)) - mark.cpu
        said = self._sh(
            f"journalctl --sync; journalctl -t sshd -o cat --no-pager --after-cursor='{mark.cursor}'"
        )
        return Seen(*counts(said), cpu / 1e9)


def counts(log: str) -> tuple[int, int]:
    """Sessions and logins in sshd's log at level VERBOSE."""
    lines = log.splitlines()
    sessions = sum(line.startswith("Starting session: ") for line in lines)
    return sessions, sum(line.startswith("Accepted publickey ") for line in lines)
