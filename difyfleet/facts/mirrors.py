"""Registry mirrors: what was found out about them, and asking them from the host."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pyinfra.api import FactBase

from difyfleet.facts.engine import parse_json
from difyfleet.host_calls import Command

RECORD = "/etc/difyfleet/mirrors.json"
_SCRIPT = Path(__file__).with_name("mirror_probe_script.py")


@dataclass(frozen=True)
class Answer:
    """What one mirror said when it was asked from the host."""

    alive: bool
    reason: str  # "serves nginx:1.27.3", "connection refused", "silent for 4 s", "a web page, not a registry", ...
    seconds: float = 0.0
    when: str = ""  # UTC time of the probe

    def as_json(self) -> dict[str, Any]:
        return {"alive": self.alive, "reason": self.reason, "seconds": self.seconds, "when": self.when}


class MirrorRecord(FactBase[dict[str, Answer]]):
    """The recorded answer of every mirror probed so far. A broken record counts as none."""

    def command(self) -> Command:
        return Command(f"cat {RECORD} 2>/dev/null; true", "difyfleet.facts.files_script", "cat", RECORD)

    @staticmethod
    def default() -> dict[str, Answer]:
        return {}

    def process(self, output: Iterable[str]) -> dict[str, Answer]:
        raw = (parse_json("\n".join(output)) or {}).get("mirrors")
        if not isinstance(raw, Mapping):
            return {}
        return {url: _answer(entry) for url, entry in raw.items() if isinstance(entry, Mapping)}


class MirrorProbe(FactBase[dict[str, Answer]]):
    """Mirrors asked now, from the host, all at once. Only GET requests."""

    def command(self, urls: tuple[str, ...], timeout: float, image: str) -> str:
        words = " ".join(map(shlex.quote, (f"{timeout:g}", image, *urls)))
        return f"LC_ALL=C python3 -c {shlex.quote(_SCRIPT.read_text())} {words} 2>/dev/null; true"

    @staticmethod
    def default() -> dict[str, Answer]:
        return {}

    def process(self, output: Iterable[str]) -> dict[str, Answer]:
        return {entry["url"]: _answer(entry) for entry in map(json.loads, filter(None, output))}


def _answer(entry: Mapping[str, Any]) -> Answer:
    return Answer(
        bool(entry.get("alive")),
        str(entry.get("reason", "")),
        float(entry.get("seconds") or 0),
        str(entry.get("when", "")),
    )
