"""Console calls on documents."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from . import datasets, db, documents, extract, files, jobs
from .accounts import login_required
from .dataset_routes import API, paging
from .fields import Argument, array, body, boolean, choice, mapping, string
from .http import ApiError, Request, Response, no_content, route
from .splitter import Rules

ONE = f"{API}/<uuid:dataset>/documents/<uuid:document>"
ADD = {
    "indexing_technique": Argument(choice("high_quality", "economy")),
    "data_source": Argument(mapping),
    "process_rule": Argument(mapping),
    "duplicate": Argument(boolean, default=True),
    "original_document_id": Argument(string),
    "doc_form": Argument(string, default="text_model"),
    "doc_language": Argument(string, default="English"),
    "retrieval_model": Argument(mapping),
}
_BUSY_SECONDS = 600


@route("GET", f"{API}/<uuid:dataset>/documents")
@login_required
def listing(request: Request) -> Any:
    return page(request, datasets.get(request))


def page(request: Request, dataset: db.Row) -> dict[str, Any]:
    """A page of a knowledge base's documents."""
    number, limit, keyword = paging(request)
    rows, total = documents.page(request.app, str(dataset["id"]), number, min(limit, 100), keyword)
    data = [documents.shown(request.app, row) for row in rows]
    return {"data": data, "has_more": len(rows) == limit, "limit": limit, "total": total, "page": number}


@route("POST", f"{API}/<uuid:dataset>/documents")
@login_required
def add(request: Request) -> Any:
    dataset = datasets.get(request)
    given = body(request, **ADD)
    if not dataset["indexing_technique"] and not given["indexing_technique"]:
        raise ValueError("indexing_technique is required.")
    documents.check(given)
    datasets.check_model(request.app, dataset)
    rows, batch = documents.add(request, dataset, given)
    return {"documents": [documents.shown(request.app, row) for row in rows], "batch": batch}


@route("POST", f"{API}/init")
@login_required
def init(request: Request) -> Any:
    """Knowledge base and documents in one go, a new one at each call; a bad upload leaves one without a name behind."""
    given = body(
        request,
        **{
            **ADD,
            "indexing_technique": Argument(choice("high_quality", "economy"), required=True),
            "data_source": Argument(mapping, required=True),
            "process_rule": Argument(mapping, required=True),
            "embedding_model": Argument(string),
            "embedding_model_provider": Argument(string),
        },
    )
    quality = given["indexing_technique"] == "high_quality"
    if quality and not (given["embedding_model"] and given["embedding_model_provider"]):
        raise ValueError(
            "embedding model and embedding model provider are required for high quality indexing."
        )
    documents.check(given)
    app = request.app
    row = app.database.one(
        "INSERT INTO datasets (tenant_id, name, data_source_type, indexing_technique, embedding_model,"
        " embedding_model_provider, retrieval_model, created_by) VALUES (%s, '', 'upload_file', %s, %s, %s, %s, %s) RETURNING id",
        request.tenant, given["indexing_technique"], given["embedding_model"] if quality else None,
        "ollama" if quality else None, db.as_json(given["retrieval_model"]) if given["retrieval_model"] else None,
        str(request.account["id"]),
    )  # fmt: skip
    assert row is not None
    dataset = datasets.find(app, request.tenant, str(row["id"]))
    assert dataset is not None
    rows, batch = documents.add(request, dataset, given)
    first = rows[0]["name"]
    app.database.execute(
        "UPDATE datasets SET name = %s, description = %s WHERE id = %s",
        f"{first[:18]}...", f"useful for when you want to answer queries about the {first}", str(row["id"]),
    )  # fmt: skip
    dataset = datasets.find(app, request.tenant, str(row["id"]))
    assert dataset is not None
    names = (
        "id", "name", "description", "permission", "data_source_type", "indexing_technique", "created_by", "created_at",
    )  # fmt: skip
    whole = datasets.shown(app, dataset)
    return {
        "dataset": {name: whole[name] for name in names},
        "documents": [documents.shown(app, row) for row in rows],
        "batch": batch,
    }


@route("POST", f"{API}/indexing-estimate")
@login_required
def estimate(request: Request) -> Any:
    """Segments of uploads under a rule, without keeping anything."""
    given = body(
        request,
        info_list=Argument(mapping, required=True),
        process_rule=Argument(mapping, required=True),
        indexing_technique=Argument(choice("high_quality", "economy"), required=True),
    )
    documents.check_rule(given)
    app, rule = request.app, given["process_rule"]
    rules = Rules.of(
        rule["mode"], rule["rules"], app.settings.integers["INDEXING_MAX_SEGMENTATION_TOKENS_LENGTH"]
    )
    found: list[str] = []
    for file_id in array(given["info_list"]["file_info_list"]["file_ids"]):
        upload = files.find(app, request.tenant, file_id)
        if upload is None:
            raise ApiError(404, "not_found", "File not found.")
        path = Path(app.settings.storage_path) / upload["key"]
        found += rules.segments(extract.texts(path, upload["extension"]))
    return {"total_segments": len(found), "preview": found[:5]}


@route("GET", f"{API}/<uuid:dataset>/batch/<batch>/indexing-status")
@login_required
def batch_status(request: Request) -> Any:
    return status_of_batch(request, datasets.get(request))


def status_of_batch(request: Request, dataset: db.Row) -> dict[str, Any]:
    """:raises ApiError: 404 for a batch that has no documents."""
    data = documents.statuses(request.app, str(dataset["id"]), "AND batch = %s", request["batch"])
    if not data:
        raise ApiError(404, "not_found", "Documents not found.")
    return {"data": data}


@route("GET", f"{API}/<uuid:dataset>/indexing-status")
@login_required
def dataset_status(request: Request) -> Any:
    return {"data": documents.statuses(request.app, str(datasets.get(request)["id"]))}


@route("GET", f"{ONE}/indexing-status")
@login_required
def one_status(request: Request) -> Any:
    return documents.status(documents.get(request)[1])


@route("GET", ONE)
@login_required
def detail(request: Request) -> Any:
    _, row = documents.get(request)
    rule = request.app.database.one(
        "SELECT mode, rules FROM dataset_process_rules WHERE id = %s", str(row["dataset_process_rule_id"])
    )
    shown = documents.shown(request.app, row)
    left_out = ("data_source_detail_dict", "tokens", "word_count")
    return {
        **{name: value for name, value in shown.items() if name not in left_out},
        "data_source_info": shown["data_source_detail_dict"],
        "dataset_process_rule": dict(rule) if rule else None,
        "created_at": float(shown["created_at"]),
        "tokens": row["tokens"],
        "completed_at": db.seconds(row["completed_at"]),
        "updated_at": db.seconds(row["updated_at"]),
        "indexing_latency": row["indexing_latency"],
        "doc_type": row["doc_type"],
        "doc_metadata": row["doc_metadata"],
        "segment_count": row["segments"],
        "average_segment_length": (row["word_count"] or 0) // row["segments"] if row["segments"] else 0,
        "doc_language": row["doc_language"],
    }


@route("PUT", f"{ONE}/metadata")
@login_required
def set_metadata(request: Request) -> Any:
    _, row = documents.get(request)
    given = body(
        request, doc_type=Argument(string, required=True), doc_metadata=Argument(mapping, required=True)
    )
    request.app.database.execute(
        "UPDATE documents SET doc_type = %s, doc_metadata = %s, updated_at = now() WHERE id = %s",
        given["doc_type"], db.as_json(given["doc_metadata"]), str(row["id"]),
    )  # fmt: skip
    return {"result": "success", "message": "Document metadata updated."}


@route("POST", f"{ONE}/rename")
@login_required
def rename(request: Request) -> Any:
    _, row = documents.get(request)
    name = body(request, name=Argument(string, required=True))["name"]
    request.app.database.execute("UPDATE documents SET name = %s WHERE id = %s", name, str(row["id"]))
    return documents.shown(request.app, documents.get(request)[1])


@route("PATCH", f"{ONE}/status/<action>")
@login_required
def set_status(request: Request) -> Any:
    """enable, disable, archive, un_archive. The worker changes the index; until it has, another change is refused."""
    dataset, row = documents.get(request)
    datasets.check_model(request.app, dataset)
    action, document_id = request["action"], str(row["id"])
    busy = f"document_{document_id}_indexing"
    if request.app.redis.get(busy):
        raise _invalid("Document is being indexed, please try again later")
    changes = {"enable": ("enabled", True), "disable": ("enabled", False), "archive": ("archived", True),
               "un_archive": ("archived", False)}  # fmt: skip
    if action not in changes:
        raise _invalid(f"Invalid action: {action}")
    column, value = changes[action]
    if action == "disable" and row["indexing_status"] != "completed":
        raise _invalid("Document is not completed.")
    if row[column] == value:
        raise _invalid(
            f"Document {'already ' if value else 'is not '}{column}."
            if action != "disable"
            else "Document already disabled."
        )
    request.app.redis.setex(busy, _BUSY_SECONDS, 1)
    off = column == "enabled" and not value
    request.app.database.execute(
        f"UPDATE documents SET {column} = %s, disabled_at = CASE WHEN %s THEN now() END, disabled_by = %s, updated_at = now()"  # noqa: S608
        " WHERE id = %s",
        value, off, str(request.account["id"]) if off else None, document_id,
    )  # fmt: skip
    jobs.push(
        request.app.broker,
        "add_to_index" if action in ("enable", "un_archive") else "remove_from_index",
        document_id,
    )
    return {"result": "success"}


def _invalid(message: str) -> ApiError:
    return ApiError(400, "invalid_action", message)


@route("DELETE", ONE)
@login_required
def delete(request: Request) -> Response:
    remove(request)
    return no_content()


def remove(request: Request) -> None:
    """Delete a document, whatever its state; the worker removes segments, vectors and the upload."""
    dataset, row = documents.get(request)
    datasets.check_model(request.app, dataset)
    request.app.database.execute("DELETE FROM documents WHERE id = %s", str(row["id"]))
    upload = row["data_source_info"]["upload_file_id"]
    jobs.push(request.app.broker, "clean_document", str(dataset["id"]), str(row["id"]), upload)
