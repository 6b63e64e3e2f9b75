"""Dify's first account: made once, left alone afterwards."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from pyinfra import host, state

from difyfleet.clients.dify import Dify, DifyError
from difyfleet.clients.dify import errors as refused
from difyfleet.content import console
from difyfleet.content.console import ADMIN_PASSWORD
from difyfleet.content.rescue import strong
from difyfleet.errors import HostError
from difyfleet.facts.dify_state import REFUSED_PATH
from difyfleet.facts.secrets import SECRETS_DIR, HostSecrets
from difyfleet.operations.base import Change, call, declaring, operation, shell
from difyfleet.operations.dify_settings import SECRETS
from difyfleet.operations.files import put_command
from difyfleet.secrets import Secret
from difyfleet.spec.models import HostSpec


def known_after_apply(what: str) -> Generator[Any, None, None]:
    """What a plan says about the inside of a Dify that is not there yet."""
    yield Change(f"{what}: known after apply (Dify has no admin yet, or is not up)")
    yield shell("true")


@operation
@declaring(lambda spec: spec.admin.password)
def password(spec: HostSpec) -> Generator[Any, None, None]:
    """The admin's generated password, kept on the host; nothing where the inventory gives one.

    Raises:
        HostError: there is an admin already, made by somebody else or by a run whose password is lost.
    """
    if console.admin_password(host, spec) is not None:
        kept = host.get_fact(HostSecrets).get(ADMIN_PASSWORD)
        if kept is not None and (kept.mode, kept.owner) != ("0600", "root:root"):
            yield Change(
                f"{SECRETS_DIR}/{ADMIN_PASSWORD}: mode {kept.mode} {kept.owner}, wanted 0600 root:root"
            )
            yield _write(kept.value)
        return
    if console.set_up(host, spec, wait=console.START if state.is_executing else 0.0):
        raise HostError(
            "Dify has an admin already, and its password is known neither to the inventory nor to the host",
            where=f"Dify admin {spec.admin.email}",
            hint="give it as admin.password, or set a new one: difyfleet dify reset-password INVENTORY --limit HOST",
        )
    yield Change(f"{SECRETS_DIR}/{ADMIN_PASSWORD}: absent, generated")
    yield _write(strong())


def _write(value: Secret) -> Any:
    path = f"{SECRETS_DIR}/{ADMIN_PASSWORD}"
    return put_command(path, value.reveal().encode(), mode="0600", owner="root", group="root")


@operation
@declaring(lambda spec: spec.admin)
def admin(spec: HostSpec) -> Generator[Any, None, None]:
    """The account exists and opens with the password known here. An account that exists is never changed.

    Raises:
        HostError: the password does not open it (one try), or INIT_PASSWORD is another one.
    """
    ready = console.set_up(host, spec, wait=console.START if state.is_executing else 0.0)
    if not ready:
        if ready is None and state.is_executing:
            console.reader(host, spec, executing=True)  # raises what is wrong
        yield Change(f"Dify admin {spec.admin.email}: absent")
        yield call(create, spec)
        return
    if console.reader(host, spec, executing=state.is_executing) is None:
        yield from known_after_apply(f"Dify admin {spec.admin.email}")
        return
    if console.refused_before(host):
        yield Change(f"{REFUSED_PATH}: the login works again")
        yield call(console.forget_refusal)


def create(on: Any, spec: HostSpec) -> None:
    """Make the account. Safe to repeat: a server that has an admin refuses, and that is taken as done."""
    dify = console.client(on, spec)
    value = console.admin_password(on, spec)
    assert value is not None  # the operation before has seen to that
    where = console.base_url(spec.dify)
    try:
        if dify.setup.needs_init():
            _confirm_init(on, dify)
        dify.setup.create_admin(spec.admin.email, spec.admin.name, value)
    except DifyError as error:
        raise HostError(f"the admin was not created: {error.what}", where=where, hint=error.hint) from error
    console.signed_in(on, spec)


def _confirm_init(on: Any, dify: Dify) -> None:
    name = SECRETS["init_password"]
    kept = on.get_fact(HostSecrets).get(name)
    if kept is None:
        raise HostError(
            "Dify asks for its INIT_PASSWORD and the host keeps none",
            where=f"{SECRETS_DIR}/{name}",
            hint="difyfleet apply --role dify",
        )
    try:
        dify.setup.confirm_init(kept.value)
    except refused.InitPasswordWrong as error:
        raise HostError(
            f"Dify has another INIT_PASSWORD than {SECRETS_DIR}/{name} ({error.what})",
            where="INIT_PASSWORD",
            hint="difyfleet apply --role dify recreates the containers with the kept one",
        ) from error
