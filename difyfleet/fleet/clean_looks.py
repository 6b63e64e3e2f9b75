"""The last full look that found a host clean, and a quick look that only asks whether all is still as it was then.

A look decides by what is declared and by the host's answers, and by nothing else. Where the declarations, the deploy code and the list
of reads are the same, and the host says that all its answers together have the same digest, a full look would find the same again:
nothing to change. What checks do beyond that (questions to models, requests from inside containers) is not repeated, so such a verdict
stands for `drift.full_every` hours at most.
"""

from __future__ import annotations

from difyfleet.fleet import patched  # isort: skip  # noqa: F401 - gevent must patch before anything opens a socket

import hmac
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta, timezone
from typing import Any

from difyfleet.fleet import plan_digest
from difyfleet.fleet.declared import controller_key
from difyfleet.fleet.results import UNCHANGED, HostResult, OperationResult, now
from difyfleet.paths import environment_dir, locked, write_whole
from difyfleet.remote.read_ahead import Evidence
from difyfleet.spec.models import Environment, HostSpec

_VERSION = 1


@dataclass(frozen=True)
class CleanLook:
    """One full look at one host that found nothing to change and no check that does not hold.

    Args:
        at: when (UTC, ISO 8601).
        declared: digest of the host's resolved inventory, contents of files and secrets included; keyed.
        evidence: what the plan was decided by.
        operations: (role, name) of each.
    """

    at: str
    declared: str
    evidence: Evidence
    operations: tuple[tuple[str, str], ...]

    def result(self, host: str) -> HostResult:
        """The look as the result of a host that is still so."""
        operations = [OperationResult(role, name, UNCHANGED) for role, name in self.operations]
        return HostResult(host, operations, as_of=self.at)


class CleanLooks:
    """The clean looks at an environment's hosts, one file in the controller's state folder (mode 0600).

    Args:
        roles: of the run; looks of other roles say nothing about it.
    """

    def __init__(self, environment: Environment, roles: Iterable[str] = ()) -> None:
        self._folder = environment_dir(environment.name, environment.path)
        self._path = self._folder / "clean.json"
        self._hosts = {spec.name for spec in environment.hosts}
        self._young = timedelta(hours=environment.drift.full_every)
        self._roles = " ".join(sorted(roles))
        self._key = controller_key()
        self._known = self._read()
        self._news: dict[str, CleanLook | None] = {}

    def of(self, spec: HostSpec) -> CleanLook | None:
        """The last look that found a host clean, if it is young enough and the same is declared now.

        Raises:
            SpecError: a secret's source gives nothing.
        """
        try:
            entry = self._known[spec.name][self._roles]
            look = CleanLook(
                str(entry["at"]),
                str(entry["declared"]),
                Evidence(*map(str, entry["evidence"])),
                tuple((str(role), str(name)) for role, name in entry["operations"]),
            )
            age = datetime.now(timezone.utc) - datetime.fromisoformat(look.at.replace("Z", "+00:00"))
        except (KeyError, TypeError, ValueError):
            return None
        fresh = timedelta(0) <= age < self._young
        return look if fresh and hmac.compare_digest(look.declared, self._declared(spec)) else None

    def remember(self, spec: HostSpec, operations: Sequence[OperationResult], evidence: Evidence) -> None:
        """A full look has found a host clean."""
        names = tuple((operation.role, operation.name) for operation in operations)
        self._news[spec.name] = CleanLook(now(), self._declared(spec), evidence, names)

    def forget(self, spec: HostSpec) -> None:
        """A full look has found something, or could not tell by what it was decided."""
        self._news[spec.name] = None

    def save(self) -> None:
        """Write what was found; what other runs have written meanwhile about other hosts and roles stays."""
        if not self._news:
            return
        with locked(self._folder):
            hosts = {name: looks for name, looks in self._read().items() if name in self._hosts}
            for name, look in self._news.items():
                looks = {roles: entry for roles, entry in hosts.get(name, {}).items() if roles != self._roles}
                hosts[name] = {**looks, **({self._roles: asdict(look)} if look else {})}
            write_whole(self._path, json.dumps({"version": _VERSION, "hosts": hosts}) + "\n")
        self._known = hosts
        self._news.clear()

    def _declared(self, spec: HostSpec) -> str:
        return plan_digest.of_whole_spec(spec, self._key)

    def _read(self) -> dict[str, Any]:
        """The file's hosts; a file that is gone or cannot be understood counts as nothing remembered."""
        try:
            document = json.loads(self._path.read_text(encoding="utf-8"))
            return dict(document["hosts"]) if document["version"] == _VERSION else {}
        except (OSError, KeyError, TypeError, ValueError):
            return {}
