"""What the worker does with one document: parsing, splitting, indexing; each step shows in its row."""

from __future__ import annotations

import hashlib
import logging
import time
import uuid
from pathlib import Path
from typing import Any

from . import db, embedding, extract, files
from .accounts import App
from .http import ApiError
from .keywords import keywords
from .models import Models
from .ollama import OllamaError
from .splitter import Rules, tokens
from .vectors import VectorError

log = logging.getLogger("dify_api.indexing")

_BATCH = 10  # segments that are embedded and counted together


class Gone(Exception):
    """The document was deleted while it was being indexed."""


class Indexer:
    """Indexes documents of one knowledge base."""

    def __init__(self, app: App, dataset: db.Row) -> None:
        self.app = app
        self.dataset = dataset
        self.id = str(dataset["id"])

    def run(self, document_id: str) -> None:
        """Index a document; what goes wrong becomes its status and error."""
        started = time.monotonic()
        try:
            self._set(document_id, "indexing_status = 'parsing', processing_started_at = now()")
            texts = self._parse(document_id)
            segments = self._split(document_id, texts)
            self._set(document_id, "indexing_status = 'indexing'")
            count = sum(
                self._index(document_id, segments[n : n + _BATCH]) for n in range(0, len(segments), _BATCH)
            )
            self._set(
                document_id,
                "indexing_status = 'completed', completed_at = now(), tokens = %s, indexing_latency = %s, error = NULL,"
                " updated_at = now()",
                count, time.monotonic() - started,
            )  # fmt: skip
        except Gone:
            self.clear(document_id)
        except (ApiError, OllamaError, VectorError, extract.ExtractError, ValueError) as error:
            text = error.invocation if isinstance(error, OllamaError) else str(error)
            log.exception("consume document failed")
            self._fail(document_id, text)

    def _set(self, document_id: str, changes: str, *values: object) -> None:
        """:raises Gone: if the document is not there any more."""
        row = self.app.database.one(
            f"UPDATE documents SET {changes} WHERE id = %s RETURNING id",  # noqa: S608
            *values, document_id,
        )  # fmt: skip
        if row is None:
            raise Gone(document_id)

    def _fail(self, document_id: str, text: str) -> None:
        self.app.database.execute(
            "UPDATE documents SET indexing_status = 'error', error = %s, stopped_at = now() WHERE id = %s",
            text, document_id,
        )  # fmt: skip

    def _row(self, document_id: str) -> db.Row:
        row = self.app.database.one("SELECT * FROM documents WHERE id = %s", document_id)
        if row is None:
            raise Gone(document_id)
        return row

    def _parse(self, document_id: str) -> list[str]:
        row = self._row(document_id)
        upload = files.find(self.app, str(row["tenant_id"]), row["data_source_info"]["upload_file_id"])
        if upload is None:
            raise ValueError("upload file not found")
        texts = extract.texts(Path(self.app.settings.storage_path) / upload["key"], upload["extension"])
        self._set(
            document_id,
            "indexing_status = 'splitting', word_count = %s, parsing_completed_at = now()",
            sum(map(len, texts)),
        )  # fmt: skip
        return texts

    def _split(self, document_id: str, texts: list[str]) -> list[db.Row]:
        """Cut and keep the segments, still waiting for their index."""
        row = self._row(document_id)
        rule = self.app.database.one(
            "SELECT mode, rules FROM dataset_process_rules WHERE id = %s", str(row["dataset_process_rule_id"])
        ) or {"mode": "automatic", "rules": None}
        largest = self.app.settings.integers["INDEXING_MAX_SEGMENTATION_TOKENS_LENGTH"]
        pieces = Rules.of(rule["mode"], rule["rules"], largest).segments(texts)
        segments = []
        quality = self.dataset["indexing_technique"] == "high_quality"
        for position, text in enumerate(pieces, 1):
            made = self.app.database.one(
                "INSERT INTO document_segments (tenant_id, dataset_id, document_id, position, content, word_count, tokens,"
                " index_node_id, index_node_hash, created_by) SELECT tenant_id, dataset_id, id, %s, %s, %s, %s, %s, %s,"
                " created_by FROM documents WHERE id = %s RETURNING *",
                position, text, len(text), tokens(text) if quality else 0, str(uuid.uuid4()),
                hashlib.sha256(f"{text}None".encode()).hexdigest(), document_id,
            )  # fmt: skip
            if made is None:
                raise Gone(document_id)
            segments.append(made)
        self._set(document_id, "cleaning_completed_at = now(), splitting_completed_at = now()")
        self.app.database.execute(
            "UPDATE document_segments SET status = 'indexing', indexing_at = now() WHERE document_id = %s",
            document_id,
        )
        return segments

    def _index(self, document_id: str, segments: list[db.Row]) -> int:
        """Index some segments; returns their tokens."""
        self._row(document_id)
        self._vectors(segments)
        with self.app.database.transaction() as cursor:
            for segment in segments:
                cursor.execute(
                    "UPDATE document_segments SET keywords = %s, status = 'completed', completed_at = now() WHERE id = %s",
                    (db.as_json(keywords(segment["content"])), str(segment["id"])),
                )
        return sum(segment["tokens"] for segment in segments)

    def _vectors(self, segments: list[db.Row]) -> None:
        if self.dataset["indexing_technique"] != "high_quality" or not segments:
            return
        models = Models(self.app.database, str(self.dataset["tenant_id"]))
        model = models.client(self.dataset["embedding_model"], "text-embedding")
        entries = [
            (_properties(segment), embedding.of_segment(self.app.database, model, segment["content"]))
            for segment in segments
        ]
        self.app.vectors.add(self.id, entries)

    def clear(self, document_id: str) -> None:
        """Remove segments and vectors of a document.

        :raises VectorError: if the vector store is away.
        """
        if self.dataset["indexing_technique"] == "high_quality":
            self.app.vectors.remove(self.id, document_id)
        self.app.database.execute("DELETE FROM document_segments WHERE document_id = %s", document_id)

    def replace(self, document_id: str) -> None:
        """Index a document anew; the old segments go first."""
        try:
            self.clear(document_id)
        except VectorError as error:
            self._fail(document_id, str(error))
            return
        self.run(document_id)

    def restore_vectors(self, document_id: str) -> None:
        """Put the segments that are there into the vector store again."""
        segments: list[Any] = self.app.database.all(
            "SELECT * FROM document_segments WHERE document_id = %s AND status = 'completed' ORDER BY position",
            document_id,
        )
        for n in range(0, len(segments), _BATCH):
            self._vectors(segments[n : n + _BATCH])


def _properties(segment: db.Row) -> dict[str, str]:
    return {
        "text": segment["content"],
        "doc_id": segment["index_node_id"],
        "document_id": str(segment["document_id"]),
        "dataset_id": str(segment["dataset_id"]),
        "doc_hash": segment["index_node_hash"],
    }
