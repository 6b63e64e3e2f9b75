"""Which HTTP reads a run makes of a host's services: remembered by the controller beside its reads (learned_reads.py).

A sign-in is kept as a recipe: its body without the secret, and where the secret is. Never a secret, a token or an answer.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from difyfleet.paths import write_whole
from difyfleet.secrets import Secret

_VERSION = 1
GIVEN, KEPT = "given", "kept"  # by the inventory, on the host


@dataclass(frozen=True)
class SignIn:
    """How a service is signed in to: a POST of JSON that brings a bearer token.

    Args:
        who: a name for the account.
        path: of the URL.
        field: of the body, holds the secret.
        token: keys to the token in the answer.
        given: the secret that the inventory gives, if it gives one.
        kept: the file on the host with the one that is used else.
        unless: files on the host that forbid it.
    """

    who: str
    path: str
    field: str
    token: tuple[str, ...]
    given: Callable[[], Secret | None]
    kept: str
    unless: tuple[str, ...] = ()


class Asked(NamedTuple):
    """One request.

    Args:
        seconds: without a byte.
        who: whose token it carries; of a sign-in, whom it signs in.
        around: of a sign-in, the body before and after the secret.
        place: of a sign-in's secret, GIVEN or KEPT.
    """

    method: str
    url: str
    seconds: float
    who: str = ""
    around: tuple[str, str] | None = None
    place: str = ""


@dataclass(frozen=True)
class LearnedRequests:
    """What the last run of the same deploy asked, by phase, in a file of the controller's state folder (mode 0600).

    Args:
        path: the host's file.
        digest: of all that decides what is asked; requests that were learned under another one are not used.
    """

    path: Path
    digest: str

    def load(self, phase: str) -> Counter[Asked]:
        """The requests of a phase in their order, with how often each was made. A file that cannot be read has none."""
        entry = self._file().get(phase, {})
        try:
            if entry["digest"] != self.digest:
                return Counter()
            return Counter({_asked(*words): int(times) for *words, times in entry["requests"]})
        except (KeyError, TypeError, ValueError):
            return Counter()

    def save(self, phase: str, requests: Counter[Asked]) -> None:
        """Keep what a phase has asked for the next run."""
        if list(requests.items()) == list(self.load(phase).items()):  # their order stands in digests
            return
        entry = {"digest": self.digest, "requests": [[*asked, times] for asked, times in requests.items()]}
        self._write({**self._file(), phase: entry})

    def forget(self, who: str) -> None:
        """Sign in ahead as `who` no more, in no phase."""
        phases = self._file()
        for entry in phases.values():
            entry["requests"] = [words for words in entry["requests"] if words[3] != who]
        self._write(phases)

    def _write(self, phases: dict[str, Any]) -> None:
        document = {"version": _VERSION, "phases": phases}
        write_whole(self.path, json.dumps(document, ensure_ascii=False, indent=0))

    def _file(self) -> dict[str, Any]:
        try:
            document = json.loads(self.path.read_text(encoding="utf-8"))
            return dict(document["phases"]) if document["version"] == _VERSION else {}
        except (OSError, KeyError, TypeError, ValueError):
            return {}


def _asked(method: Any, url: Any, seconds: Any, who: Any, around: Any, place: Any) -> Asked:
    body = None if around is None else (str(around[0]), str(around[1]))
    return Asked(str(method), str(url), float(seconds), str(who), body, str(place))
