"""Which reads a run makes of a host: remembered by the controller, so that the next run of the same deploy can ask for them at once.

Commands only, never an answer; a command that holds a secret is not kept (the door sees to that). And what programs said of files that are
still the same: versions, compose's hashes (known_script.py).
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from difyfleet.host_calls import Call
from difyfleet.remote.phase_file import PhaseFile

_KNOWN = "known"  # no phase
Known = dict[str, list[str]]  # see known_script.py


class Read(NamedTuple):
    """One read as it goes to the host: what sudo, su, environment and folder make of it stands in the line."""

    line: str
    timeout: float  # seconds
    asks: bool = False  # sudo reads the password from standard input
    call: Call = ()  # what gives the same without a shell


@dataclass(frozen=True)
class Learned(PhaseFile):
    """What the last run of the same deploy read, by phase."""

    VERSION = 2
    _loaded: dict[str, Counter[Read]] = field(default_factory=dict, compare=False, repr=False)

    def load(self, phase: str) -> Counter[Read]:
        """The reads of a phase in their order, with how often each was asked. A file that cannot be read has none."""
        if phase not in self._loaded:
            self._loaded[phase] = self._load(phase)
        return self._loaded[phase].copy()

    def _load(self, phase: str) -> Counter[Read]:
        try:
            return Counter(
                {
                    Read(sys.intern(str(line)), float(seconds), bool(asks), tuple(map(str, call))): int(times)
                    for line, seconds, asks, call, times in self.entry(phase)["reads"]
                }
            )
        except (KeyError, TypeError, ValueError):
            return Counter()

    def of(self, reads: Iterable[Read], requests: Iterable[Any] = ()) -> str:
        """A digest of reads and requests in their order, and of all that decides what is read."""
        lines = [[line, float(seconds), *how] for line, seconds, *how in reads]
        said = json.dumps([self.digest, lines, list(requests)])
        return hashlib.sha256(said.encode("utf-8", "surrogatepass")).hexdigest()

    def known(self) -> Known:
        """What the host's calls have found out of files that rarely change."""
        try:
            known = self.entry(_KNOWN)["known"]
            return {str(name): [str(state), str(found)] for name, (state, found) in known.items()}
        except (KeyError, TypeError, ValueError, AttributeError):
            return {}

    def keep_known(self, news: Known) -> None:
        """Keep it for the next channel."""
        self.keep(_KNOWN, {"known": {**self.known(), **news}})

    def save(self, phase: str, reads: Counter[Read]) -> None:
        """Keep what a phase has read for the next run."""
        if list(reads.items()) == list(self.load(phase).items()):  # their order stands in digests
            return
        self._loaded[phase] = reads.copy()
        self.keep(phase, {"reads": [[*read, times] for read, times in reads.items()]})
