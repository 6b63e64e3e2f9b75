"""The journal: every command that went through the door, one JSON line each, written as it happens.

"The second apply ran 0 changing commands" is read from this file, not from counters of the code that should have behaved.
"""

from __future__ import annotations

import itertools
import json
import os
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from difyfleet.paths import state_dir
from difyfleet.secrets import mask

_encode = json.JSONEncoder(ensure_ascii=False).encode
READ, CHANGE, CONNECT, LEASE = "read", "change", "connect", "lease"


class Journal:
    """One run's journal file (mode 0600)."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._file: TextIO = os.fdopen(descriptor, "w", buffering=1)

    def write(self, host: str, kind: str, via: str, what: str, operation: str | None = None) -> None:
        """Add one line.

        Args:
            kind: read, change, connect or lease.
            via: exec, http or sftp.
            what: the command or request, secrets masked here once more.
            operation: the operation it belongs to, if any.
        """
        entry = {
            "at": round(time.time(), 3),
            "host": host,
            "kind": kind,
            "via": via,
            "what": mask(what),
            "operation": operation,
        }
        self._file.write(_encode(entry) + "\n")

    def entries(self) -> Iterator[dict[str, Any]]:
        """The lines so far, read back from the file."""
        self._file.flush()
        with self.path.open() as lines:
            for line in lines:
                yield json.loads(line)

    def counts(self) -> dict[str, Counter[tuple[str, str]]]:
        """How many lines of each kind and way each host has; the file is read once for all hosts."""
        found: dict[str, Counter[tuple[str, str]]] = {}
        for entry in self.entries():
            found.setdefault(entry["host"], Counter())[entry["kind"], entry["via"]] += 1
        return found

    def count(self, host: str, kind: str | None = None, via: str | None = None) -> int:
        """How many lines a host has, of one kind and way if given."""
        return of(self.counts().get(host, Counter()), kind, via)


def of(counts: Counter[tuple[str, str]], kind: str | None = None, via: str | None = None) -> int:
    """How many of a host's lines are of one kind and way, if given."""
    return sum(number for (one, by), number in counts.items() if kind in (None, one) and via in (None, by))


_current: Journal | None = None


def current() -> Journal:
    """The journal of this process; a new file under the state folder at first use, so that plain pyinfra keeps one too."""
    global _current
    if _current is None:
        stamp = f"{time.strftime('%Y%m%dT%H%M%S')}-{os.getpid()}"
        names = itertools.chain([stamp], (f"{stamp}-{number}" for number in itertools.count(2)))
        paths = (state_dir() / "journal" / f"{name}.jsonl" for name in names)
        _current = Journal(next(path for path in paths if not path.exists()))  # two runs in one second
    return _current


def use(path: Path | None) -> Journal:
    """Start a new journal at `path` (None = a fresh default file)."""
    global _current
    _current = Journal(path) if path else None
    return current()
