"""Search in one knowledge base, by its own settings or by given ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from . import datasets, db, embedding
from .accounts import App
from .keywords import keywords, overlap, similarities
from .models import Models
from .vectors import Hit


@dataclass
class Found:
    """A segment that was found, with document and knowledge base."""

    segment: db.Row
    document_name: str
    data_source_type: str
    dataset: db.Row
    score: float | None


def has_segments(app: App, dataset: db.Row) -> bool:
    """Is there anything to search: a document that is indexed and enabled?"""
    row = app.database.one(
        "SELECT 1 AS n FROM documents d WHERE d.dataset_id = %s AND d.indexing_status = 'completed' AND d.enabled"
        " AND NOT d.archived LIMIT 1",
        str(dataset["id"]),
    )  # fmt: skip
    return row is not None


def search(app: App, dataset: db.Row, query: str, settings: dict[str, Any]) -> list[Found]:
    """Segments for a query.

    :param settings: search_method, top_k, score_threshold_enabled, score_threshold, reranking_enable, weights.
    :raises KeyError: if settings are not whole.
    :raises VectorError, OllamaError, ApiError: if what it needs is away.
    """
    method, limit = settings["search_method"], settings.get("top_k") or 2
    least = float(settings.get("score_threshold") or 0.0) if settings["score_threshold_enabled"] else 0.0
    settings["reranking_enable"]
    hits: list[Hit] = []
    if method == "keyword_search":
        hits = _by_keywords(app, dataset, query, limit)
    if method in ("semantic_search", "hybrid_search"):
        hits = app.vectors.nearest(str(dataset["id"]), _vector(app, dataset, query), limit, least)
    if method in ("full_text_search", "hybrid_search"):
        known = {hit.node for hit in hits}
        words = app.vectors.by_words(str(dataset["id"]), query, limit)
        hits += [hit for hit in words if hit.node not in known]
    found = _segments(app, dataset, hits)
    if (
        method == "hybrid_search"
        and settings.get("reranking_mode") == "weighted_score"
        and settings.get("weights")
    ):
        found = _weighted(app, dataset, query, found, settings["weights"], limit, least)
    return found


def _vector(app: App, dataset: db.Row, query: str) -> list[float]:
    """The query's vector; an economy knowledge base asks for the default model, and fails at the vector store."""
    models = Models(app.database, str(dataset["tenant_id"]))
    name = dataset["embedding_model"]
    if not name:
        default = models.default("text-embedding")
        name = default["model_name"] if default else ""
    return embedding.of_query(app.redis, models.client(name, "text-embedding"), query)


def _by_keywords(app: App, dataset: db.Row, query: str, limit: int) -> list[Hit]:
    wanted = keywords(query)
    rows = app.database.all(
        "SELECT index_node_id, keywords FROM document_segments WHERE dataset_id = %s AND enabled AND status = 'completed'"
        " ORDER BY created_at, position",
        str(dataset["id"]),
    )  # fmt: skip
    counted = [(overlap(wanted, row["keywords"] or []), row["index_node_id"]) for row in rows]
    ranked = sorted((entry for entry in counted if entry[0]), key=lambda entry: -entry[0])
    return [Hit(node, None) for _, node in ranked[:limit]]


def _segments(app: App, dataset: db.Row, hits: list[Hit]) -> list[Found]:
    """The rows behind hits, in their order; what is disabled or gone is left out."""
    rows = app.database.all(
        "SELECT s.*, d.name AS document_name, d.data_source_type FROM document_segments s JOIN documents d ON d.id = s.document_id"
        " WHERE s.dataset_id = %s AND s.index_node_id = ANY(%s) AND s.enabled AND s.status = 'completed'",
        str(dataset["id"]), [hit.node for hit in hits],
    )  # fmt: skip
    by_node = {row["index_node_id"]: row for row in rows}
    return [
        Found(row, row["document_name"], row["data_source_type"], dataset, hit.score)
        for hit in hits
        if (row := by_node.get(hit.node))
    ]


def _weighted(
    app: App,
    dataset: db.Row,
    query: str,
    found: list[Found],
    weights: dict[str, Any],
    limit: int,
    least: float,
) -> list[Found]:
    """Vector and keyword scores added by their weights."""
    words = similarities(query, [entry.segment["content"] for entry in found])
    vector = _vector(app, dataset, query)
    models = Models(app.database, str(dataset["tenant_id"]))
    model = models.client(dataset["embedding_model"], "text-embedding")
    for entry, word in zip(found, words, strict=True):
        score = entry.score
        if score is None:
            other = embedding.of_segment(app.database, model, entry.segment["content"])
            score = _cosine(vector, other)
        entry.score = (
            weights["vector_setting"]["vector_weight"] * score
            + weights["keyword_setting"]["keyword_weight"] * word
        )
    kept = [entry for entry in found if (entry.score or 0.0) >= least]
    return sorted(kept, key=lambda entry: -(entry.score or 0.0))[:limit]


def _cosine(left: list[float], right: list[float]) -> float:
    scale = (sum(x * x for x in left) * sum(x * x for x in right)) ** 0.5
    return sum(x * y for x, y in zip(left, right, strict=True)) / scale if scale else 0.0


def settings_of(dataset: db.Row) -> dict[str, Any]:
    """A knowledge base's own settings."""
    return dataset["retrieval_model"] or datasets.DEFAULT_RETRIEVAL
