"""The server before there is an admin: versions, readiness, INIT_PASSWORD and the admin's creation."""

from __future__ import annotations

import time
from dataclasses import dataclass

from difyfleet.clients.dify.errors import AlreadySetUp, ContractError, DifyError
from difyfleet.clients.dify.transport import Transport
from difyfleet.secrets import Secret

_API = "/console/api"


@dataclass(frozen=True)
class SetupStatus:
    """Whether there is an admin. `setup_at` is the server's own text, UTC without a zone; empty before."""

    finished: bool
    setup_at: str = ""


class Setup:
    """Calls that need no login."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._cookies: dict[str, str] = {}

    def version(self) -> str:
        """The server's version, from GET /v1/, which nginx passes on too (it does not pass on /health)."""
        return self._transport.get("/v1/").text("server_version")

    def health(self) -> str:
        """The version from GET /health. Straight to the API server only, and says ok whatever is broken: it proves only a process."""
        return self._transport.get("/health").text("version")

    def status(self) -> SetupStatus:
        """Whether setup is done. The first call that proves a database with tables behind the server.

        Raises:
            ServerCrashed: the database is away or has no tables yet.
        """
        data = self._transport.get(f"{_API}/setup")
        return SetupStatus(finished=data.text("step") == "finished", setup_at=data.text("setup_at", ""))

    def wait(self, seconds: float = 300.0, pause: float = 1.0) -> SetupStatus:
        """`status`, as soon as the server can tell it. The first start runs the migrations.

        Args:
            seconds: longest wait.
            pause: seconds between two tries.

        Raises:
            DifyError: the last failure, when the time is over.
        """
        deadline = time.monotonic() + seconds
        while True:
            try:
                return self.status()
            except ContractError:
                raise
            except DifyError:
                if time.monotonic() + pause > deadline:
                    raise
                time.sleep(pause)

    def needs_init(self) -> bool:
        """Whether an INIT_PASSWORD has to be given before the admin can be created (with this client: the proof is a cookie)."""
        response = self._transport.send("GET", f"{_API}/init", cookies=self._cookies or None)
        return bool(response.json().get("status") == "not_started")

    def confirm_init(self, password: Secret) -> None:
        """Give the INIT_PASSWORD. The server's proof is a signed cookie, which this object keeps for `create_admin`.

        Raises:
            InitPasswordWrong: it is another one.
            AlreadySetUp: there is an admin.
            ServerCrashed: the server has an empty SECRET_KEY.
        """
        response = self._transport.send(
            "POST", f"{_API}/init", body={"password": password.reveal()}, asking=True
        )
        self._cookies = {cookie.name: cookie.value or "" for cookie in response.cookies}

    def create_admin(self, email: str, name: str, password: Secret) -> bool:
        """Create the owner account and its workspace. False = there was an admin already, and nothing was changed.

        Args:
            email: the login.
            name: at most 30 characters.
            password: at least 8 characters, among them an ASCII letter and a digit.

        Raises:
            InitNotConfirmed: call `confirm_init` first, on the same object.
            InvalidRequest: `field` names what is wrong; Dify reports the first bad field only.
        """
        body = {"email": email, "name": name, "password": password.reveal()}
        try:
            self._transport.send("POST", f"{_API}/setup", body=body, cookies=self._cookies or None)
        except AlreadySetUp:
            return False
        return True
