"""Console calls on apps."""

from __future__ import annotations

from typing import Any

from . import apps, db, dsl, model_config
from .account import language
from .accounts import login_required
from .fields import Argument, body, boolean, choice, number, query, string
from .http import ApiError, Request, Response, no_content, route

API = "/console/api/apps"
ONE = f"{API}/<uuid:app>"
_ICON = {"icon_type": Argument(string), "icon": Argument(string), "icon_background": Argument(string)}


def _description(value: Any) -> str:
    if len(str(value)) > 400:
        raise ValueError("Description cannot exceed 400 characters.")
    return str(value)


@route("GET", API)
@login_required
def listing(request: Request) -> Any:
    """Newest first. The name is looked for inside names, whatever the case, by its first 30 characters."""
    given = query(
        request,
        page=Argument(number(1, 99999), default=1),
        limit=Argument(number(1, 100), default=20),
        mode=Argument(choice("chat", "workflow", "agent-chat", "channel", "all"), default="all"),
        name=Argument(string, default=""),
    )
    modes = {"chat": ["chat", "advanced-chat"], "all": list(apps.MODES)}.get(given["mode"], [given["mode"]])
    where = "WHERE tenant_id = %s AND mode = ANY(%s) AND name ILIKE %s AND status = 'normal'"
    pattern = given["name"][:30].replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    values = (request.tenant, modes, f"%{pattern}%")
    database: db.Database = request.app.database
    rows = database.all(
        f"SELECT * FROM apps {where} ORDER BY created_at DESC LIMIT %s OFFSET %s",  # noqa: S608
        *values, given["limit"], (given["page"] - 1) * given["limit"],
    )  # fmt: skip
    total = (database.one(f"SELECT count(*) AS n FROM apps {where}", *values) or {"n": 0})["n"]  # noqa: S608
    return {
        "page": given["page"],
        "limit": given["limit"],
        "total": total,
        "has_more": given["page"] * given["limit"] < total,
        "data": [apps.listed(request, row) for row in rows],
    }


@route("POST", API)
@login_required
def create(request: Request) -> Response:
    """Names are not unique and may be empty."""
    given = body(
        request,
        name=Argument(string, required=True),
        description=Argument(_description),
        mode=Argument(choice(*apps.MODES)),
        **_ICON,
    )
    if given["mode"] is None:
        raise ApiError(400, "bad_request", "mode is required")
    config = (
        model_config.new(given["mode"], apps.models(request))
        if given["mode"] in model_config.CHAT_MODES
        else None
    )
    return Response(apps.shown(request, apps.create(request, given, config)), 201)


@route("POST", f"{API}/import")
@login_required
def import_app(request: Request) -> Response:
    """A new app each time."""
    given = body(
        request,
        data=Argument(string, required=True),
        name=Argument(string),
        description=Argument(string),
        **_ICON,
    )
    return Response(apps.shown_with_site(request, dsl.load(request, given["data"], given)), 201)


@route("GET", ONE)
@login_required
def detail(request: Request) -> Any:
    return apps.shown_with_site(request, apps.get(request))


@route("PUT", ONE)
@login_required
def replace(request: Request) -> Any:
    """Everything at once; without description or use_icon_as_answer_icon the real server crashes on its columns."""
    app = apps.get(request)
    given = body(
        request,
        name=Argument(string, required=True),
        description=Argument(_description),
        use_icon_as_answer_icon=Argument(boolean),
        **_ICON,
    )
    if given["description"] is None or given["use_icon_as_answer_icon"] is None:
        raise RuntimeError("null value violates not-null constraint")
    return apps.shown_with_site(request, _update(request, app, given))


def _update(request: Request, app: db.Row, values: dict[str, Any]) -> db.Row:
    columns = ", ".join(f"{name} = %s" for name in values)
    row = request.app.database.one(
        f"UPDATE apps SET {columns}, updated_by = %s, updated_at = now() WHERE id = %s RETURNING *",  # noqa: S608
        *values.values(), str(request.account["id"]), str(app["id"]),
    )  # fmt: skip
    assert row is not None
    return dict(row)


@route("POST", f"{ONE}/name")
@login_required
def rename(request: Request) -> Any:
    app = apps.get(request)
    return apps.shown(request, _update(request, app, body(request, name=Argument(string, required=True))))


@route("POST", f"{ONE}/icon")
@login_required
def set_icon(request: Request) -> Any:
    app = apps.get(request)
    given = body(request, icon=Argument(string), icon_background=Argument(string))
    return apps.shown(request, _update(request, app, given))


@route("POST", f"{ONE}/site-enable")
@login_required
def enable_site(request: Request) -> Any:
    app = apps.get(request)
    return apps.shown(
        request, _update(request, app, body(request, enable_site=Argument(boolean, required=True)))
    )


@route("POST", f"{ONE}/api-enable")
@login_required
def enable_api(request: Request) -> Any:
    app = apps.get(request)
    return apps.shown(
        request, _update(request, app, body(request, enable_api=Argument(boolean, required=True)))
    )


@route("POST", f"{ONE}/site")
@login_required
def change_site(request: Request) -> Any:
    """Only what is given changes."""
    app = apps.get(request)
    texts = (
        "title", "icon_type", "icon", "icon_background", "description", "chat_color_theme", "customize_domain", "copyright",
        "privacy_policy", "custom_disclaimer",
    )  # fmt: skip
    flags = ("chat_color_theme_inverted", "prompt_public", "show_workflow_steps", "use_icon_as_answer_icon")
    given = body(
        request,
        default_language=Argument(language),
        customize_token_strategy=Argument(choice("must", "allow", "not_allow")),
        **dict.fromkeys(texts, Argument(string)),
        **dict.fromkeys(flags, Argument(boolean)),
    )
    values = {name: value for name, value in given.items() if value is not None}
    values["updated_by"] = str(request.account["id"])
    columns = ", ".join(f"{name} = %s" for name in values)
    site = request.app.database.one(
        f"UPDATE sites SET {columns}, updated_at = now() WHERE app_id = %s RETURNING *",  # noqa: S608
        *values.values(), str(app["id"]),
    )  # fmt: skip
    return apps.site_after_change(site)


@route("POST", f"{ONE}/model-config")
@login_required
def configure(request: Request) -> Any:
    app = apps.get(request, *model_config.CHAT_MODES)
    given = request.json()
    apps.configure(request, app, model_config.checked(app["mode"], given, apps.models(request)))
    return {"result": "success"}


@route("GET", f"{ONE}/export")
@login_required
def export(request: Request) -> Any:
    return {"data": dsl.dump(request, apps.get(request))}


@route("POST", f"{ONE}/copy")
@login_required
def copy(request: Request) -> Response:
    app = apps.get(request)
    given = body(request, name=Argument(string), description=Argument(string), **_ICON)
    return Response(apps.shown_with_site(request, dsl.load(request, dsl.dump(request, app), given)), 201)


@route("GET", f"{ONE}/workflows/draft")
@login_required
def draft(request: Request) -> Any:
    """The stand-in has no workflows, only apps of that mode without a draft."""
    apps.get(request, "workflow", "advanced-chat")
    raise ApiError(400, "draft_workflow_not_exist", "Draft workflow need to be initialized.")


@route("DELETE", ONE)
@login_required
def delete(request: Request) -> Response:
    apps.delete(request, apps.get(request))
    return no_content()
