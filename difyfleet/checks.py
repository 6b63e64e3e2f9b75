"""Named assertions about a host. Roles yield them; verify, apply, rollout gates and drift read them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Check:
    """One assertion that was tried.

    Args:
        name: what is asserted, in the form `thing: statement` (`daemon.json: mirrors in effect`).
        ok: whether it held.
        evidence: what was seen, for people; never a secret.
        hint: what to do when it did not hold.
        warn_only: a failure is shown but does not fail verify (an old CPU, a mirror that died).
    """

    name: str
    ok: bool
    evidence: str = ""
    hint: str | None = None
    warn_only: bool = False
