"""API keys of apps, and those of the workspace's knowledge bases: at most ten each, shown in full again and again."""

from __future__ import annotations

from typing import Any

from . import apps, db
from .accounts import login_required
from .http import ApiError, Request, Response, no_content, route

_MOST = 10


def bare(status: int, code: str, message: str) -> ApiError:
    """An error without the member ``status``."""
    error = ApiError(status, code, message)
    error.response = Response({"message": message, "code": code}, status)
    return error


def _shown(row: db.Row) -> dict[str, Any]:
    return {
        "id": str(row["id"]),
        "type": row["type"],
        "token": row["token"],
        "last_used_at": db.seconds(row["last_used_at"]),
        "created_at": db.seconds(row["created_at"]),
    }


def _owner(request: Request) -> tuple[str, str, str]:
    """Kind of the keys, column and id of their owner."""
    if "app" in request.parameters:
        return "app", "app_id", str(apps.get(request)["id"])
    return "dataset", "tenant_id", request.tenant


def _listing(request: Request) -> dict[str, Any]:
    kind, column, owner = _owner(request)
    rows = request.app.database.all(
        f"SELECT * FROM api_tokens WHERE type = %s AND {column} = %s ORDER BY created_at",  # noqa: S608
        kind, owner,
    )  # fmt: skip
    return {"data": [_shown(row) for row in rows]}


def _create(request: Request) -> dict[str, Any]:
    kind, column, owner = _owner(request)
    if len(_listing(request)["data"]) >= _MOST:
        raise bare(
            400, "max_keys_exceeded", f"Cannot create more than {_MOST} API keys for this resource type."
        )
    row = request.app.database.one(
        f"INSERT INTO api_tokens (type, {column}, token) VALUES (%s, %s, %s) RETURNING *",  # noqa: S608
        kind, owner, f"{kind}-{apps.token(24)}",
    )  # fmt: skip
    return _shown(row)


def _delete(request: Request) -> Response:
    kind, column, owner = _owner(request)
    row = request.app.database.one(
        f"DELETE FROM api_tokens WHERE id = %s AND type = %s AND {column} = %s RETURNING id",  # noqa: S608
        request["key"], kind, owner,
    )  # fmt: skip
    if row is None:
        raise bare(404, "unknown", "API key not found")
    return no_content()


@route("GET", "/console/api/apps/<uuid:app>/api-keys")
@login_required
def app_keys(request: Request) -> Any:
    return _listing(request)


@route("POST", "/console/api/apps/<uuid:app>/api-keys")
@login_required
def create_app_key(request: Request) -> Response:
    return Response(_create(request), 201)


@route("DELETE", "/console/api/apps/<uuid:app>/api-keys/<uuid:key>")
@login_required
def delete_app_key(request: Request) -> Response:
    return _delete(request)


@route("GET", "/console/api/datasets/api-keys")
@login_required
def dataset_keys(request: Request) -> Any:
    return _listing(request)


@route("POST", "/console/api/datasets/api-keys")
@login_required
def create_dataset_key(request: Request) -> Any:
    """200 where the app's call says 201."""
    return _create(request)


@route("DELETE", "/console/api/datasets/api-keys/<uuid:key>")
@login_required
def delete_dataset_key(request: Request) -> Response:
    return _delete(request)
