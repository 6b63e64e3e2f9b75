"""Which HTTP reads a run makes of a host's services: remembered by the controller beside its reads (learned_reads.py).

A sign-in is kept as a recipe: its body without the secret, and where the secret is. Never a secret, a token or an answer.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from difyfleet.remote.phase_file import PhaseFile
from difyfleet.secrets import Secret

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
class LearnedRequests(PhaseFile):
    """What the last run of the same deploy asked, by phase."""

    VERSION = 1

    def load(self, phase: str) -> Counter[Asked]:
        """The requests of a phase in their order, with how often each was made. A file that cannot be read has none."""
        try:
            return Counter({_asked(*words): int(times) for *words, times in self.entry(phase)["requests"]})
        except (KeyError, TypeError, ValueError):
            return Counter()

    def save(self, phase: str, requests: Counter[Asked]) -> None:
        """Keep what a phase has asked for the next run."""
        if list(requests.items()) == list(self.load(phase).items()):  # their order stands in digests
            return
        self.keep(phase, {"requests": [[*asked, times] for asked, times in requests.items()]})

    def forget(self, who: str) -> None:
        """Sign in ahead as `who` no more, in no phase."""
        phases = self.phases()
        for entry in phases.values():
            entry["requests"] = [words for words in entry["requests"] if words[3] != who]
        self.write(phases)


def _asked(method: Any, url: Any, seconds: Any, who: Any, around: Any, place: Any) -> Asked:
    body = None if around is None else (str(around[0]), str(around[1]))
    return Asked(str(method), str(url), float(seconds), str(who), body, str(place))
