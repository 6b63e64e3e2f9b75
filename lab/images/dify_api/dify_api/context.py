"""What an app's knowledge bases have for a question, merged by the app's settings. What is broken is passed over in silence."""

from __future__ import annotations

import logging
from typing import Any

from . import datasets, db, model_config, retrieval
from .accounts import App
from .keywords import similarities
from .retrieval import Found

log = logging.getLogger("dify_api.context")


def find(app: App, tenant: str, config: dict[str, Any], query: str) -> list[Found]:
    """Segments for a question, best first.

    Mode ``multiple`` searches every knowledge base by its own settings; one whose search fails has nothing to say, as in the
    real server, where each runs in a thread whose exception is lost. Mode ``single`` has the model choose one; with small
    models that seldom ends well, and the stand-in asks nobody unless there is only one.

    :raises ValueError: if the app's settings cannot be served: techniques mixed, or a rerank model that is not there.
    """
    settings = config["dataset_configs"]
    rows = [datasets.find(app, tenant, name) for name in model_config.dataset_ids(config) if _is_uuid(name)]
    usable = [row for row in rows if row and retrieval.has_segments(app, row)]
    if not usable:
        return []
    if settings.get("retrieval_model") != "multiple":
        return _search(app, usable[0], query) if len(usable) == 1 else []
    rerank = settings.get("reranking_enabled", True)
    if rerank and settings.get("reranking_model"):
        name = settings["reranking_model"].get("reranking_provider_name", "")
        raise ValueError(f"Provider {name} does not exist.")
    techniques = [row["indexing_technique"] for row in usable]
    if len(set(techniques)) > 1 and not rerank:
        raise ValueError(
            "The configured knowledge base list have different indexing technique, please set reranking model."
        )
    found: list[Found] = []
    for row in usable:
        try:
            found += _search(app, row, query)
        except Exception:
            log.exception("Exception in thread of knowledge base %s", row["id"])
    if not rerank:
        found = _merged(found, query, techniques[0], settings)
    return sorted(found, key=lambda entry: -(entry.score or 0.0))


def _is_uuid(text: str) -> bool:
    return len(text) == 36 and text.count("-") == 4


def _search(app: App, dataset: db.Row, query: str) -> list[Found]:
    settings = retrieval.settings_of(dataset)
    if dataset["indexing_technique"] == "economy":
        settings = {**datasets.DEFAULT_RETRIEVAL, **settings, "search_method": "keyword_search"}
    return retrieval.search(app, dataset, query, settings)


def _merged(found: list[Found], query: str, technique: str, settings: dict[str, Any]) -> list[Found]:
    """Without reranking the app's own top_k counts, and its threshold whenever it is a number.

    :raises KeyError: for segments that were found by their words: they have no score, and the real server trips over that.
    """
    if technique == "economy":
        scores = similarities(query, [entry.segment["content"] for entry in found])
        for entry, score in zip(found, scores, strict=True):
            entry.score = score
    elif any(entry.score is None for entry in found):
        raise KeyError("score")
    least = settings.get("score_threshold") if technique == "high_quality" else None
    kept = [entry for entry in found if not least or (entry.score or 0.0) >= least]
    return sorted(kept, key=lambda entry: -(entry.score or 0.0))[: settings.get("top_k") or 4]


def resources(app: App, found: list[Found], source: str) -> list[dict[str, Any]]:
    """Citations of an answer; what is cited is counted at the segment.

    :param source: ``dev`` for the console, which shows more of each, or ``api``.
    """
    cited = []
    for position, entry in enumerate(found, 1):
        row = app.database.one(
            "UPDATE document_segments SET hit_count = hit_count + 1 WHERE id = %s RETURNING hit_count",
            str(entry.segment["id"]),
        )
        more = {
            "hit_count": row["hit_count"] if row else 0,
            "word_count": entry.segment["word_count"],
            "segment_position": entry.segment["position"],
            "index_node_hash": entry.segment["index_node_hash"],
        }
        cited.append(
            {
                "dataset_id": str(entry.dataset["id"]),
                "dataset_name": entry.dataset["name"],
                "document_id": str(entry.segment["document_id"]),
                "document_name": entry.document_name,
                "data_source_type": entry.data_source_type,
                "segment_id": str(entry.segment["id"]),
                "retriever_from": source,
                "score": entry.score or 0.0,
                **(more if source == "dev" else {}),
                "content": entry.segment["content"],
                "position": position,
            }
        )
    return cited
