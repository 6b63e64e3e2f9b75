"""A file of the controller's state folder with what was learned of a host, by phase of a run (mode 0600)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from difyfleet.paths import write_whole


@dataclass(frozen=True)
class PhaseFile:
    """The file of one host.

    Args:
        path: its place.
        digest: of all that decides what is learned; what was learned under another one is not used.
    """

    path: Path
    digest: str
    VERSION: ClassVar[int]

    def phases(self) -> dict[str, Any]:
        """All entries; a file that is gone or cannot be understood has none."""
        try:
            document = json.loads(self.path.read_text(encoding="utf-8"))
            return dict(document["phases"]) if document["version"] == self.VERSION else {}
        except (OSError, KeyError, TypeError, ValueError):
            return {}

    def entry(self, phase: str) -> dict[str, Any]:
        """What was learned in a phase; nothing under another digest."""
        found = self.phases().get(phase)
        return found if isinstance(found, dict) and found.get("digest") == self.digest else {}

    def keep(self, phase: str, learned: Mapping[str, Any]) -> None:
        """Write what a phase has taught."""
        self.write({**self.phases(), phase: {"digest": self.digest, **learned}})

    def write(self, phases: Mapping[str, Any]) -> None:
        """Write all entries."""
        document = {"version": self.VERSION, "phases": phases}
        write_whole(self.path, json.dumps(document, ensure_ascii=False, indent=0))
