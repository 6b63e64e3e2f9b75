"""Reasons for a restart of docker.service, kept on the host from the change that needs it until the restart that answers it.

A run that is cut between the two leaves the reason behind, and the next run restarts. Several changes in one run share one restart:
systemd's start limit (3 starts in 60 s) would otherwise keep Docker down.
"""

from __future__ import annotations

import shlex

from difyfleet.facts.docker import PENDING

PREVIOUS = "/etc/docker/daemon.json.difyfleet-previous"  # kept until the daemon has come up with the new one


def mark(reason: str) -> str:
    """The shell command that records a reason. It stands before the change: a needless restart is better than a missed one."""
    return f"mkdir -p -m 0755 /run/difyfleet && echo {shlex.quote(reason)} >> {PENDING}"


def clear() -> str:
    """The shell command that forgets all reasons, once the daemon is up."""
    return f"rm -f {PENDING} {PREVIOUS}"


def roll_back() -> str:
    """The shell command that puts the previous daemon.json back and starts Docker with it; fails where there is none."""
    return (
        f"[ -e {PREVIOUS} ] && mv -fT {PREVIOUS} /etc/docker/daemon.json && rm -f {PENDING}"
        " && { systemctl reset-failed docker.service 2>/dev/null; systemctl start docker.service; }"
    )
