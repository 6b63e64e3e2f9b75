"""Health, versions, setup, init, login and workspaces: the console calls of a first rollout."""

from __future__ import annotations

import os
import subprocess
import threading
from pathlib import Path
from typing import Any

from . import VERSION, accounts, db, fields, tokens
from .http import ApiError, MissingField, Request, Response, route

_setup_lock = threading.Lock()


@route("GET", "/health")
def health(request: Request) -> Response:
    """Says ok whatever is broken, as the real one; the field ``stand-in`` is ours."""
    body = f'{{"pid": {os.getpid()}, "status": "ok", "version": "{VERSION}", "stand-in": true}}'
    return Response(body.encode())


@route("GET", "/console/api/ping")
def ping(request: Request) -> Any:
    return {"result": "pong"}


@route("GET", "/console/api/version")
def version(request: Request) -> Any:
    """The real one asks CHECK_UPDATE_URL if that is set; the stand-in never does."""
    if "current_version" not in request.query:
        raise MissingField("current_version", "query string")
    return {
        "version": VERSION,
        "release_date": "",
        "release_notes": "",
        "can_auto_update": False,
        "features": {"can_replace_logo": False, "model_load_balancing_enabled": False},
    }


@route("GET", "/v1/")
def service_root(request: Request) -> Any:
    return {"welcome": "Dify OpenAPI", "api_version": "v1", "server_version": VERSION}


@route("GET", "/console/api/system-features")
def system_features(request: Request) -> Any:
    return {
        "sso_enforced_for_signin": False,
        "sso_enforced_for_signin_protocol": "",
        "sso_enforced_for_web": False,
        "sso_enforced_for_web_protocol": "",
        "enable_web_sso_switch_component": False,
        "enable_email_code_login": False,
        "enable_email_password_login": True,
        "enable_social_oauth_login": False,
        "is_allow_register": False,
        "is_allow_create_workspace": False,
        "license": {"status": "none", "expired_at": ""},
    }


@route("GET", "/console/api/features")
@accounts.login_required
def features(request: Request) -> Any:
    """What a plan would limit, if billing were on."""
    limits = {
        "members": 1,
        "apps": 10,
        "vector_space": 5,
        "annotation_quota_limit": 10,
        "documents_upload_quota": 50,
    }
    return {
        "billing": {"enabled": False, "subscription": {"plan": "sandbox", "interval": ""}},
        **{name: {"size": 0, "limit": limit} for name, limit in limits.items()},
        "docs_processing": "standard",
        "can_replace_logo": False,
        "model_load_balancing_enabled": False,
        "dataset_operator_enabled": False,
    }


@route("GET", "/console/api/setup")
def get_setup(request: Request) -> Any:
    """500 while the database is away or has no tables: the first call that proves something."""
    row = request.app.setup_row()
    if row is None:
        return {"step": "not_started"}
    return {"step": "finished", "setup_at": row["setup_at"].isoformat()}


@route("POST", "/console/api/setup")
def post_setup(request: Request) -> Any:
    """Create the owner, once. Storage must be writable: the workspace's private key is a file there."""
    app: accounts.App = request.app
    with _setup_lock:
        if app.setup_row() is not None or app.database.one("SELECT 1 AS one FROM tenants LIMIT 1"):
            raise accounts.already_setup()
        if not app.init_validated(request):
            raise accounts.not_validated()
        values = fields.parse(request, email=fields.email, name=fields.text(30), password=fields.password)
        _create_owner(app, values, request.client)
    return Response({"result": "success"}, 201)


def _create_owner(app: accounts.App, values: dict[str, str], client: str) -> None:
    """Account, workspace, membership and the setup row in one transaction.

    :raises ValueError: ``Setup failed: ...`` if the key pair cannot be written; nothing is left behind then.
    """
    hashed, salt = db.new_password(values["password"])
    with app.database.transaction() as cursor:
        cursor.execute(
            "INSERT INTO accounts (name, email, password, password_salt, interface_language, interface_theme, timezone,"
            " last_login_ip, initialized_at) VALUES (%s, %s, %s, %s, 'en-US', 'light', 'America/New_York', %s,"
            " now()) RETURNING id",
            (values["name"], values["email"], hashed, salt, client),
        )
        account_id = cursor.fetchone()["id"]
        cursor.execute(
            "INSERT INTO tenants (name) VALUES (%s) RETURNING id", (f"{values['name']}'s Workspace",)
        )
        tenant_id = cursor.fetchone()["id"]
        try:
            public_key = _create_key_pair(Path(app.settings.storage_path) / "privkeys" / str(tenant_id))
        except OSError as error:
            raise ValueError(f"Setup failed: {error}") from None
        cursor.execute("UPDATE tenants SET encrypt_public_key = %s WHERE id = %s", (public_key, tenant_id))
        cursor.execute(
            "INSERT INTO tenant_account_joins (tenant_id, account_id, role, current) VALUES (%s, %s, 'owner', true)",
            (tenant_id, account_id),
        )
        cursor.execute("INSERT INTO dify_setups (version) VALUES (%s)", (VERSION,))


def _create_key_pair(folder: Path) -> str:
    """Write a workspace's RSA key; returns the public half in PEM."""
    folder.mkdir(parents=True, exist_ok=True)
    private = folder / "private.pem"
    private.touch()
    options = {"capture_output": True, "text": True, "timeout": 60, "check": True}
    subprocess.run(["openssl", "genrsa", "-out", str(private), "2048"], **options)  # type: ignore[call-overload]
    shown = subprocess.run(["openssl", "rsa", "-in", str(private), "-pubout"], **options)  # type: ignore[call-overload]
    return str(shown.stdout)


@route("GET", "/console/api/init")
def get_init(request: Request) -> Any:
    return {"status": "finished" if request.app.init_validated(request) else "not_started"}


@route("POST", "/console/api/init")
def post_init(request: Request) -> Any:
    """Check INIT_PASSWORD; the proof is a session cookie that ``POST /setup`` must send back."""
    app: accounts.App = request.app
    if app.database.one("SELECT 1 AS one FROM tenants LIMIT 1"):
        raise accounts.already_setup()
    values = fields.parse(request, password=fields.text(30))
    good = values["password"] == app.settings.init_password
    cookie = {"Set-Cookie": tokens.session_cookie(app.settings.secret_key, {"is_init_validated": good})}
    if good:
        return Response({"result": "success"}, 201, cookie)
    error = ApiError(
        401, "init_validate_failed", "Init validation failed. Please check the password and try again."
    )
    return Response(error.response.body, 401, cookie)


@route("POST", "/console/api/login")
@accounts.setup_required
def login(request: Request) -> Any:
    app: accounts.App = request.app
    values = fields.parse(request, email=fields.email, password=fields.password)
    if app.locked_out(values["email"]):
        raise ApiError(
            429, "email_code_login_limit", "Too many incorrect password attempts. Please try again later."
        )
    account = app.database.one("SELECT * FROM accounts WHERE email = %s", values["email"])
    if account is None:
        raise ApiError(400, "account_not_found", "Account not found.")
    if not db.password_matches(account, values["password"]):
        app.count_wrong_password(values["email"])
        raise ApiError(400, "email_or_password_mismatch", "The email or password is mismatched.")
    if not app.workspaces(account["id"]):
        text = "workspace not found, please contact system admin to invite you to join in a workspace"
        return {"result": "fail", "data": text}
    app.database.execute(
        "UPDATE accounts SET last_login_at = now(), last_login_ip = %s WHERE id = %s",
        request.client, str(account["id"]),
    )  # fmt: skip
    pair = app.issue_tokens(str(account["id"]))
    app.redis.delete(f"login_error_rate_limit:{values['email']}")
    return {"result": "success", "data": pair}


@route("POST", "/console/api/refresh-token")
def refresh_token(request: Request) -> Any:
    app: accounts.App = request.app
    old = fields.parse(request, refresh_token=fields.text(1000))["refresh_token"]
    account_id = app.redis.getdel(f"refresh_token:{old}")
    if not account_id:
        return Response({"result": "fail", "data": "Invalid refresh token"}, 401)
    return {"result": "success", "data": app.issue_tokens(account_id.decode())}


@route("GET", "/console/api/logout")
@accounts.login_required
def logout(request: Request) -> Any:
    """Ends the newest refresh token only; access tokens stay good, as in the real server."""
    app: accounts.App = request.app
    key = f"account_refresh_token:{request.account['id']}"
    newest = app.redis.get(key)
    if newest:
        app.redis.delete(f"refresh_token:{newest.decode()}", key)
    return {"result": "success"}


def _workspace(row: db.Row) -> dict[str, Any]:
    return {
        "id": str(row["id"]),
        "name": row["name"],
        "plan": row["plan"],
        "status": row["status"],
        "created_at": db.seconds(row["created_at"]),
    }


@route("GET", "/console/api/workspaces/current")
@accounts.login_required
def current_workspace(request: Request) -> Any:
    account = request.account
    row = next(row for row in request.app.workspaces(account["id"]) if row["current"])
    return {
        **_workspace(row),
        "role": row["role"],
        "in_trial": None,
        "trial_end_reason": None,
        "custom_config": None,
    }


@route("GET", "/console/api/workspaces")
@accounts.login_required
def workspaces(request: Request) -> Any:
    account = request.account
    rows = request.app.workspaces(account["id"])
    return {"workspaces": [{**_workspace(row), "current": row["current"]} for row in rows]}
