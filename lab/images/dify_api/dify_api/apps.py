"""Apps: rows with configuration and site, how they are shown, and how they are made and removed."""

from __future__ import annotations

import secrets
import string
from typing import Any

from . import db, jobs, model_config
from .http import ApiError, Request
from .models import Models

MODES = ("chat", "agent-chat", "advanced-chat", "workflow", "completion")
_ALPHABET = string.ascii_letters + string.digits
_SITE_TEXTS = (
    "title", "icon_type", "icon", "icon_background", "description", "default_language", "chat_color_theme",
    "chat_color_theme_inverted", "customize_domain", "copyright", "privacy_policy", "custom_disclaimer",
    "customize_token_strategy", "prompt_public", "show_workflow_steps", "use_icon_as_answer_icon",
)  # fmt: skip


def token(length: int) -> str:
    """Random letters and digits."""
    return "".join(secrets.choice(_ALPHABET) for _ in range(length))


def not_found(message: str = "App not found.") -> ApiError:
    """404 of an app, also of one of the wrong mode for a call."""
    return ApiError(404, "app_not_found", message)


def get(request: Request, *modes: str) -> db.Row:
    """The app that a path names.

    :param modes: those that the call is for; all if none is given.
    :raises ApiError: 404.
    """
    row = request.app.database.one(
        "SELECT * FROM apps WHERE id = %s AND tenant_id = %s AND status = 'normal'",
        request["app"],
        request.tenant,
    )
    if row is None:
        raise not_found()
    if modes and row["mode"] not in modes:
        raise not_found(f"App mode is not in the supported list: {{{', '.join(map(repr, modes))}}}")
    return dict(row)


def config_row(database: db.Database, app: db.Row) -> db.Row | None:
    """The row of an app's configuration; workflows have none."""
    if app["app_model_config_id"] is None:
        return None
    return database.one("SELECT * FROM app_model_configs WHERE id = %s", str(app["app_model_config_id"]))


def create(request: Request, given: dict[str, Any], config: dict[str, Any] | None) -> db.Row:
    """An app with its site; site and service API are on."""
    owner = str(request.account["id"])
    with request.app.database.transaction() as cursor:
        cursor.execute(
            "INSERT INTO apps (tenant_id, name, description, mode, icon_type, icon, icon_background, enable_site, enable_api,"
            " created_by, updated_by, use_icon_as_answer_icon) VALUES (%s, %s, %s, %s, %s, %s, %s, true, true, %s, %s, %s)"
            " RETURNING id",
            (
                request.tenant, given["name"], given.get("description") or "", given["mode"], given.get("icon_type"),
                given.get("icon"), given.get("icon_background"), owner, owner,
                bool(given.get("use_icon_as_answer_icon")),
            ),
        )  # fmt: skip
        app_id = str(cursor.fetchone()["id"])
        cursor.execute(
            "INSERT INTO sites (app_id, title, icon_type, icon, icon_background, default_language, code, created_by, updated_by)"
            " VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s)",
            (
                app_id, given["name"], given.get("icon_type"), given.get("icon"), given.get("icon_background"),
                request.account["interface_language"] or "en-US", token(16), owner, owner,
            ),
        )  # fmt: skip
        if config is not None:
            _store(cursor, app_id, config, owner)
        cursor.execute("SELECT * FROM apps WHERE id = %s", (app_id,))
        return dict(cursor.fetchone())


def configure(request: Request, app: db.Row, config: dict[str, Any]) -> None:
    """Give an app another configuration: a new row each time."""
    with request.app.database.transaction() as cursor:
        _store(cursor, str(app["id"]), config, str(request.account["id"]))


def _store(cursor: Any, app_id: str, config: dict[str, Any], owner: str) -> None:
    cursor.execute(
        "INSERT INTO app_model_configs (app_id, configs, created_by, updated_by) VALUES (%s, %s, %s, %s) RETURNING id",
        (app_id, db.as_json(config), owner, owner),
    )
    cursor.execute(
        "UPDATE apps SET app_model_config_id = %s WHERE id = %s", (cursor.fetchone()["id"], app_id)
    )
    cursor.execute("DELETE FROM app_dataset_joins WHERE app_id = %s", (app_id,))
    for dataset_id in dict.fromkeys(model_config.dataset_ids(config)):
        cursor.execute(
            "INSERT INTO app_dataset_joins (app_id, dataset_id) VALUES (%s, %s)", (app_id, dataset_id)
        )


def delete(request: Request, app: db.Row) -> None:
    """The row goes at once; keys, site and conversations are the worker's."""
    request.app.database.execute("DELETE FROM apps WHERE id = %s", str(app["id"]))
    jobs.push(request.app.broker, "clean_app", str(app["id"]), queue="app_deletion")


def models(request: Request) -> Models:
    """The models of the request's workspace."""
    return Models(request.app.database, request.tenant)


def _changed(row: db.Row) -> dict[str, Any]:
    return {
        "created_by": db.text_id(row["created_by"]),
        "created_at": db.seconds(row["created_at"]),
        "updated_by": db.text_id(row["updated_by"]),
        "updated_at": db.seconds(row["updated_at"]),
    }


def shown(request: Request, app: db.Row) -> dict[str, Any]:
    """An app as most calls answer it: without type of icon and site."""
    config = config_row(request.app.database, app)
    names = ("name", "description", "mode", "icon", "icon_background", "enable_site", "enable_api")
    return {
        "id": str(app["id"]),
        **{name: app[name] for name in names},
        "model_config": {**config["configs"], **_changed(config)} if config else None,
        "workflow": None,
        "tracing": None,
        "use_icon_as_answer_icon": app["use_icon_as_answer_icon"],
        **_changed(app),
    }


def shown_with_site(request: Request, app: db.Row) -> dict[str, Any]:
    """An app in full."""
    environ = request.app.settings.environ
    whole = shown(request, app)
    del whole["tracing"]
    site = request.app.database.one("SELECT * FROM sites WHERE app_id = %s", str(app["id"]))
    base = environ.get("APP_WEB_URL", "")
    return {
        **whole,
        "icon_type": app["icon_type"],
        "icon_url": None,
        "site": {**_site(site), "app_base_url": base, **_changed(site)} if site else None,
        "api_base_url": environ.get("SERVICE_API_URL", "") + "/v1",
        "deleted_tools": [],
    }


def _site(site: db.Row) -> dict[str, Any]:
    shown = {name: site[name] for name in _SITE_TEXTS}
    return {"access_token": site["code"], "code": site["code"], **shown, "icon_url": None}


def site_after_change(site: db.Row) -> dict[str, Any]:
    """A site as the call that changes it answers."""
    left_out = ("icon_type", "icon_url", "chat_color_theme", "chat_color_theme_inverted")
    shown = {name: value for name, value in _site(site).items() if name not in left_out}
    return {"app_id": str(site["app_id"]), **shown}


def listed(request: Request, app: db.Row) -> dict[str, Any]:
    """An app as the list shows it. Its description falls back to the prompt."""
    config = config_row(request.app.database, app)
    names = (
        "name",
        "max_active_requests",
        "mode",
        "icon_type",
        "icon",
        "icon_background",
        "use_icon_as_answer_icon",
    )
    short = None
    if config:
        short = {name: config["configs"][name] for name in ("model", "pre_prompt")} | _changed(config)
    prompt = config["configs"]["pre_prompt"] if config else ""
    return {
        "id": str(app["id"]),
        **{name: app[name] for name in names},
        "description": app["description"] or prompt,
        "icon_url": None,
        "model_config": short,
        "workflow": None,
        **_changed(app),
        "tags": [],
    }
