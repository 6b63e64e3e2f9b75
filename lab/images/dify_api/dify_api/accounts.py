"""Who is asking: setup state, the account behind a token, workspaces, and sessions in Redis."""

from __future__ import annotations

import secrets
from functools import wraps
from typing import Any

from . import db, tokens
from .http import ApiError, Handler, Request
from .settings import Settings
from .vectors import VectorStore

REFRESH_SECONDS = 30 * 86400
LOCK_SECONDS = 86400
MAX_LOGIN_ERRORS = 5


class App:
    """What every handler and every job needs: settings, database, Redis, broker, vector store."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.database = db.Database(settings)
        self.redis = db.connect_redis(settings.redis_url)
        self.broker = db.connect_redis(settings.broker_url or settings.redis_url)
        self.vectors = VectorStore.of(settings)

    def setup_row(self) -> db.Row | None:
        """The row that says that the installation is finished.

        :raises psycopg2.Error: if the database is away or has no tables.
        """
        return self.database.one("SELECT version, setup_at FROM dify_setups LIMIT 1")

    def init_validated(self, request: Request) -> bool:
        """Has INIT_PASSWORD been given in this session? Without one the database is not asked at all."""
        if not self.settings.init_password:
            return True
        session = tokens.read_session(self.settings.secret_key, request.cookie("session"))
        return bool(session.get("is_init_validated")) or self.setup_row() is not None

    def account(self, request: Request) -> db.Row:
        """The account behind the request's token.

        :raises ApiError: 401.
        """
        token = tokens.bearer(request.headers.get("Authorization", ""), request.query.get("_token", ""))
        user_id = tokens.verify(self.settings.secret_key, token)
        row = self.database.one("SELECT * FROM accounts WHERE id::text = %s", user_id)
        if row is None:
            raise ApiError(401, "unauthorized", "Invalid Authorization token.")
        return row

    def workspaces(self, account_id: str) -> list[db.Row]:
        """Workspaces of an account, with its role in each."""
        return self.database.all(
            "SELECT t.*, j.role, j.current FROM tenants t JOIN tenant_account_joins j ON j.tenant_id = t.id "
            "WHERE j.account_id = %s ORDER BY t.created_at",
            str(account_id),
        )

    def current_workspace(self, account_id: str) -> str:
        """Id of the workspace that an account works in."""
        row = self.database.one(
            "SELECT tenant_id FROM tenant_account_joins WHERE account_id = %s ORDER BY current DESC LIMIT 1",
            str(account_id),
        )
        return str(row["tenant_id"]) if row else ""

    def issue_tokens(self, account_id: str) -> dict[str, str]:
        """A new pair: a JWT, and a refresh token that is kept in Redis and good for one use.

        :raises redis.RedisError: if Redis is away.
        """
        refresh = secrets.token_hex(64)
        self.redis.setex(f"refresh_token:{refresh}", REFRESH_SECONDS, account_id)
        self.redis.setex(f"account_refresh_token:{account_id}", REFRESH_SECONDS, refresh)
        minutes = self.settings.integers["ACCESS_TOKEN_EXPIRE_MINUTES"]
        access = tokens.access_token(self.settings.secret_key, account_id, self.settings.edition, minutes)
        return {"access_token": access, "refresh_token": refresh}

    def locked_out(self, email: str) -> bool:
        """Too many wrong passwords in the last 24 hours?"""
        return int(self.redis.get(f"login_error_rate_limit:{email}") or 0) > MAX_LOGIN_ERRORS

    def count_wrong_password(self, email: str) -> None:
        """Remember a wrong password for 24 hours."""
        key = f"login_error_rate_limit:{email}"
        self.redis.setex(key, LOCK_SECONDS, int(self.redis.get(key) or 0) + 1)


def not_setup() -> ApiError:
    """401 before the admin exists."""
    return ApiError(
        401, "not_setup",
        "Dify has not been initialized and installed yet. Please proceed with the initialization and installation process "
        "first.",
    )  # fmt: skip


def already_setup() -> ApiError:
    """403 once the admin exists."""
    return ApiError(
        403, "already_setup",
        "Dify has been successfully installed. Please refresh the page or return to the dashboard homepage.",
    )  # fmt: skip


def not_validated() -> ApiError:
    """401 while INIT_PASSWORD has not been given."""
    return ApiError(
        401, "not_init_validated",
        "Init validation has not been completed yet. Please proceed with the init validation process first.",
    )  # fmt: skip


def setup_required(handler: Handler) -> Handler:
    """Refuse the call until the installation is finished."""

    @wraps(handler)
    def checked(request: Request) -> Any:
        if not request.app.init_validated(request):
            raise not_validated()
        if request.app.setup_row() is None:
            raise not_setup()
        return handler(request)

    return checked


def login_required(handler: Handler) -> Handler:
    """Refuse the call without a good access token; account and workspace go into the request."""

    @setup_required
    @wraps(handler)
    def checked(request: Request) -> Any:
        request.account = request.app.account(request)
        request.tenant = request.app.current_workspace(request.account["id"])
        return handler(request)

    return checked
