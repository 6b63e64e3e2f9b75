"""Open WebUI's admin claimed before others can reach the page, and the settings that freeze in its database.

Whoever signs up first on an empty database becomes admin. So the first start is published on 127.0.0.1 only, the admin signs up
through SSH, and only then is the port opened. A marker beside the database says that this was done; it lives and dies with the data.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any

from pyinfra import host, state

from difyfleet.clients.openwebui import (
    OpenWebuiClient,
    OpenWebuiError,
    SignupClosed,
    Unreachable,
    WrongPassword,
)
from difyfleet.errors import HostError
from difyfleet.facts.compose import COMPOSE
from difyfleet.facts.files import PathState
from difyfleet.operations import compose, files
from difyfleet.operations.base import Change, call, operation
from difyfleet.operations.secrets import kept
from difyfleet.remote.http import reading, session
from difyfleet.secrets import Secret

SECRET_KEY = "openwebui_secret_key"  # noqa: S105 - a name
ADMIN_PASSWORD = "openwebui_admin_password"  # noqa: S105 - a name
FIRST_START = 900.0  # seconds: migrations and, online, model downloads
_put = files.put.steps  # type: ignore[attr-defined]  # the file operation's own notes and commands, as part of another operation


@dataclass(frozen=True)
class Admin:
    """The admin account. `given` is the inventory's password; None = the one generated and kept on the host."""

    email: str
    name: str
    given: Secret | None = None

    def password(self) -> Secret:
        """The password that should open the account.

        Raises:
            HostError: it was generated, and the host has lost it.
        """
        value = self.given or kept(ADMIN_PASSWORD)
        if value is None:
            raise HostError(
                f"the host keeps no {ADMIN_PASSWORD}",
                hint="run apply with the whole role: difyfleet apply --role openwebui",
            )
        return value


@dataclass(frozen=True)
class Settings:
    """Settings that the database keeps and that win over the environment once they were written there."""

    ollama_url: str
    signup: bool
    default_role: str
    offline: bool

    def differences(self, client: OpenWebuiClient) -> dict[str, Callable[[], None]]:
        """What differs, in words, each with the call that mends it."""
        found: dict[str, Callable[[], None]] = {}
        urls = client.ollama_urls()
        if urls != [self.ollama_url]:
            seen = "switched off" if urls is None else ", ".join(urls) or "none"
            found[f"Ollama address {seen}, wanted {self.ollama_url}"] = lambda: client.set_ollama_urls(
                [self.ollama_url]
            )
        config = client.admin_config()
        wanted: dict[str, Any] = {"ENABLE_SIGNUP": self.signup, "DEFAULT_USER_ROLE": self.default_role}
        if self.offline:
            wanted["ENABLE_COMMUNITY_SHARING"] = False
        for key, value in wanted.items():
            if config.get(key) != value:
                found[f"{key} {config.get(key)}, wanted {value}"] = lambda key=key, value=value: (
                    client.set_admin_config(**{key: value})
                )  # type: ignore[misc]
        if self.offline and client.openai_enabled():
            found["OpenAI API enabled, wanted off (offline)"] = client.disable_openai
        return found


def marker(data_dir: str) -> str:
    """The file that says the admin account is ours."""
    return f"{data_dir}/.difyfleet-admin"


def claimed(data_dir: str) -> bool:
    """Whether this database's admin account was claimed by us."""
    return all(
        host.get_fact(PathState, path=path) is not None for path in (marker(data_dir), f"{data_dir}/webui.db")
    )


@operation
def start_private(project: compose.Project, data_dir: str) -> Generator[Any, None, None]:
    """Until its admin is claimed, Open WebUI runs where only the host itself can reach it.

    Args:
        project: the compose project as published on 127.0.0.1, with sign-up open.
        data_dir: folder of its database.
    """
    if claimed(data_dir):
        return
    yield Change("no admin account yet: started on 127.0.0.1 only, until it is claimed")
    check = f"{COMPOSE} -f %s config --quiet"
    path = f"{project.directory}/compose.yml"
    yield files.put_command(
        path, project.text.encode(), mode="0644", owner="root", group="root", validate=check
    )
    yield call(compose.begin, project, tuple(project.services))  # `claim` waits until it answers


@operation
def claim(admin: Admin, data_dir: str, private_url: str, public_url: str) -> Generator[Any, None, None]:
    """The admin account exists and opens with our password.

    Args:
        private_url: the page on the host before the claim.
        public_url: the page as the host reaches it afterwards.

    Raises:
        HostError: the account belongs to somebody else, or its password is lost.
    """
    if not claimed(data_dir):
        yield Change(f"admin account {admin.email}: not claimed")
        yield call(claim_account, admin, private_url)
        yield from _put(marker(data_dir), f"{admin.email}\n", mode="0600")
        return
    known = kept(ADMIN_PASSWORD)
    if admin.given is not None and known is not None and known != admin.given:
        yield Change(f"admin account {admin.email}: the inventory gives another password")
        yield call(change_password, admin, known, public_url)


def claim_account(on: Any, admin: Admin, base_url: str) -> None:
    """Sign up as the first account, or find that it is ours already (an earlier run was cut off after the sign-up)."""
    client = OpenWebuiClient(session(on), base_url)
    password = admin.password()
    try:
        client.wait(FIRST_START)
        public = client.public_config()
        try:
            account = client.sign_in(admin.email, password)
        except WrongPassword:
            if public.signup is False and not public.empty:
                raise _not_ours(admin) from None
            account = client.sign_up(admin.email, admin.name, password)
    except SignupClosed as error:
        raise _not_ours(admin) from error
    except OpenWebuiError as error:
        raise HostError(
            f"the admin account was not claimed: {error}",
            where=base_url,
            hint="docker logs --tail 100 open-webui",
        ) from error
    if account.role != "admin":
        raise HostError(
            f"{account.email} is only {account.role} in Open WebUI: another account was first and is the admin",
            where=base_url,
            hint="sign in as that admin, make this account an admin (Admin Panel, Users), and run apply again; "
            "or name that admin under openwebui.admin with its password",
        )


def _not_ours(admin: Admin) -> HostError:
    return HostError(
        f"Open WebUI already has an admin, and it does not open with {admin.email} and the password known here",
        where="open-webui",
        hint="give that account under openwebui.admin (email and password), or move openwebui.data_dir away to start afresh",
    )


def change_password(on: Any, admin: Admin, old: Secret, base_url: str) -> None:
    """Give the admin account the inventory's password, unless it has it already."""
    assert admin.given is not None
    client = OpenWebuiClient(session(on), base_url)
    try:
        client.wait(FIRST_START)
        try:
            client.sign_in(admin.email, admin.given)
        except WrongPassword:
            client.sign_in(admin.email, old)
            client.change_password(old, admin.given)
    except WrongPassword as error:
        raise lost_password(admin) from error
    except OpenWebuiError as error:
        raise HostError(
            f"the admin password was not changed: {error}",
            where=base_url,
            hint="docker logs --tail 100 open-webui",
        ) from error


def lost_password(admin: Admin) -> HostError:
    """The error for an admin account that no known password opens."""
    return HostError(
        f"the admin account {admin.email} of Open WebUI does not open with the password known here",
        where="open-webui",
        hint="was it changed in the page? then give the new one under openwebui.admin.password; forgotten: another admin can reset it "
        "(Admin Panel, Users), or see docs/troubleshooting.md, Open WebUI password",
    )


def signed_in(on: Any, admin: Admin, base_url: str, wait: float) -> OpenWebuiClient:
    """A client signed in as the admin, trying the inventory's password and then the kept one. Reads only.

    Raises:
        Unreachable: Open WebUI does not answer within `wait` seconds.
        HostError: no known password opens the account.
    """
    client = OpenWebuiClient(session(on), base_url)
    with reading():
        client.wait(wait)
        for password in (admin.given, kept(ADMIN_PASSWORD)):
            try:
                if password is not None:
                    client.sign_in(admin.email, password)
                    return client
            except WrongPassword:
                continue
    raise lost_password(admin)


@operation
def settings(wanted: Settings, admin: Admin, data_dir: str, base_url: str) -> Generator[Any, None, None]:
    """The settings kept in the database are as declared. The environment alone would not do: the database wins over it.

    A plan cannot read them while the container is down; then the container's own difference is what the plan shows.
    """
    if not claimed(data_dir):
        return
    try:
        client = signed_in(host, admin, base_url, wait=30.0 if state.is_executing else 1.0)
        with reading():
            found = wanted.differences(client)
    except Unreachable as error:
        if state.is_executing:
            raise HostError(
                f"settings cannot be read: {error}", where=base_url, hint="docker logs --tail 100 open-webui"
            ) from error
        return
    except OpenWebuiError as error:
        raise HostError(
            f"settings cannot be read: {error}", where=base_url, hint="docker logs --tail 100 open-webui"
        ) from error
    for why in found:
        yield Change(why)
    if found:
        yield call(_mend, list(found.values()), base_url)


def _mend(on: Any, calls: list[Callable[[], None]], base_url: str) -> None:
    try:
        for mend in calls:
            mend()
    except OpenWebuiError as error:
        raise HostError(
            f"a setting was not taken: {error}", where=base_url, hint="docker logs --tail 100 open-webui"
        ) from error
