"""A plan kept in a file, and the proof that it still holds: the same inventory, the same code, the same findings on the hosts.

The file is for people to review and for `difyfleet apply FILE` to carry out. It holds no secret: texts are masked, values stand
only as keyed digests. Nothing in it is executed; the run is planned again and compared, so an edited file can only be refused.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from difyfleet import __version__
from difyfleet.errors import FleetError
from difyfleet.fleet import plan_digest
from difyfleet.fleet.declared import controller_key
from difyfleet.fleet.results import SKIPPED, WOULD_CHANGE, HostResult, OperationResult, RunResult, now
from difyfleet.paths import write_whole
from difyfleet.spec.models import HostSpec

FORMAT = 1
_FIRST_KEY = "difyfleet_plan"


@dataclass(frozen=True)
class SavedPlan:
    """A plan as it was saved.

    Args:
        made_at: UTC, ISO 8601.
        inventory: absolute path of the inventory file.
        limit, roles, switches: how the plan was asked for; the apply runs with the same.
        code: digest of the deploy code.
        version: of difyfleet.
        key: which controller's key the digests of `specs` are made with.
        specs: host -> `section.key` -> digest.
        operations: host -> its operations in order, as they stand in the file.
    """

    made_at: str
    inventory: Path
    limit: str | None
    roles: tuple[str, ...]
    switches: Mapping[str, Any]
    code: str
    version: str
    key: str
    specs: Mapping[str, Mapping[str, str]]
    operations: Mapping[str, Sequence[Mapping[str, Any]]]

    def again(self, out: str = "FILE") -> str:
        """The command that makes this plan anew."""
        words = ["difyfleet plan", str(self.inventory)]
        words += [f"--limit {self.limit}"] if self.limit else []
        words += [f"--role {role}" for role in self.roles]
        words += ["--reprobe-mirrors"] if self.switches.get("reprobe_mirrors") else []
        return " ".join([*words, "--out", out])


def is_plan(path: Path) -> bool:
    """Whether a file is a saved plan (and not an inventory), judged by its beginning."""
    try:
        with path.open("rb") as file:
            return re.match(rb'\s*\{\s*"' + _FIRST_KEY.encode() + rb'"', file.read(200)) is not None
    except OSError:
        return False


def save(
    path: Path,
    result: RunResult,
    hosts: Iterable[HostSpec],
    *,
    inventory: Path,
    limit: str | None,
    roles: Sequence[str],
    switches: Mapping[str, Any],
) -> None:
    """Write a plan (mode 0600, whole or not at all).

    Raises:
        FleetError: a host could not be planned, or the file cannot be written.
    """
    broken = [host.name for host in result.hosts if host.error]
    if broken:
        raise FleetError(
            f"no plan saved: {', '.join(broken)} could not be planned",
            hint="put that right, or leave the host out with --limit",
        )
    key = controller_key()
    document = {
        _FIRST_KEY: FORMAT,
        "made_at": now(),
        "version": __version__,
        "code": plan_digest.of_code(),
        "inventory": str(inventory.resolve()),
        "limit": limit,
        "roles": list(roles),
        "switches": dict(switches),
        "key": plan_digest.key_id(key),
        "specs": {spec.name: plan_digest.of_spec(spec, key) for spec in hosts},
        "hosts": {
            host.name: [as_planned(operation) for operation in host.operations] for host in result.hosts
        },
    }
    try:
        write_whole(path, json.dumps(document, ensure_ascii=False, indent=1) + "\n")
    except OSError as error:
        raise FleetError(f"cannot write the plan: {error.strerror}", where=str(path)) from error


def as_planned(operation: OperationResult) -> dict[str, Any]:
    """One operation in a plan file: what it found, what it would do, and its first command as a digest."""
    command = operation.first_command
    return {
        "role": operation.role,
        "name": operation.name,
        "state": operation.state,
        "why": list(operation.why),
        "diff": operation.diff,
        "known_after_apply": operation.known_after_apply,
        "command": hashlib.sha256(command.encode()).hexdigest()[:16] if command else None,
    }


def load(path: Path) -> SavedPlan:
    """Read a plan.

    Raises:
        FleetError: it is damaged, or of a format that this difyfleet does not know.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        if document[_FIRST_KEY] != FORMAT:
            raise FleetError(
                f"a plan of format {document[_FIRST_KEY]}; this difyfleet ({__version__}) knows {FORMAT}",
                where=str(path),
                hint="apply it with the difyfleet that made it, or plan again",
            )
        return SavedPlan(
            made_at=document["made_at"],
            inventory=Path(document["inventory"]),
            limit=document["limit"],
            roles=tuple(document["roles"]),
            switches=dict(document["switches"]),
            code=document["code"],
            version=document["version"],
            key=document["key"],
            specs=document["specs"],
            operations=document["hosts"],
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise FleetError(
            f"not a whole plan file ({type(error).__name__}: {error})", where=str(path), hint="plan again"
        ) from error


def refuse_other_inputs(plan: SavedPlan, hosts: Iterable[HostSpec]) -> None:
    """Nothing that the plan was made from has changed on this side. Contacts nobody.

    Args:
        hosts: what the inventory gives now for the plan's limit.

    Raises:
        FleetError: the code, the inventory, a file or a secret is another one; says which.
    """
    key = controller_key()
    if plan_digest.key_id(key) != plan.key:
        raise FleetError(
            "the plan was made with another state folder, so its inventory and secrets cannot be compared",
            where=str(plan.inventory),
            hint=f"bring that controller's state folder along (DIFYFLEET_STATE_DIR), or: {plan.again()}",
        )
    changed = []
    if plan_digest.of_code() != plan.code:
        changed.append(f"difyfleet: its code is not that of the plan ({plan.version}, now {__version__})")
    now = {spec.name: plan_digest.of_spec(spec, key) for spec in hosts}
    for name in {**plan.specs, **now}:
        changed += _spec_differences(name, plan.specs.get(name), now.get(name))
    if changed:
        raise FleetError(
            f"not applied, nothing was contacted: changed since the plan was made ({plan.made_at})\n"
            + "\n".join(f"    {line}" for line in changed),
            where=str(plan.inventory),
            hint=plan.again(),
        )


def _spec_differences(
    name: str, planned: Mapping[str, str] | None, now: Mapping[str, str] | None
) -> list[str]:
    if planned is None:
        return [f"{name}: not in the plan"]
    if now is None:
        return [f"{name}: in the plan, no longer in the inventory"]
    return [
        f"{name}: {key} is another one"
        for key in {**planned, **now}
        if planned.get(key, None) != now.get(key, None)
    ]


def agrees(plan: SavedPlan, result: RunResult) -> bool:
    """Whether a fresh plan is the saved one. Where it is not, the hosts concerned get the differences as their error."""
    same = True
    for host in result.hosts:
        found = differences(plan.operations.get(host.name, ()), host.operations)
        if found and not host.error:
            lines = "\n".join(f"    {line}" for line in found)
            host.error = f"not applied: changed since the plan was made ({plan.made_at})\n{lines}\n  next: {plan.again()}"
        same = same and not host.error
    if not same:
        for host in result.hosts:
            _skip(host)
    return same


def _skip(host: HostResult) -> None:
    for operation in host.operations:
        if operation.state == WOULD_CHANGE:
            operation.state = SKIPPED


def differences(planned: Iterable[Mapping[str, Any]], now: Iterable[OperationResult]) -> list[str]:
    """What differs between a host's planned operations and those of a fresh plan, one line each."""
    old = {(each["role"], each["name"]): each for each in planned}
    new = {(each.role, each.name): as_planned(each) for each in now}
    found = []
    for role, name in {**old, **new}:
        before, after = old.get((role, name)), new.get((role, name))
        if before != after:
            found.append(f"{role} | {name}: planned {_words(before)}; now {_words(after, before)}")
    return found


def _words(operation: Mapping[str, Any] | None, other: Mapping[str, Any] | None = None) -> str:
    if operation is None:
        return "nothing, it was not part of the run"
    words = ", ".join(operation["why"]) or ("a change" if operation["state"] == WOULD_CHANGE else "no change")
    if other is not None and words == _words(other):
        return f"{words}, but with another {'diff' if operation['diff'] != other['diff'] else 'command'}"
    return words
