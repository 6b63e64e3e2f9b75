"""Login, refresh and the account that is logged in."""

from __future__ import annotations

from dataclasses import dataclass

from difyfleet.clients.dify.errors import InvalidRequest, LoginRefused, NotLoggedIn, Refused
from difyfleet.clients.dify.fields import Fields
from difyfleet.clients.dify.transport import Transport
from difyfleet.secrets import Secret

_API = "/console/api"
SIGN_IN, TOKEN = f"{_API}/login", ("data", "access_token")  # where, and keys to the token in the answer


@dataclass(frozen=True)
class Tokens:
    """A login. The access token is good for 60 minutes, the refresh token once and for 30 days."""

    access: Secret
    refresh: Secret


@dataclass(frozen=True)
class Account:
    """Who is logged in."""

    id: str
    name: str
    email: str
    interface_language: str
    timezone: str


@dataclass(frozen=True)
class Workspace:
    """The tenant of the logged-in account."""

    id: str
    name: str
    role: str


class Login:
    """The session of one console client.

    Log in once per run: a login is one call, and every wrong one counts towards the lock of the e-mail (24 hours from the seventh on).
    """

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._refresh_token: Secret | None = None
        transport.renew = self._renew

    @property
    def logged_in(self) -> bool:
        """Whether this client has a token (which may have run out)."""
        return self._transport.token is not None

    def login(self, email: str, password: Secret) -> Tokens:
        """Log in; all later calls of this client use the token, and renew it when it runs out. Sent once, never again by itself.

        Raises:
            WrongPassword, AccountNotFound: and also a password of fewer than 8 characters or without letter or digit, which cannot be right.
            LockedOut: too many wrong tries before.
            NotSetUp, InitNotConfirmed: there is no admin yet.
        """
        self._transport.token = None
        try:
            answer = self._transport.ask(
                SIGN_IN, {"email": email, "password": password.reveal(), "remember_me": True}
            )
        except InvalidRequest as error:
            if error.field != "password":
                raise
            raise LoginRefused(error.what, where=error.where, code=error.code, status=error.status) from None
        return self._keep(answer)

    def resume(self, tokens: Tokens) -> None:
        """Go on with a login made before."""
        self._transport.token, self._refresh_token = tokens.access, tokens.refresh

    def refresh(self) -> Tokens:
        """A new pair for the refresh token, which is then used up.

        Raises:
            SessionExpired: it is not good any more.
        """
        if self._refresh_token is None:
            raise NotLoggedIn(
                "no refresh token: nobody has logged in with this client", where=f"POST {_API}/refresh-token"
            )
        spare = self._transport.sibling()
        return self._keep(spare.ask(f"{_API}/refresh-token", {"refresh_token": self._refresh_token.reveal()}))

    def logout(self) -> None:
        """Forget the tokens here and tell the server, whose access token stays good until it runs out."""
        self._transport.send("GET", f"{_API}/logout")
        self._transport.token = self._refresh_token = None

    def account(self) -> Account:
        """Who is logged in."""
        data = self._transport.get(f"{_API}/account/profile")
        return Account(
            id=data.text("id"),
            name=data.text("name"),
            email=data.text("email"),
            interface_language=data.text("interface_language", ""),
            timezone=data.text("timezone", ""),
        )

    def set_language(self, language: str) -> None:
        """The console's language for this account: `en-US`, `zh-Hans` ... A new admin has en-US."""
        self._transport.write("POST", f"{_API}/account/interface-language", {"interface_language": language})

    def set_timezone(self, timezone: str) -> None:
        """The account's time zone: `Asia/Shanghai` ... A new admin has America/New_York."""
        self._transport.write("POST", f"{_API}/account/timezone", {"timezone": timezone})

    def workspace(self) -> Workspace:
        """The workspace that the account works in."""
        data = self._transport.get(f"{_API}/workspaces/current")
        return Workspace(id=data.text("id"), name=data.text("name"), role=data.text("role", ""))

    def _renew(self) -> bool:
        if self._refresh_token is None:
            return False
        self.refresh()
        return True

    def _keep(self, answer: Fields) -> Tokens:
        if answer.text("result") != "success":  # HTTP 200 all the same, for an account without a workspace
            raise Refused(
                str(answer.raw.get("data") or "login failed without a reason"), where=answer.where, status=200
            )
        pair = answer.object("data")
        tokens = Tokens(Secret(pair.text("access_token")), Secret(pair.text("refresh_token")))
        self.resume(tokens)
        return tokens
