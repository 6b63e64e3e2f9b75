"""How deploy.py runs roles: one table of contents, two faces (converge and checks)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from pyinfra import host
from pyinfra.api.deploy import deploy

from difyfleet.checks import Check
from difyfleet.spec.models import HostSpec

CONVERGE, CHECKS = "converge", "checks"


class Role(Protocol):
    """A module under roles/. `NAME` is the role's name on the command line and in reports."""

    NAME: str

    def wanted(self, spec: HostSpec) -> bool:
        """Whether this host has the role."""

    def converge(self, spec: HostSpec) -> None:
        """Call the operations that make it so."""

    def checks(self, spec: HostSpec) -> Iterator[Check]:
        """Yield the assertions that it is so. Reads only."""


@dataclass(frozen=True)
class Part:
    """A later part of a role, for what is waited for only when other roles have begun what takes as long. Its checks are the role's.

    Attributes:
        NAME, wanted: the role's.
        converge: what this part makes so.
    """

    NAME: str
    wanted: Callable[[HostSpec], bool]
    converge: Callable[[HostSpec], None]

    def checks(self, spec: HostSpec) -> Iterator[Check]:
        """None of its own."""
        return iter(())


def run(*roles: Any) -> None:
    """Run the roles in order on the current host, showing the face the run asks for.

    The run's choice stands in host data: `face` (converge by default, so that plain pyinfra works), `roles_only`
    (names from --role; preflight always runs), and, for the face `checks`, the list `found_checks` that collects
    (role, Check) pairs.
    """
    spec: HostSpec = host.data.spec
    face = host.data.get("face") or CONVERGE
    only = host.data.get("roles_only") or ()
    for role in roles:
        if not role.wanted(spec) or (only and role.NAME not in only and role.NAME != "preflight"):
            continue
        if face == CHECKS:
            _collect(role, spec, host.connector_data.setdefault("difyfleet.checks", []))
        else:
            converge: Any = deploy(role.NAME)(
                role.converge
            )  # typed by pyinfra as if it took its global arguments only
            converge(spec)


def _collect(role: Any, spec: HostSpec, found: list[tuple[str, Check]]) -> None:
    """Run one role's checks; an exception in them is itself a failed check, not the end of the others."""
    try:
        for check in role.checks(spec):
            found.append((role.NAME, check))
    except Exception as error:  # noqa: BLE001 - whatever a check meets, the operator gets the other checks too
        found.append(
            (
                role.NAME,
                Check(f"{role.NAME}: checks ran to the end", False, f"{type(error).__name__}: {error}"),
            )
        )
