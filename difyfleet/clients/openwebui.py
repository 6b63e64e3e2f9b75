"""Open WebUI's HTTP API (0.4.7 and later), typed. Knows nothing of pyinfra: give it a requests session and a base URL.

Endpoints and gates as in upstream's routers of the 0.4 line: sign-up needs ENABLE_SIGNUP even on an empty database, the first account
becomes admin whatever DEFAULT_USER_ROLE says, and settings written through the API win over the environment from then on.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from http.cookiejar import DefaultCookiePolicy
from typing import Any

import requests

from difyfleet.secrets import Secret

SHORT = 30.0  # seconds without a byte
SIGN_IN, TOKEN = "/api/v1/auths/signin", ("token",)  # where, and keys to the token in the answer


class OpenWebuiError(Exception):
    """Open WebUI refused or failed. `status` is the HTTP status, 0 where there was no answer."""

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.status = status


class WrongPassword(OpenWebuiError):
    """No account with this e-mail and password (HTTP 400 at sign-in; the API does not tell which of them is wrong)."""


class SignupClosed(OpenWebuiError):
    """Sign-up is switched off (HTTP 403)."""


class Unreachable(OpenWebuiError):
    """Nothing answers at the address."""


@dataclass(frozen=True)
class PublicConfig:
    """GET /api/config without a login."""

    version: str
    empty: bool  # no account exists yet (the flag is absent otherwise)
    signup: bool | None  # whether visitors may sign up; None = not told


@dataclass(frozen=True)
class Account:
    """Who is signed in."""

    email: str
    name: str
    role: str  # admin, user or pending


class OpenWebuiClient:
    """One Open WebUI.

    Args:
        session: how requests travel; difyfleet.remote.http.session(host) sends them through SSH.
        base_url: `http://127.0.0.1:8080`, without a path.

    Every method raises:
        Unreachable: no connection, or silence longer than the time-out.
        OpenWebuiError: any other refusal, with the server's own words.
    """

    def __init__(self, session: requests.Session, base_url: str = "http://127.0.0.1:8080") -> None:
        # The host's session is shared: this login's cookie must neither reach other clients nor be replaced by theirs.
        self._session = requests.Session()
        self._session.trust_env = session.trust_env
        self._session.adapters = session.adapters
        self._session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        self._base = base_url.rstrip("/")
        self._token: Secret | None = None

    def healthy(self) -> bool:
        return self._ask("GET", "/health").get("status") is True

    def public_config(self) -> PublicConfig:
        found = self._ask("GET", "/api/config")
        signup = (found.get("features") or {}).get("enable_signup")
        return PublicConfig(
            str(found.get("version", "")),
            found.get("onboarding") is True,
            None if signup is None else bool(signup),
        )

    def sign_in(self, email: str, password: Secret) -> Account:
        """Sign in; later calls carry the token.

        Raises:
            WrongPassword: e-mail or password is wrong.
        """
        try:
            return self._signed_in(
                self._ask("POST", SIGN_IN, {"email": email, "password": password.reveal()})
            )
        except OpenWebuiError as error:
            if error.status in (400, 401):
                raise WrongPassword(f"sign-in as {email} was refused: {error}", error.status) from None
            raise

    def sign_up(self, email: str, name: str, password: Secret) -> Account:
        """Create an account and be signed in as it. On an empty database it becomes admin.

        Raises:
            SignupClosed: sign-up is off.
        """
        body = {"email": email, "name": name, "password": password.reveal(), "profile_image_url": ""}
        try:
            return self._signed_in(self._ask("POST", "/api/v1/auths/signup", body))
        except OpenWebuiError as error:
            if error.status == 403:
                raise SignupClosed(f"sign-up is closed: {error}", 403) from None
            raise

    def change_password(self, old: Secret, new: Secret) -> None:
        """Give the signed-in account another password."""
        body = {"password": old.reveal(), "new_password": new.reveal()}
        if self._any("POST", "/api/v1/auths/update/password", body) is not True:
            raise OpenWebuiError("the password was not changed")

    def admin_config(self) -> dict[str, Any]:
        """ENABLE_SIGNUP, DEFAULT_USER_ROLE and their neighbours. Admins only."""
        return self._ask("GET", "/api/v1/auths/admin/config")

    def set_admin_config(self, **changes: Any) -> None:
        """Change some of these settings; the API wants all of them at once, so the others are sent as they are."""
        self._ask("POST", "/api/v1/auths/admin/config", self.admin_config() | changes)

    def ollama_urls(self) -> list[str] | None:
        """Addresses of the Ollama servers it asks; None = the connection to Ollama is switched off."""
        config = self._ask("GET", "/ollama/config")
        if config.get("ENABLE_OLLAMA_API") is False:
            return None
        urls = (
            config["OLLAMA_BASE_URLS"]
            if "OLLAMA_BASE_URLS" in config
            else self._ask("GET", "/ollama/urls").get("OLLAMA_BASE_URLS")
        )
        return [str(url) for url in urls or ()]

    def set_ollama_urls(self, urls: list[str]) -> None:
        """Ask these Ollama servers and no others. Settings of connections that stay are kept."""
        config = self._ask("GET", "/ollama/config")
        if "OLLAMA_BASE_URLS" not in config:  # before 0.4
            self._ask("POST", "/ollama/config/update", {"enable_ollama_api": True})
            self._ask("POST", "/ollama/urls/update", {"urls": urls})
            return
        known: dict[str, Any] = config.get("OLLAMA_API_CONFIGS") or {}
        kept = {
            key: value for key, value in known.items() if key in urls or key in map(str, range(len(urls)))
        }
        body = {"ENABLE_OLLAMA_API": True, "OLLAMA_BASE_URLS": urls, "OLLAMA_API_CONFIGS": kept}
        self._ask("POST", "/ollama/config/update", body)

    def openai_enabled(self) -> bool:
        """Whether it asks an OpenAI-style API for models (which, without a way out, costs a time-out at each look)."""
        return bool(self._ask("GET", "/openai/config").get("ENABLE_OPENAI_API"))

    def disable_openai(self) -> None:
        config = self._ask("GET", "/openai/config")
        self._ask("POST", "/openai/config/update", config | {"ENABLE_OPENAI_API": False})

    def models(self) -> list[str]:
        """Names of the models a chat can use, as the page would list them: proves the way to Ollama."""
        return [str(entry["id"]) for entry in self._ask("GET", "/api/models").get("data") or ()]

    def wait(self, seconds: float) -> None:
        """Until /health says true. The first start migrates its database, which takes minutes on a slow host."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                if self.healthy():
                    return
            except OpenWebuiError:
                if time.monotonic() > deadline:
                    raise
            if time.monotonic() > deadline:
                raise Unreachable(f"/health does not say true after {seconds:g} s")
            time.sleep(1.0)

    def _signed_in(self, reply: dict[str, Any]) -> Account:
        self._token = Secret(str(reply["token"]))
        return Account(str(reply["email"]), str(reply["name"]), str(reply["role"]))

    def _ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        reply = self._any(method, path, body)
        if not isinstance(reply, dict):
            raise OpenWebuiError(f"{path} answered {type(reply).__name__}, an object was expected")
        return reply

    def _any(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        headers = {"Authorization": f"Bearer {self._token.reveal()}"} if self._token else {}
        try:
            response = self._session.request(
                method, f"{self._base}{path}", json=body, headers=headers, timeout=SHORT
            )
        except requests.Timeout as error:
            raise Unreachable(f"Open WebUI did not answer {path} within {SHORT:g} s") from error
        except (requests.RequestException, OSError) as error:
            raise Unreachable(f"nothing answers at {self._base}: {error}") from error
        if response.status_code >= 400:
            raise OpenWebuiError(_detail(response), response.status_code)
        try:
            return response.json()
        except ValueError as error:
            raise OpenWebuiError(
                f"{path} answered something that is not JSON: {response.text[:120]!r}", response.status_code
            ) from error


def _detail(response: requests.Response) -> str:
    try:
        return str(response.json()["detail"])
    except (ValueError, KeyError, TypeError):
        return f"HTTP {response.status_code}: {response.text[:200]}"
