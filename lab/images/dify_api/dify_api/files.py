"""Uploads: limits, the upload itself, a preview of its text. Contents lie below the storage path, rows in ``upload_files``."""

from __future__ import annotations

import hashlib
import uuid
from pathlib import Path
from typing import Any

from . import extract
from .accounts import App, login_required
from .db import Row, seconds, text_id
from .http import ApiError, Request, Response, route
from .multipart import File, parse

_KNOWLEDGE = ("txt", "markdown", "md", "pdf", "html", "htm", "xlsx", "xls", "docx", "csv")
_LIMITS = {  # extensions -> the setting of their limit (MB)
    ("jpg", "jpeg", "png", "webp", "gif", "svg"): "UPLOAD_IMAGE_FILE_SIZE_LIMIT",
    ("mp4", "mov", "mpeg", "mpga"): "UPLOAD_VIDEO_FILE_SIZE_LIMIT",
    ("mp3", "m4a", "wav", "webm", "amr"): "UPLOAD_AUDIO_FILE_SIZE_LIMIT",
}
_LONGEST_NAME = 200
_PREVIEW = 3000  # characters


def store(app: App, tenant: str, account: Row, file: File, source: str = "") -> Row:
    """Keep an upload; returns its row.

    :param source: ``datasets`` restricts the extensions.
    :raises ApiError: 415 for a type that is not allowed, 413 above the limit of its kind.
    """
    name = file.name
    extension = name.rpartition(".")[2].lower()
    if len(name) > _LONGEST_NAME:
        name = f"{name.rpartition('.')[0][:_LONGEST_NAME]}.{extension}"
    if source == "datasets" and extension not in _KNOWLEDGE:
        raise ApiError(415, "unsupported_file_type", "File type not allowed.")
    setting = next(
        (limit for kinds, limit in _LIMITS.items() if extension in kinds), "UPLOAD_FILE_SIZE_LIMIT"
    )
    if len(file.content) > app.settings.integers[setting] * 1024 * 1024:
        raise ApiError(413, "file_too_large", "File size exceeded. {message}")
    key = f"upload_files/{tenant}/{uuid.uuid4()}.{extension}"
    path = Path(app.settings.storage_path) / key
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(file.content)
    row = app.database.one(
        "INSERT INTO upload_files (tenant_id, key, name, size, extension, mime_type, created_by, hash)"
        " VALUES (%s, %s, %s, %s, %s, %s, %s, %s) RETURNING *",
        tenant, key, name, len(file.content), extension, file.content_type, str(account["id"]),
        hashlib.sha3_256(file.content).hexdigest(),
    )  # fmt: skip
    assert row is not None
    return row


def find(app: App, tenant: str, file_id: str) -> Row | None:
    """The row of an upload, if it is there."""
    return app.database.one("SELECT * FROM upload_files WHERE id = %s AND tenant_id = %s", file_id, tenant)


def remove(app: App, file_id: str) -> None:
    """Forget an upload and delete its content."""
    row = app.database.one("DELETE FROM upload_files WHERE id = %s RETURNING key", file_id)
    if row:
        (Path(app.settings.storage_path) / row["key"]).unlink(missing_ok=True)


def shown(row: Row) -> dict[str, Any]:
    """An upload as the API shows it."""
    names = ("name", "size", "extension", "mime_type")
    return {
        "id": str(row["id"]),
        **{name: row[name] for name in names},
        "created_by": text_id(row["created_by"]),
        "created_at": seconds(row["created_at"]),
    }


@route("GET", "/console/api/files/upload")
@login_required
def limits(request: Request) -> Any:
    numbers = request.app.settings.integers
    return {
        "file_size_limit": numbers["UPLOAD_FILE_SIZE_LIMIT"],
        "batch_count_limit": numbers["UPLOAD_FILE_BATCH_LIMIT"],
        "image_file_size_limit": numbers["UPLOAD_IMAGE_FILE_SIZE_LIMIT"],
        "video_file_size_limit": numbers["UPLOAD_VIDEO_FILE_SIZE_LIMIT"],
        "audio_file_size_limit": numbers["UPLOAD_AUDIO_FILE_SIZE_LIMIT"],
        "workflow_file_upload_limit": 10,
    }


@route("GET", "/console/api/files/support-type")
@login_required
def support_type(request: Request) -> Any:
    return {"allowed_extensions": [*_KNOWLEDGE, *(extension.upper() for extension in _KNOWLEDGE)]}


@route("POST", "/console/api/files/upload")
@login_required
def upload(request: Request) -> Response:
    """Only the form's own field ``source`` restricts the extensions; one in the query does not."""
    form = parse(request)
    row = store(request.app, request.tenant, request.account, form.file(), form.fields.get("source", ""))
    return Response(shown(row), 201)


@route("GET", "/console/api/files/<uuid:file>/preview")
@login_required
def preview(request: Request) -> Any:
    row = find(request.app, request.tenant, request["file"])
    if row is None:
        raise ApiError(404, "not_found", "File not found")
    if row["extension"] not in _KNOWLEDGE:
        raise ApiError(415, "unsupported_file_type", "File type not allowed.")
    path = Path(request.app.settings.storage_path) / row["key"]
    return {"content": "\n".join(extract.texts(path, row["extension"]))[:_PREVIEW]}
