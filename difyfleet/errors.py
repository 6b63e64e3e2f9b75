"""Errors that say what, where and what to do next."""

from __future__ import annotations


class FleetError(Exception):
    """An error meant for the operator.

    Args:
        what: one sentence, what is wrong.
        where: file:line:col, host, URL or resource it concerns.
        hint: the next command to type or the line to change.
    """

    def __init__(self, what: str, *, where: str | None = None, hint: str | None = None) -> None:
        super().__init__(what)
        self.what = what
        self.where = where
        self.hint = hint

    def __str__(self) -> str:
        text = f"{self.where}: {self.what}" if self.where else self.what
        return f"{text}\n  next: {self.hint}" if self.hint else text


class SpecError(FleetError):
    """The inventory, or a file it names, is wrong. Nothing was contacted."""


class HostError(FleetError):
    """Something on one host is wrong. Raised inside facts, operations and roles; it fails that host only."""


class ConnectionLost(HostError):
    """The SSH connection to a host is gone. What was under way there may still run to its end."""


class PreflightError(HostError):
    """A host is not fit for the stack. Raised before the first change to it."""


class Locked(FleetError):
    """Another run holds a host's lease. Nothing was changed."""
