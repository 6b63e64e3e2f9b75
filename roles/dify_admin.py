"""Dify's first account: made before anybody else can, left alone afterwards."""

from __future__ import annotations

from collections.abc import Iterator

from pyinfra import host

from difyfleet.checks import Check
from difyfleet.clients.dify import DifyError
from difyfleet.content import console
from difyfleet.errors import HostError
from difyfleet.facts.secrets import HostSecrets
from difyfleet.operations import dify_admin
from difyfleet.spec.models import HostSpec

NAME = "dify_admin"


def wanted(spec: HostSpec) -> bool:
    return spec.dify.enabled


def converge(spec: HostSpec) -> None:
    dify_admin.password(spec, name="admin password")
    dify_admin.admin(spec, name="admin account")


def checks(spec: HostSpec) -> Iterator[Check]:
    try:
        dify = console.reader(host, spec, executing=True)
        assert dify is not None  # says so or raises
        account, workspace = dify.session.account(), dify.session.workspace()
    except (HostError, DifyError) as error:
        yield Check("admin: logs in", False, error.what, error.hint)
        return
    yield Check("admin: logs in", True, f"{account.email}, workspace {workspace.name}")
    yield Check("admin: owns the workspace", workspace.role == "owner", workspace.role or "no role")
    kept = host.get_fact(HostSecrets).get(console.ADMIN_PASSWORD)
    if kept is not None:
        closed = (kept.mode, kept.owner) == ("0600", "root:root")
        yield Check(
            "admin password: readable by root only",
            closed,
            f"{kept.mode} {kept.owner}",
            "difyfleet apply --role dify_admin",
        )
