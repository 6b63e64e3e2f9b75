"""Knowledge bases: rows, how they are shown, and what both interfaces do with them."""

from __future__ import annotations

from typing import Any

from . import db, jobs
from .accounts import App
from .http import ApiError, FieldError, Request
from .models import Models

DEFAULT_RETRIEVAL: dict[str, Any] = {
    "search_method": "semantic_search",
    "reranking_enable": False,
    "reranking_model": {"reranking_provider_name": "", "reranking_model_name": ""},
    "top_k": 2,
    "score_threshold_enabled": False,
}
_COUNTS = (
    "SELECT d.*, (SELECT count(*) FROM app_dataset_joins j JOIN apps a ON a.id = j.app_id WHERE j.dataset_id = d.id) AS app_count,"
    " (SELECT count(*) FROM documents o WHERE o.dataset_id = d.id) AS document_count,"
    " (SELECT coalesce(sum(word_count), 0) FROM documents o WHERE o.dataset_id = d.id) AS word_count FROM datasets d"
)


def valid_name(value: Any) -> str:
    """1 to 40 characters; the text of the error begins with a sentence about something else, as in the real server."""
    if not isinstance(value, str) or not 1 <= len(value) <= 40:
        raise ValueError("type is required. Name must be between 1 to 40 characters.")
    return value


def valid_description(value: Any) -> str:
    """At most 400 characters."""
    if len(str(value)) > 400:
        raise ValueError("Description cannot exceed 400 characters.")
    return str(value)


def valid_technique(value: Any) -> str:
    """high_quality or economy."""
    if value not in ("high_quality", "economy"):
        raise ValueError("Invalid indexing technique.")
    return str(value)


def get(request: Request, name: str = "dataset") -> db.Row:
    """The knowledge base that a path names, with its counts.

    :raises ApiError: 404.
    """
    row = find(request.app, request.tenant, request[name])
    if row is None:
        raise ApiError(404, "not_found", "Dataset not found.")
    return row


def find(app: App, tenant: str, dataset_id: str) -> db.Row | None:
    """A knowledge base of a workspace, with its counts."""
    return app.database.one(f"{_COUNTS} WHERE d.id = %s AND d.tenant_id = %s", dataset_id, tenant)


def page(request: Request, number: int, limit: int, keyword: str = "") -> tuple[list[db.Row], int]:
    """Newest first: the rows of a page, and how many there are in all."""
    where = "WHERE d.tenant_id = %s AND d.name ILIKE %s"
    values = (request.tenant, f"%{keyword}%")
    rows = request.app.database.all(
        f"{_COUNTS} {where} ORDER BY d.created_at DESC LIMIT %s OFFSET %s",
        *values, limit, (number - 1) * limit,
    )  # fmt: skip
    total = request.app.database.one(f"SELECT count(*) AS n FROM datasets d {where}", *values)  # noqa: S608
    return rows, total["n"] if total else 0


def create(request: Request, name: str, technique: str | None, description: str = "") -> db.Row:
    """A new knowledge base; high_quality takes the default embedding model of this moment.

    :raises ApiError: 409 if the name is taken.
    :raises RuntimeError: without an embedding model: the real server crashes.
    """
    app = request.app
    if app.database.one(
        "SELECT 1 AS n FROM datasets WHERE tenant_id = %s AND name = %s", request.tenant, name
    ):
        raise ApiError(
            409, "dataset_name_duplicate", "The dataset name already exists. Please modify your dataset name."
        )
    model = default_embedding(app, request.tenant) if technique == "high_quality" else None
    row = app.database.one(
        "INSERT INTO datasets (tenant_id, name, description, indexing_technique, embedding_model,"
        " embedding_model_provider, created_by, updated_by) VALUES (%s, %s, %s, %s, %s, %s, %s, %s) RETURNING id",
        request.tenant, name, description, technique, model, "ollama" if model else None,
        str(request.account["id"]), str(request.account["id"]),
    )  # fmt: skip
    assert row is not None
    found = find(app, request.tenant, str(row["id"]))
    assert found is not None
    return found


def default_embedding(app: App, tenant: str) -> str:
    """The workspace's embedding model.

    :raises RuntimeError: if there is none, or the default was removed.
    """
    models = Models(app.database, tenant)
    row = models.default("text-embedding")
    if row is None or models.credentials(row["model_name"], "text-embedding") is None:
        raise RuntimeError("Default model not found for text-embedding")
    return str(row["model_name"])


def delete(app: App, dataset: db.Row) -> None:
    """Apps that use it are not asked; the worker removes documents, uploads and vectors."""
    app.database.execute("DELETE FROM datasets WHERE id = %s", str(dataset["id"]))
    jobs.push(app.broker, "clean_dataset", str(dataset["id"]), dataset["indexing_technique"])


def model_available(app: App, dataset: db.Row) -> bool:
    """Can what is in it be searched by vectors still? Economy needs no model."""
    if dataset["indexing_technique"] != "high_quality":
        return True
    return (
        Models(app.database, str(dataset["tenant_id"])).credentials(
            dataset["embedding_model"], "text-embedding"
        )
        is not None
    )


def check_model(app: App, dataset: db.Row) -> None:
    """:raises ValueError: if the embedding model was removed: documents can neither be added nor deleted then."""
    if not model_available(app, dataset):
        raise ValueError(
            f"The dataset in unavailable, due to: Model {dataset['embedding_model']} credentials is not initialized."
        )


def shown(app: App, row: db.Row, available: bool = True) -> dict[str, Any]:
    """A knowledge base as the API shows it.

    :param available: find out whether its embedding model is there; creating and changing answers leave that open.
    """
    names = (
        "name", "description", "provider", "permission", "data_source_type", "indexing_technique", "app_count",
        "document_count", "embedding_model", "embedding_model_provider",
    )  # fmt: skip
    retrieval = row["retrieval_model"] or DEFAULT_RETRIEVAL
    model = retrieval.get("reranking_model") or {}
    whole = {
        **{
            name: retrieval.get(name)
            for name in ("search_method", "reranking_enable", "reranking_mode", "weights")
        },
        "reranking_model": {
            name: model.get(name) for name in ("reranking_provider_name", "reranking_model_name")
        },
        **{name: retrieval.get(name) for name in ("top_k", "score_threshold_enabled", "score_threshold")},
    }
    external = row["retrieval_model"] or {"top_k": 2, "score_threshold": 0.0}
    return {
        "id": str(row["id"]),
        **{name: row[name] for name in names},
        "word_count": int(row["word_count"]),
        "created_by": db.text_id(row["created_by"]),
        "created_at": db.seconds(row["created_at"]),
        "updated_by": db.text_id(row["updated_by"]),
        "updated_at": db.seconds(row["updated_at"]),
        "embedding_available": model_available(app, row) if available else None,
        "retrieval_model_dict": whole,
        "tags": [],
        "external_knowledge_info": dict.fromkeys(
            (
                "external_knowledge_id",
                "external_knowledge_api_id",
                "external_knowledge_api_name",
                "external_knowledge_api_endpoint",
            )
        ),
        "external_retrieval_model": {name: external.get(name) for name in ("top_k", "score_threshold")},
    }


def change(app: App, dataset: db.Row, given: dict[str, Any], account: db.Row) -> None:
    """Change a knowledge base. What is left out stays, except the retrieval settings: these are reset.

    A change of technique or embedding model starts a new indexing, of which no call tells how far it is.

    :raises FieldError: if the new name is taken.
    """
    dataset_id = str(dataset["id"])
    names = ("name", "description", "permission")
    values: dict[str, Any] = {name: given[name] for name in names if name in given}
    if "name" in values:
        taken = app.database.one(
            "SELECT 1 AS n FROM datasets WHERE tenant_id = %s AND name = %s AND id <> %s",
            str(dataset["tenant_id"]), values["name"], dataset_id,
        )  # fmt: skip
        if taken:
            raise FieldError("name", "The dataset name already exists.")
    technique = given.get("indexing_technique")
    reindex = ""
    if technique and technique != dataset["indexing_technique"]:
        values["indexing_technique"] = technique
        reindex = "add" if technique == "high_quality" else "remove"
    if technique == "high_quality":
        model = given.get("embedding_model")
        if reindex == "add" or model != dataset["embedding_model"]:
            if (
                not model
                or Models(app.database, str(dataset["tenant_id"])).credentials(model, "text-embedding")
                is None
            ):
                raise ValueError(
                    "No Embedding Model available. Please configure a valid provider in the Settings -> Model Provider."
                )
            reindex = reindex or "update"
        values.update(embedding_model=model, embedding_model_provider=given.get("embedding_model_provider"))
    elif reindex == "remove":
        values.update(embedding_model=None, embedding_model_provider=None)
    values["retrieval_model"] = db.as_json(given["retrieval_model"]) if given.get("retrieval_model") else None
    values["updated_by"] = str(account["id"])
    columns = ", ".join(f"{name} = %s" for name in values)
    app.database.execute(
        f"UPDATE datasets SET {columns}, updated_at = now() WHERE id = %s",  # noqa: S608
        *values.values(), dataset_id,
    )  # fmt: skip
    if reindex:
        jobs.push(app.broker, "reindex_dataset", dataset_id, reindex)
