"""Segments of a document, as the console lists them and a search shows them."""

from __future__ import annotations

from typing import Any

from . import db, documents
from .accounts import login_required
from .document_routes import ONE
from .fields import Argument, number, query, string
from .http import Request, route

_NAMES = (
    "position", "content", "answer", "word_count", "tokens", "keywords", "index_node_id", "index_node_hash", "hit_count",
    "enabled", "status", "error",
)  # fmt: skip
_MOMENTS = ("disabled_at", "created_at", "indexing_at", "completed_at", "stopped_at")


def shown(row: db.Row) -> dict[str, Any]:
    """A segment."""
    return {
        **{name: str(row[name]) for name in ("id", "document_id", "created_by")},
        **{name: row[name] for name in _NAMES},
        "disabled_by": db.text_id(row["disabled_by"]),
        **{name: db.seconds(row[name]) for name in _MOMENTS},
    }


@route("GET", f"{ONE}/segments")
@login_required
def listing(request: Request) -> Any:
    _, document = documents.get(request)
    given = query(
        request,
        limit=Argument(number(1, 100000), default=20),
        last_id=Argument(string),
        keyword=Argument(string, default=""),
    )
    after = 0
    if given["last_id"]:
        last = request.app.database.one(
            "SELECT position FROM document_segments WHERE id::text = %s", given["last_id"]
        )
        after = last["position"] if last else 0
    rows = request.app.database.all(
        "SELECT * FROM document_segments WHERE document_id = %s AND position > %s AND content ILIKE %s ORDER BY position LIMIT %s",
        str(document["id"]), after, f"%{given['keyword']}%", given["limit"] + 1,
    )  # fmt: skip
    total = request.app.database.one(
        "SELECT count(*) AS n FROM document_segments WHERE document_id = %s", str(document["id"])
    )
    return {
        "data": [shown(row) for row in rows[: given["limit"]]],
        "doc_form": document["doc_form"],
        "has_more": len(rows) > given["limit"],
        "limit": given["limit"],
        "total": total["n"] if total else 0,
    }
