"""What can go wrong with a call to Dify, by name, with the server's words and what to do next.

Dify 0.11.2 says no in seven shapes: (1) `code`, `message`, `status`; (2) a field error, `code: invalid_param` and `params` without
`status`; (3) a crash, `code: unknown` and HTTP 500; (4) `code` and `message` only; (5) an HTML page, from Dify for a path that it does not
have and from a proxy in front of it; (6) `result: fail` with `data`; (7) HTTP 200 with `result: error`. `difyfleet.clients.dify.refusals`
turns each of them into one of these classes.
"""

from __future__ import annotations

from difyfleet.errors import HostError


class DifyError(HostError):
    """Any failure of a call to Dify.

    Args:
        what: one sentence; the server's own words where it said any.
        where: method and path of the call, without query and host.
        hint: what to do next.
        code: Dify's machine word (`app_not_found`), empty where there is none.
        status: HTTP status, 0 where nothing answered.
    """

    default_hint: str | None = None

    def __init__(
        self, what: str, *, where: str | None = None, hint: str | None = None, code: str = "", status: int = 0
    ) -> None:
        super().__init__(what, where=where, hint=hint or self.default_hint)
        self.code = code
        self.status = status


class NoAnswer(DifyError):
    """No connection, a broken one, or silence longer than the time-out.

    `may_have_happened` is true for a write whose request may have reached the server: look before you send it again.
    """

    may_have_happened = False


class ContractError(DifyError):
    """Dify answered something else than its contract says: `field` of the answer to `where` is missing or of another type."""

    default_hint = "the client knows Dify 0.11.2; compare the server's version with GET /health"

    def __init__(self, what: str, *, where: str | None = None, field: str = "") -> None:
        super().__init__(what, where=where)
        self.field = field


class Refused(DifyError):
    """Dify said no. The subclasses name the reason; this class itself is for a reason that has no class yet."""


# --- setup and login: a 401 has three meanings -------------------------------------------------------------------------------------


class NotSetUp(Refused):
    """401 `not_setup`: there is no admin yet."""

    default_hint = "create the admin first: setup.create_admin"


class InitNotConfirmed(Refused):
    """401 `not_init_validated`: the server has an INIT_PASSWORD and wants it before the admin is created."""

    default_hint = "give the INIT_PASSWORD first: setup.confirm_init, with the same client"


class NotLoggedIn(Refused):
    """401 `unauthorized`: token or key missing, expired, malformed or of the wrong kind. Only the message tells which."""

    default_hint = "log in again (console), or look whether the API key still exists (service API)"


class SessionExpired(NotLoggedIn):
    """The refresh token is no longer good: used before, older than 30 days, or Redis lost its data."""

    default_hint = "log in again"


class InitPasswordWrong(Refused):
    """401 `init_validate_failed`."""

    default_hint = "compare with INIT_PASSWORD in Dify's .env; it can have 30 characters at most"


class AlreadySetUp(Refused):
    """403 `already_setup`: the admin exists. Safe to treat as done."""


class LoginRefused(Refused):
    """The e-mail or the password is not right. Every try counts: the seventh wrong one locks the e-mail for 24 hours."""

    default_hint = "correct the e-mail or the password before the next try; to set a new one: flask reset-password in the api container"


class WrongPassword(LoginRefused):
    """400 `email_or_password_mismatch`."""


class AccountNotFound(LoginRefused):
    """400 `account_not_found`."""


class LockedOut(Refused):
    """429 `email_code_login_limit`: too many wrong passwords; the right one is refused too, for 24 hours."""

    default_hint = "delete the key login_error_rate_limit:<e-mail> in Redis (database 0), or wait 24 hours"


class Forbidden(Refused):
    """403: the role is too low, the app's service API is off, or the app of this key is gone."""


# --- requests ------------------------------------------------------------------------------------------------------------------------


class InvalidRequest(Refused):
    """400 or 422: a value is missing or not acceptable. `field` names it where Dify does."""

    def __init__(
        self,
        what: str,
        *,
        where: str | None = None,
        hint: str | None = None,
        code: str = "",
        status: int = 0,
        field: str = "",
    ) -> None:
        super().__init__(what, where=where, hint=hint, code=code, status=status)
        self.field = field


class NotFound(Refused):
    """404: no such app, dataset, document, conversation, key or batch."""


class NoSuchRoute(NotFound):
    """404 as an HTML page: this server has no such path, or the path's id is not a UUID."""

    default_hint = "is this Dify 0.11, and the base URL without /console/api or /v1?"


class NameTaken(Refused):
    """409: a knowledge base of this name exists."""


class TooLarge(Refused):
    """413. `from_proxy` is true when nginx refused the body before Dify saw it."""

    def __init__(
        self,
        what: str,
        *,
        where: str | None = None,
        hint: str | None = None,
        code: str = "",
        status: int = 413,
        from_proxy: bool = False,
    ) -> None:
        limit = "NGINX_CLIENT_MAX_BODY_SIZE" if from_proxy else "UPLOAD_FILE_SIZE_LIMIT"
        super().__init__(
            what,
            where=where,
            hint=hint or f"split the file, or raise {limit} in Dify's .env",
            code=code,
            status=status,
        )
        self.from_proxy = from_proxy


class UnsupportedFile(Refused):
    """415: this extension is not for knowledge bases."""

    default_hint = "GET /console/api/files/support-type lists what is allowed: files.allowed_extensions"


class TooManyKeys(Refused):
    """400 `max_keys_exceeded`: an app has ten keys at most."""

    default_hint = "take one of the keys that are there (keys.all shows them in full), or delete one"


class InvalidAction(Refused):
    """400 `invalid_action`: the document is being indexed, or already as asked."""


# --- models and answers ----------------------------------------------------------------------------------------------------------------


class ModelRefused(Refused):
    """Dify tried the model and it did not answer as it should: address wrong, model not pulled, server down."""

    default_hint = "Dify's api container must reach the base_url (not 127.0.0.1 of the host), without /api at its end; is the model pulled?"


class ProviderNotReady(Refused):
    """400 `provider_not_initialize`: the app's model has no credentials any more."""

    default_hint = "add the model again, or set another one in the app's configuration"


class CompletionFailed(Refused):
    """The model failed while answering: `completion_request_error`, or an error event inside a stream (HTTP 200)."""

    default_hint = "is Ollama up, and the model loaded? (ollama ps)"


class AppUnavailable(Refused):
    """400 `app_unavailable` or `not_chat_app`: this kind of app does not answer this kind of call."""


class IndexingStalled(DifyError):
    """Documents made no progress for too long. A stopped worker looks like this: `waiting`, for ever, without an error."""

    default_hint = "docker compose ps worker; docker compose logs --tail 50 worker"


# --- the server itself -----------------------------------------------------------------------------------------------------------------


class ServerCrashed(Refused):
    """500: an error that Dify did not foresee (database or Redis away, a wrong reference). The reason is in the api container's log."""

    default_hint = "docker compose logs --tail 50 api"


class GatewayError(Refused):
    """502, 503 or 504 from a proxy: the API server is starting, stopped or too slow."""

    default_hint = "docker compose ps api; the first start runs the database migrations, which takes a minute"
