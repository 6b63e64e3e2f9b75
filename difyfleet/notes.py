"""What operations say about themselves: why they change something, and how they failed. The plan's words and the report's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Change:
    """Why an operation is going to change something.

    Args:
        why: one line, names the thing and both values (`ollama: stopped, wanted running`); never a secret.
        diff: a masked unified diff, where the thing is a text.
        loses_data: something goes that exists only on this host and that the diff does not hold: a document, a model, a package
            with its containers. Such a change is never made without being asked for.
    """

    why: str
    diff: str | None = None
    loses_data: bool = False


@dataclass
class OpNotes:
    """What one operation said on one host, kept for the report.

    Args:
        first_command: what a plan stopped at, masked; None where there is nothing to do.
        may_change: False = a saved plan says that nothing changes here, so its first command is refused.
        keep_data: True = a command after a note that says `loses_data` is refused.
        declared: what the operation was called to bring about; None = not known (an operation of pyinfra's own).
    """

    changes: list[Change]
    error: str | None = None
    role: str | None = None
    name: str | None = None
    first_command: str | None = None
    may_change: bool = True
    keep_data: bool = False
    declared: Any = None


def notes(on: Any, op_hash: str) -> OpNotes:
    """The notes of operation `op_hash` on a host; empty ones are made at first use."""
    book: dict[str, OpNotes] = on.connector_data.setdefault("difyfleet.notes", {})
    return book.setdefault(op_hash, OpNotes([]))
