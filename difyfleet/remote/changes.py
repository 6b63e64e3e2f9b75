"""What comes before every change on a host, whichever way it goes: a command, an upload, an HTTP request."""

from __future__ import annotations

from typing import Any

from difyfleet.remote.lease import require_lease


def about_to_change(door: Any) -> None:
    """Called where a change goes out: the run's lease must be held, and what was read ahead is void from here on. `door.changes` counts them.

    Raises:
        HostError: the lease is lost.
    """
    require_lease(door)
    door.changes = getattr(door, "changes", 0) + 1
    ahead = getattr(door, "ahead", None)
    if ahead is not None:
        ahead.drop()
