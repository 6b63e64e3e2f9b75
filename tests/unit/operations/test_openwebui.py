"""operations.openwebui: who claims the admin account when, and which settings are mended."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest

from difyfleet.clients.openwebui import Account, OpenWebuiError, PublicConfig, SignupClosed, WrongPassword
from difyfleet.errors import HostError
from difyfleet.facts.files import FileState, PathState
from difyfleet.facts.secrets import HostSecrets, KeptSecret
from difyfleet.operations import openwebui
from difyfleet.operations.compose import Project
from difyfleet.operations.openwebui import ADMIN_PASSWORD, Admin, Settings
from difyfleet.secrets import Secret
from tests.unit.fakehost import fact, fake_host, run_steps

FILE = FileState("file", "0600", "root", "root")
MARKER = fact(PathState, path="/opt/open-webui/.difyfleet-admin")
DATABASE = fact(PathState, path="/opt/open-webui/webui.db")
SECRETS = fact(HostSecrets)
OLD, NEW = Secret("old-password-1"), Secret("new-password-2")
KEPT = {SECRETS: {ADMIN_PASSWORD: KeptSecret(OLD, "0600", "root:root")}}
CLAIMED = {MARKER: FILE, DATABASE: FILE} | KEPT
PROJECT = Project("openwebui", "/opt/difyfleet/openwebui", "services: {}\n")


class Client:
    """An Open WebUI that answers as told and keeps what was asked."""

    accounts: ClassVar[dict[str, Secret]] = {}
    role = "admin"
    public = PublicConfig("0.4.7", empty=True, signup=True)
    urls: ClassVar[list[str] | None] = ["http://ollama:11434"]
    config: ClassVar[dict[str, Any]] = {}
    asked: ClassVar[list[str]] = []

    def __init__(self, *_: Any) -> None:
        """Takes what the real one takes."""

    def wait(self, seconds: float) -> None:
        """Always ready."""

    def public_config(self) -> PublicConfig:
        return type(self).public

    def sign_in(self, email: str, password: Secret) -> Account:
        if self.accounts.get(email) != password:
            raise WrongPassword("refused", 400)
        return Account(email, "admin", self.role)

    def sign_up(self, email: str, name: str, password: Secret) -> Account:
        if not self.public.signup:
            raise SignupClosed("closed", 403)
        self.asked.append(f"sign up {email}")
        return Account(email, name, self.role)

    def change_password(self, old: Secret, new: Secret) -> None:
        self.asked.append("change password")

    def ollama_urls(self) -> list[str] | None:
        return self.urls

    def set_ollama_urls(self, urls: list[str]) -> None:
        self.asked.append(f"ollama {urls}")

    def admin_config(self) -> dict[str, Any]:
        return {
            "ENABLE_SIGNUP": False,
            "DEFAULT_USER_ROLE": "pending",
            "ENABLE_COMMUNITY_SHARING": False,
        } | self.config

    def set_admin_config(self, **changes: Any) -> None:
        self.asked.append(str(changes))

    def openai_enabled(self) -> bool:
        return False


@pytest.fixture
def webui(monkeypatch: pytest.MonkeyPatch) -> type[Client]:
    made = type("Made", (Client,), {"asked": [], "accounts": {}})
    monkeypatch.setattr(openwebui, "OpenWebuiClient", made)
    monkeypatch.setattr(openwebui, "session", lambda host: None)
    return made


ADMIN = Admin("a@example.com", "admin")
WANTED = Settings("http://ollama:11434", signup=False, default_role="pending", offline=True)


def test_claimed_page_is_not_made_private_again() -> None:
    with fake_host(CLAIMED):
        assert run_steps(openwebui.start_private, PROJECT, "/opt/open-webui") == ([], [])


@pytest.mark.parametrize("missing", [MARKER, DATABASE], ids=["marker", "database"])
def test_unclaimed_page_starts_on_loopback_before_anything_else(missing: Any) -> None:
    with fake_host(CLAIMED | {missing: None}):
        changes, commands = run_steps(openwebui.start_private, PROJECT, "/opt/open-webui")
    assert "127.0.0.1 only" in changes[0].why
    assert commands[0].startswith("umask 077; base64 -d > /opt/difyfleet/openwebui/compose.yml.difyfleet-new")
    assert "config --quiet" in commands[0]
    assert commands[1].startswith("FunctionCommand(begin")


def test_claim_writes_its_marker_last() -> None:
    with fake_host({MARKER: None, DATABASE: None} | KEPT):
        changes, commands = run_steps(openwebui.claim, ADMIN, "/opt/open-webui", "http://p", "http://q")
    assert changes[0].why == "admin account a@example.com: not claimed"
    assert commands[0].startswith("FunctionCommand(claim_account")
    assert "/opt/open-webui/.difyfleet-admin" in commands[-1]


def test_claimed_account_with_the_same_password_is_left_alone() -> None:
    with fake_host(CLAIMED):
        given = Admin("a@example.com", "admin", OLD)
        assert run_steps(openwebui.claim, given, "/opt/open-webui", "http://p", "http://q") == ([], [])


def test_another_password_in_the_inventory_is_given_to_the_account() -> None:
    with fake_host(CLAIMED):
        given = Admin("a@example.com", "admin", NEW)
        changes, commands = run_steps(openwebui.claim, given, "/opt/open-webui", "http://p", "http://q")
    assert [change.why for change in changes] == [
        "admin account a@example.com: the inventory gives another password"
    ]
    assert "http://q" in commands[0]
    assert OLD.reveal() not in str(commands)
    assert NEW.reveal() not in str(commands)


def test_sign_up_on_an_empty_page(webui: type[Client]) -> None:
    with fake_host(KEPT) as host:
        openwebui.claim_account(host, ADMIN, "http://p")
    assert webui.asked == ["sign up a@example.com"]


def test_account_of_an_interrupted_run_is_ours(webui: type[Client]) -> None:
    webui.accounts = {"a@example.com": OLD}
    with fake_host(KEPT) as host:
        openwebui.claim_account(host, ADMIN, "http://p")
    assert webui.asked == []


@pytest.mark.parametrize("signup", [True, False])
def test_somebody_elses_admin_is_an_error_with_a_way_out(webui: type[Client], signup: bool) -> None:
    webui.public = PublicConfig("0.4.7", empty=False, signup=signup)
    webui.role = "pending"
    with fake_host(KEPT) as host, pytest.raises(HostError) as caught:
        openwebui.claim_account(host, ADMIN, "http://p")
    assert "admin" in str(caught.value)
    assert "openwebui.admin" in str(caught.value.hint)


def test_generated_password_gone(webui: type[Client]) -> None:
    with fake_host({SECRETS: {}}) as host, pytest.raises(HostError, match=ADMIN_PASSWORD):
        openwebui.claim_account(host, ADMIN, "http://p")


def test_change_password_finds_out_that_it_was_changed_already(webui: type[Client]) -> None:
    webui.accounts = {"a@example.com": NEW}
    with fake_host(KEPT) as host:
        openwebui.change_password(host, Admin("a@example.com", "admin", NEW), OLD, "http://q")
    assert webui.asked == []


def test_change_password(webui: type[Client]) -> None:
    webui.accounts = {"a@example.com": OLD}
    with fake_host(KEPT) as host:
        openwebui.change_password(host, Admin("a@example.com", "admin", NEW), OLD, "http://q")
    assert webui.asked == ["change password"]


def test_lost_password_says_so(webui: type[Client]) -> None:
    webui.accounts = {"a@example.com": Secret("somebody-changed-it")}
    with fake_host(CLAIMED), pytest.raises(HostError, match="does not open with the password known here"):
        run_steps(openwebui.settings, WANTED, ADMIN, "/opt/open-webui", "http://q")


def test_settings_as_declared(webui: type[Client]) -> None:
    webui.accounts = {"a@example.com": OLD}
    with fake_host(CLAIMED):
        assert run_steps(openwebui.settings, WANTED, ADMIN, "/opt/open-webui", "http://q") == ([], [])


@pytest.mark.parametrize(
    ("drift", "note", "mended"),
    [
        (
            {"urls": ["http://x:1"]},
            "Ollama address http://x:1, wanted http://ollama:11434",
            "ollama ['http://ollama:11434']",
        ),
        (
            {"urls": None},
            "Ollama address switched off, wanted http://ollama:11434",
            "ollama ['http://ollama:11434']",
        ),
        ({"config": {"ENABLE_SIGNUP": True}}, "ENABLE_SIGNUP True, wanted False", "{'ENABLE_SIGNUP': False}"),
        (
            {"config": {"DEFAULT_USER_ROLE": "admin"}},
            "DEFAULT_USER_ROLE admin, wanted pending",
            "{'DEFAULT_USER_ROLE': 'pending'}",
        ),
    ],
)
def test_frozen_settings_are_mended_through_the_api(
    webui: type[Client], drift: dict[str, Any], note: str, mended: str
) -> None:
    webui.accounts = {"a@example.com": OLD}
    for name, value in drift.items():
        setattr(webui, name, value)
    with fake_host(CLAIMED):
        changes, commands = run_steps(openwebui.settings, WANTED, ADMIN, "/opt/open-webui", "http://q")
    assert [change.why for change in changes] == [note]
    assert len(commands) == 1
    for mend in WANTED.differences(webui()).values():  # type: ignore[arg-type]
        mend()
    assert webui.asked == [mended]


def test_page_not_claimed_yet_has_no_settings_to_read() -> None:
    with fake_host({MARKER: None, DATABASE: None}):
        assert run_steps(openwebui.settings, WANTED, ADMIN, "/opt/open-webui", "http://q") == ([], [])


def test_server_error_is_named(webui: type[Client], monkeypatch: pytest.MonkeyPatch) -> None:
    webui.accounts = {"a@example.com": OLD}

    def broken(self: Client) -> list[str]:
        raise OpenWebuiError("HTTP 500: boom", 500)

    monkeypatch.setattr(webui, "ollama_urls", broken)
    with fake_host(CLAIMED), pytest.raises(HostError, match="settings cannot be read: HTTP 500: boom"):
        run_steps(openwebui.settings, WANTED, ADMIN, "/opt/open-webui", "http://q")
