"""Who is asking on the service API: an app by its key, or the workspace by a key of its knowledge bases."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from . import db
from .http import ApiError, Handler, Request


def _key(request: Request, kind: str) -> db.Row:
    """The row of the request's key.

    :raises ApiError: 401.
    """
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise ApiError(401, "unauthorized", "Authorization header must be provided and start with 'Bearer'")
    row = request.app.database.one(
        "UPDATE api_tokens SET last_used_at = now() WHERE token = %s AND type = %s RETURNING *",
        token.strip(),
        kind,
    )
    if row is None:
        raise ApiError(401, "unauthorized", "Access token is invalid")
    return dict(row)


def app_key(user: str = "") -> Callable[[Handler], Handler]:
    """A call of an app: its row goes into ``request.account``.

    :param user: where a user must be named: ``json`` or ``query``; empty: it need not.
    """

    def decorate(handler: Handler) -> Handler:
        @wraps(handler)
        def checked(request: Request) -> Any:
            key = _key(request, "app")
            app = request.app.database.one("SELECT * FROM apps WHERE id = %s", str(key["app_id"]))
            if app is None:
                raise ApiError(403, "forbidden", "The app no longer exists.")
            if not app["enable_api"]:
                raise ApiError(403, "forbidden", "The app's API service has been disabled.")
            request.tenant, request.account = str(app["tenant_id"]), app
            if user:
                source = request.json() if user == "json" else request.query
                if not source.get("user"):
                    raise ValueError("Arg user must be provided.")
            return handler(request)

        return checked

    return decorate


def dataset_key(handler: Handler) -> Handler:
    """A call on knowledge bases: it acts as the workspace's owner, who goes into ``request.account``."""

    @wraps(handler)
    def checked(request: Request) -> Any:
        key = _key(request, "dataset")
        request.tenant = str(key["tenant_id"])
        request.account = request.app.database.one(
            "SELECT a.* FROM accounts a JOIN tenant_account_joins j ON j.account_id = a.id"
            " WHERE j.tenant_id = %s AND j.role = 'owner'",
            request.tenant,
        )
        return handler(request)

    return checked


def end_user(request: Request, name: str) -> str:
    """Id of an app's user of that name; made at the first time."""
    app_id = str(request.account["id"])
    database: db.Database = request.app.database
    row = database.one("SELECT id FROM end_users WHERE app_id = %s AND session_id = %s", app_id, name)
    row = row or database.one(
        "INSERT INTO end_users (tenant_id, app_id, type, session_id) VALUES (%s, %s, 'service_api', %s) RETURNING id",
        request.tenant, app_id, name,
    )  # fmt: skip
    assert row is not None
    return str(row["id"])
