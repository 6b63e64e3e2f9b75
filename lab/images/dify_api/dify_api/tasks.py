"""The worker's jobs, by the names under which the API server pushes them."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from . import files
from .accounts import App
from .indexing import Indexer

log = logging.getLogger("dify_api.tasks")

Task = Callable[..., None]


def _indexer(app: App, dataset_id: str) -> Indexer | None:
    row = app.database.one("SELECT * FROM datasets WHERE id = %s", dataset_id)
    return Indexer(app, row) if row else None


def index_documents(app: App, dataset_id: str, document_ids: list[str]) -> None:
    """Index new documents; all count as being parsed from the start, as in the real server."""
    indexer = _indexer(app, dataset_id)
    if indexer is None:
        return
    app.database.execute(
        "UPDATE documents SET indexing_status = 'parsing', processing_started_at = now() WHERE id::text = ANY(%s)",
        document_ids,
    )
    for document_id in document_ids:
        indexer.run(document_id)


def replace_documents(app: App, dataset_id: str, document_ids: list[str]) -> None:
    """Index documents anew whose upload has changed, or that ended in an error."""
    indexer = _indexer(app, dataset_id)
    for document_id in document_ids if indexer else ():
        assert indexer is not None
        indexer.replace(document_id)


def clean_document(app: App, dataset_id: str, document_id: str, file_id: str) -> None:
    """What a deleted document leaves: segments, vectors, its upload."""
    indexer = _indexer(app, dataset_id)
    if indexer:
        indexer.clear(document_id)
    files.remove(app, file_id)


def clean_dataset(app: App, dataset_id: str, technique: str | None) -> None:
    """What a deleted knowledge base leaves; uploads too, even if another knowledge base uses them."""
    rows = app.database.all("SELECT data_source_info FROM documents WHERE dataset_id = %s", dataset_id)
    for table in ("document_segments", "documents", "dataset_process_rules"):
        app.database.execute(f"DELETE FROM {table} WHERE dataset_id = %s", dataset_id)  # noqa: S608
    for row in rows:
        files.remove(app, row["data_source_info"]["upload_file_id"])
    if technique == "high_quality":
        app.vectors.remove_all(dataset_id)


def add_to_index(app: App, document_id: str) -> None:
    """A document was enabled."""
    _switch(app, document_id, on=True)


def remove_from_index(app: App, document_id: str) -> None:
    """A document was disabled or archived."""
    _switch(app, document_id, on=False)


def _switch(app: App, document_id: str, on: bool) -> None:
    row = app.database.one("SELECT * FROM documents WHERE id = %s", document_id)
    indexer = _indexer(app, str(row["dataset_id"])) if row else None
    if indexer:
        try:
            if indexer.dataset["indexing_technique"] == "high_quality":
                app.vectors.remove(indexer.id, document_id)
            if on:
                indexer.restore_vectors(document_id)
            app.database.execute(
                "UPDATE document_segments SET enabled = %s WHERE document_id = %s", on, document_id
            )
        finally:
            app.redis.delete(f"document_{document_id}_indexing")


def reindex_dataset(app: App, dataset_id: str, action: str) -> None:
    """The technique or the embedding model has changed.

    :param action: add, remove or update the vectors.
    """
    indexer = _indexer(app, dataset_id)
    if indexer is None:
        return
    app.vectors.remove_all(dataset_id)
    if action == "remove":
        return
    rows = app.database.all(
        "SELECT id FROM documents WHERE dataset_id = %s AND enabled AND NOT archived", dataset_id
    )
    for row in rows:
        indexer.restore_vectors(str(row["id"]))


def clean_app(app: App, app_id: str) -> None:
    """What a deleted app leaves: keys, sites, configurations, conversations."""
    for table in (
        "api_tokens",
        "sites",
        "app_model_configs",
        "app_dataset_joins",
        "messages",
        "conversations",
        "end_users",
    ):
        app.database.execute(f"DELETE FROM {table} WHERE app_id = %s", app_id)  # noqa: S608


TASKS: dict[str, Task] = {
    "index_documents": index_documents,
    "replace_documents": replace_documents,
    "retry_documents": replace_documents,
    "clean_document": clean_document,
    "clean_dataset": clean_dataset,
    "add_to_index": add_to_index,
    "remove_from_index": remove_from_index,
    "reindex_dataset": reindex_dataset,
    "clean_app": clean_app,
}


def run(app: App, name: str, arguments: list[Any]) -> None:
    """Run a job; what it raises is logged, as by Celery, and the worker goes on."""
    task = TASKS.get(name)
    if task is None:
        log.error("Received unregistered task of type %r.", name)
        return
    log.info("Task %s received: %s", name, arguments)
    try:
        task(app, *arguments)
    except Exception:
        log.exception("Task %s raised", name)
