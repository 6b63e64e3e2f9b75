"""Console calls on the account that is logged in."""

from __future__ import annotations

from typing import Any
from zoneinfo import available_timezones

from . import db, fields
from .accounts import login_required
from .http import ApiError, Request, route

API = "/console/api/account"
LANGUAGES = (
    "en-US", "zh-Hans", "zh-Hant", "pt-BR", "es-ES", "fr-FR", "de-DE", "ja-JP", "ko-KR", "ru-RU", "it-IT", "uk-UA", "vi-VN",
    "pl-PL", "ro-RO", "hi-IN", "tr-TR", "fa-IR", "sl-SI",
)  # fmt: skip


def language(value: Any) -> str:
    """A language of the console."""
    if value not in LANGUAGES:
        raise ValueError(f"{value} is not a valid language.")
    return str(value)


def _timezone(value: Any) -> str:
    # a container without time zone data knows none: then any name of the usual form passes
    known = available_timezones()
    if value not in known and (known or "/" not in str(value)):
        raise ValueError(f"{value} is not a valid timezone.")
    return str(value)


def _shown(account: db.Row) -> dict[str, Any]:
    names = ("name", "avatar", "email", "interface_language", "interface_theme", "timezone", "last_login_ip")
    return {
        "id": str(account["id"]),
        **{name: account[name] for name in names},
        "is_password_set": bool(account["password"]),
        "last_login_at": db.seconds(account["last_login_at"]),
        "created_at": db.seconds(account["created_at"]),
    }


def _change(request: Request, **values: Any) -> dict[str, Any]:
    columns = ", ".join(f"{name} = %s" for name in values)
    row = request.app.database.one(
        f"UPDATE accounts SET {columns}, updated_at = now() WHERE id = %s RETURNING *",  # noqa: S608
        *values.values(), str(request.account["id"]),
    )  # fmt: skip
    return _shown(row)


@route("GET", f"{API}/profile")
@login_required
def profile(request: Request) -> Any:
    return _shown(request.account)


@route("POST", f"{API}/name")
@login_required
def set_name(request: Request) -> Any:
    name = fields.body(request, name=fields.Argument(fields.string, required=True))["name"]
    if not 3 <= len(name) <= 30:
        raise ValueError("Account name must be between 3 and 30 characters.")
    return _change(request, name=name)


@route("POST", f"{API}/interface-language")
@login_required
def set_language(request: Request) -> Any:
    return _change(
        request, **fields.body(request, interface_language=fields.Argument(language, required=True))
    )


@route("POST", f"{API}/interface-theme")
@login_required
def set_theme(request: Request) -> Any:
    theme = fields.Argument(fields.choice("light", "dark"), required=True)
    return _change(request, **fields.body(request, interface_theme=theme))


@route("POST", f"{API}/timezone")
@login_required
def set_timezone(request: Request) -> Any:
    return _change(request, **fields.body(request, timezone=fields.Argument(_timezone, required=True)))


@route("POST", f"{API}/password")
@login_required
def set_password(request: Request) -> Any:
    """A wrong old password is 400; the tokens that are out stay good."""
    given = fields.body(
        request,
        password=fields.Argument(fields.string),
        new_password=fields.Argument(fields.string, required=True),
        repeat_new_password=fields.Argument(fields.string, required=True),
    )
    if given["new_password"] != given["repeat_new_password"]:
        raise ApiError(400, "repeat_password_not_match", "New password and repeat password does not match.")
    if request.account["password"] and not db.password_matches(request.account, given["password"] or ""):
        raise ApiError(400, "current_password_incorrect", "Current password is incorrect")
    hashed, salt = db.new_password(fields.password(given["new_password"]))
    _change(request, password=hashed, password_salt=salt)
    return {"result": "success"}
