"""Documents of a knowledge base: rows, how they are shown, and how they are added."""

from __future__ import annotations

import random
import time
from typing import Any

from . import datasets, db, files, jobs
from .accounts import App
from .http import ApiError, Request

_RUNNING = ("parsing", "cleaning", "splitting", "indexing")
_MOMENTS = (
    "processing_started_at", "parsing_completed_at", "cleaning_completed_at", "splitting_completed_at", "completed_at",
    "paused_at", "stopped_at",
)  # fmt: skip
_WITH_HITS = (
    "SELECT d.*, (SELECT coalesce(sum(s.hit_count), 0) FROM document_segments s WHERE s.document_id = d.id) AS hits,"
    " (SELECT count(*) FROM document_segments s WHERE s.document_id = d.id) AS segments,"
    " (SELECT count(*) FROM document_segments s WHERE s.document_id = d.id AND s.completed_at IS NOT NULL) AS done"
    " FROM documents d"
)


def find(app: App, dataset_id: str, document_id: str) -> db.Row | None:
    """A document of a knowledge base."""
    return app.database.one(
        f"{_WITH_HITS} WHERE d.id::text = %s AND d.dataset_id = %s", document_id, dataset_id
    )


def get(request: Request) -> tuple[db.Row, db.Row]:
    """Knowledge base and document that a path names.

    :raises ApiError: 404.
    """
    dataset = datasets.get(request)
    row = find(request.app, str(dataset["id"]), request["document"])
    if row is None:
        raise ApiError(404, "not_found", "Document not found.")
    return dataset, row


def page(app: App, dataset_id: str, number: int, limit: int, keyword: str) -> tuple[list[db.Row], int]:
    """Newest first: the rows of a page, and how many there are in all."""
    where, values = "WHERE d.dataset_id = %s AND d.name ILIKE %s", (dataset_id, f"%{keyword}%")
    rows = app.database.all(
        f"{_WITH_HITS} {where} ORDER BY d.created_at DESC, d.position DESC LIMIT %s OFFSET %s",
        *values, limit, (number - 1) * limit,
    )  # fmt: skip
    total = app.database.one(f"SELECT count(*) AS n FROM documents d {where}", *values)  # noqa: S608
    return rows, total["n"] if total else 0


def statuses(app: App, dataset_id: str, condition: str = "", *values: object) -> list[dict[str, Any]]:
    """How far the documents are.

    :param condition: more SQL, beginning with AND.
    """
    rows = app.database.all(
        f"{_WITH_HITS} WHERE d.dataset_id = %s {condition} ORDER BY d.position",
        dataset_id, *values,
    )  # fmt: skip
    return [status(row) for row in rows]


def status(row: db.Row) -> dict[str, Any]:
    """How far one document is."""
    return {
        "id": str(row["id"]),
        "indexing_status": row["indexing_status"],
        **{name: db.seconds(row[name]) for name in _MOMENTS},
        "error": row["error"],
        "completed_segments": row["done"],
        "total_segments": row["segments"],
    }


def display_status(row: db.Row) -> str:
    """One word for lists."""
    state = row["indexing_status"]
    if state == "waiting":
        return "queuing"
    if state in _RUNNING:
        return "indexing"
    if state in ("error", "paused"):
        return str(state)
    if row["archived"]:
        return "archived"
    return "available" if row["enabled"] else "disabled"


def upload_of(app: App, row: db.Row) -> dict[str, Any] | None:
    """The upload behind a document, as answers repeat it."""
    found = files.find(app, str(row["tenant_id"]), row["data_source_info"]["upload_file_id"])
    return {**files.shown(found), "created_at": db.exact_seconds(found["created_at"])} if found else None


def shown(app: App, row: db.Row) -> dict[str, Any]:
    """A document as lists and creating answers show it."""
    upload = upload_of(app, row)
    return {
        "id": str(row["id"]),
        "position": row["position"],
        "data_source_type": row["data_source_type"],
        "data_source_info": row["data_source_info"],
        "data_source_detail_dict": {"upload_file": upload} if upload else {},
        "dataset_process_rule_id": db.text_id(row["dataset_process_rule_id"]),
        "name": row["name"],
        "created_from": row["created_from"],
        "created_by": db.text_id(row["created_by"]),
        "created_at": db.seconds(row["created_at"]),
        "tokens": row["tokens"] or 0,
        "indexing_status": row["indexing_status"],
        "error": row["error"],
        "enabled": row["enabled"],
        "disabled_at": db.seconds(row["disabled_at"]),
        "disabled_by": db.text_id(row["disabled_by"]),
        "archived": row["archived"],
        "display_status": display_status(row),
        "word_count": row["word_count"] or 0,
        "hit_count": int(row["hits"]),
        "doc_form": row["doc_form"],
    }


def check(given: dict[str, Any]) -> None:
    """:raises ValueError: if source or rule of documents that are to be added are not whole."""
    source = given.get("data_source")
    if not source:
        raise ValueError("Data source is required")
    if source.get("type") != "upload_file":
        raise ValueError("Data source type is invalid")
    if not source.get("info_list"):
        raise ValueError("Data source info is required")
    if not source["info_list"].get("file_info_list"):
        raise ValueError("File source info is required")
    check_rule(given)


def check_rule(given: dict[str, Any]) -> None:
    """:raises ValueError: if the process rule is not whole. The size is looked at later, by the worker."""
    rule = given.get("process_rule")
    if not rule:
        raise ValueError("Process rule is required")
    if not rule.get("mode"):
        raise ValueError("Process rule mode is required")
    if rule["mode"] not in ("automatic", "custom"):
        raise ValueError("Process rule mode is invalid")
    if rule["mode"] == "automatic":
        rule["rules"] = {}
        return
    rules = rule.get("rules")
    if not rules:
        raise ValueError("Process rule rules is required")
    if rules.get("pre_processing_rules") is None:
        raise ValueError("Process rule pre_processing_rules is required")
    cut = rules.get("segmentation")
    if not cut:
        raise ValueError("Process rule segmentation is required")
    if not cut.get("separator"):
        raise ValueError("Process rule segmentation separator is required")
    if not isinstance(cut.get("max_tokens"), int):
        raise ValueError("Process rule segmentation max_tokens is invalid")


def add(
    request: Request, dataset: db.Row, given: dict[str, Any], created_from: str = "web"
) -> tuple[list[db.Row], str]:
    """Add uploads as documents: rows and batch. Indexing is the worker's.

    With ``duplicate`` (true by default) an enabled document of the same file name is replaced in place: it keeps its id.

    :raises RuntimeError: if an upload is not there: the real server crashes, and what was made before stays.
    """
    app, dataset_id = request.app, str(dataset["id"])
    _complete(request, dataset, given)
    batch = time.strftime("%Y%m%d%H%M%S") + str(random.randint(100000, 999999))  # noqa: S311
    rule = app.database.one(
        "INSERT INTO dataset_process_rules (dataset_id, mode, rules, created_by) VALUES (%s, %s, %s, %s) RETURNING id",
        dataset_id, given["process_rule"]["mode"], db.as_json(given["process_rule"].get("rules")), str(request.account["id"]),
    )  # fmt: skip
    assert rule is not None
    new, replaced = [], []
    for file_id in given["data_source"]["info_list"]["file_info_list"]["file_ids"]:
        upload = files.find(app, request.tenant, file_id)
        if upload is None:
            raise RuntimeError(f"upload {file_id} is not there")
        same = _same_name(app, dataset_id, upload["name"]) if given.get("duplicate", True) else None
        values = (db.as_json({"upload_file_id": file_id}), str(rule["id"]), batch, created_from)
        form = (given.get("doc_form") or "text_model", given.get("doc_language") or "English")
        if same:
            app.database.execute(
                "UPDATE documents SET data_source_info = %s, dataset_process_rule_id = %s, batch = %s, created_from = %s,"
                " doc_form = %s, doc_language = %s, indexing_status = 'waiting', updated_at = now()"
                " WHERE id = %s",
                *values, *form, same,
            )  # fmt: skip
            replaced.append(same)
            continue
        row = app.database.one(
            "INSERT INTO documents (data_source_info, dataset_process_rule_id, batch, created_from, doc_form, doc_language,"
            " tenant_id, dataset_id, position, data_source_type, name, created_by) VALUES (%s, %s, %s, %s, %s, %s, %s, %s,"
            " (SELECT coalesce(max(position), 0) + 1 FROM documents WHERE dataset_id = %s), 'upload_file', %s, %s) RETURNING id",
            *values, *form, request.tenant, dataset_id, dataset_id, upload["name"], str(request.account["id"]),
        )  # fmt: skip
        assert row is not None
        new.append(str(row["id"]))
    if new:
        jobs.push(app.broker, "index_documents", dataset_id, new)
    if replaced:
        jobs.push(app.broker, "replace_documents", dataset_id, replaced)
    rows = [find(app, dataset_id, document_id) for document_id in [*new, *replaced]]
    return [row for row in rows if row], batch


def _same_name(app: App, dataset_id: str, name: str) -> str | None:
    row = app.database.one(
        "SELECT id FROM documents WHERE dataset_id = %s AND name = %s AND enabled AND data_source_type = 'upload_file'"
        " ORDER BY position LIMIT 1",
        dataset_id, name,
    )  # fmt: skip
    return str(row["id"]) if row else None


def _complete(request: Request, dataset: db.Row, given: dict[str, Any]) -> None:
    """The first documents give a knowledge base what it still lacks: source type, technique, retrieval settings."""
    values: dict[str, Any] = {}
    if not dataset["data_source_type"]:
        values["data_source_type"] = "upload_file"
    if not dataset["indexing_technique"]:
        values["indexing_technique"] = given["indexing_technique"]
        if given["indexing_technique"] == "high_quality":
            values["embedding_model"] = datasets.default_embedding(request.app, request.tenant)
            values["embedding_model_provider"] = "ollama"
        if not dataset["retrieval_model"]:
            values["retrieval_model"] = db.as_json(
                given.get("retrieval_model") or {**datasets.DEFAULT_RETRIEVAL}
            )
    if values:
        columns = ", ".join(f"{name} = %s" for name in values)
        request.app.database.execute(
            f"UPDATE datasets SET {columns} WHERE id = %s",  # noqa: S608
            *values.values(), str(dataset["id"]),
        )  # fmt: skip
