"""What the service API tells of an app and of a user's conversations."""

from __future__ import annotations

from typing import Any

from . import apps, db
from .chat_routes import not_there
from .fields import Argument, identifier, number, query
from .http import ApiError, Request, route
from .service_auth import app_key, end_user

_PARAMETERS = (
    "opening_statement", "suggested_questions", "suggested_questions_after_answer", "speech_to_text", "text_to_speech",
    "retriever_resource", "annotation_reply", "more_like_this", "user_input_form", "sensitive_word_avoidance", "file_upload",
)  # fmt: skip
_NO_PARENT = "00000000-0000-0000-0000-000000000000"


@route("GET", "/v1/parameters")
@app_key()
def parameters(request: Request) -> Any:
    row = apps.config_row(request.app.database, request.account)
    if row is None:
        raise ApiError(400, "app_unavailable", "App unavailable, please check your app configurations.")
    limits = request.app.settings.integers
    return {
        **{name: row["configs"][name] for name in _PARAMETERS},
        "system_parameters": {
            "image_file_size_limit": limits["UPLOAD_IMAGE_FILE_SIZE_LIMIT"],
            "video_file_size_limit": limits["UPLOAD_VIDEO_FILE_SIZE_LIMIT"],
            "audio_file_size_limit": limits["UPLOAD_AUDIO_FILE_SIZE_LIMIT"],
            "file_size_limit": limits["UPLOAD_FILE_SIZE_LIMIT"],
            "workflow_file_upload_limit": 10,
        },
    }


@route("GET", "/v1/info")
@app_key()
def info(request: Request) -> Any:
    return {"name": request.account["name"], "description": request.account["description"]}


@route("GET", "/v1/meta")
@app_key()
def meta(request: Request) -> Any:
    return {"tool_icons": {}}


@route("GET", "/v1/conversations")
@app_key(user="query")
def conversations(request: Request) -> Any:
    limit = query(request, limit=Argument(number(1, 100), default=20))["limit"]
    rows = request.app.database.all(
        "SELECT * FROM conversations WHERE app_id = %s AND from_end_user_id = %s AND NOT is_deleted"
        " ORDER BY updated_at DESC LIMIT %s",
        str(request.account["id"]), end_user(request, request.query["user"]), limit + 1,
    )  # fmt: skip
    names = ("name", "inputs", "status", "introduction")
    data = [
        {
            "id": str(row["id"]),
            **{name: row[name] for name in names},
            "created_at": db.seconds(row["created_at"]),
            "updated_at": db.seconds(row["updated_at"]),
        }
        for row in rows[:limit]
    ]
    return {"limit": limit, "has_more": len(rows) > limit, "data": data}


def _conversation(request: Request, conversation_id: str, user: str) -> db.Row:
    """:raises ApiError: 404 if it is not this user's."""
    row = request.app.database.one(
        "SELECT * FROM conversations WHERE id = %s AND app_id = %s AND from_end_user_id = %s AND NOT is_deleted",
        conversation_id, str(request.account["id"]), end_user(request, user),
    )  # fmt: skip
    if row is None:
        raise not_there()
    return dict(row)


@route("DELETE", "/v1/conversations/<uuid:conversation>")
@app_key(user="json")
def delete_conversation(request: Request) -> Any:
    row = _conversation(request, request["conversation"], request.json()["user"])
    request.app.database.execute("UPDATE conversations SET is_deleted = true WHERE id = %s", str(row["id"]))
    return {"result": "success"}


@route("GET", "/v1/messages")
@app_key(user="query")
def messages(request: Request) -> Any:
    """The newest messages of a conversation, oldest of them first."""
    given = query(
        request,
        conversation_id=Argument(identifier, required=True),
        limit=Argument(number(1, 100), default=20),
    )
    row = _conversation(request, given["conversation_id"], request.query["user"])
    rows = request.app.database.all(
        "SELECT * FROM messages WHERE conversation_id = %s ORDER BY created_at DESC LIMIT %s",
        str(row["id"]), given["limit"] + 1,
    )  # fmt: skip
    data = [_message(request, message) for message in rows[: given["limit"]]][::-1]
    return {"limit": given["limit"], "has_more": len(rows) > given["limit"], "data": data}


def _message(request: Request, row: db.Row) -> dict[str, Any]:
    cited = request.app.database.all(
        "SELECT * FROM dataset_retriever_resources WHERE message_id = %s ORDER BY position", str(row["id"])
    )
    return {
        "id": str(row["id"]),
        "conversation_id": str(row["conversation_id"]),
        "parent_message_id": _NO_PARENT,
        "inputs": row["inputs"],
        "query": row["query"],
        "answer": row["answer"],
        "message_files": [],
        "feedback": None,
        "retriever_resources": [_resource(entry) for entry in cited],
        "created_at": db.seconds(row["created_at"]),
        "agent_thoughts": [],
        "status": row["status"],
        "error": row["error"],
    }


def _resource(row: db.Row) -> dict[str, Any]:
    names = ("position", "dataset_name", "document_name", "data_source_type", "score", "content")
    return {
        **{name: str(row[name]) for name in ("id", "message_id", "dataset_id", "document_id", "segment_id")},
        **{name: row[name] for name in names},
        "hit_count": 0,
        "word_count": 0,
        "segment_position": 0,
        "index_node_hash": None,
        "created_at": db.seconds(row["created_at"]),
    }
