"""A knowledge base: what differs between the declaration and Dify, dataset and documents apart."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any

from difyfleet.clients.dify import (
    Dataset,
    DatasetSettings,
    Dify,
    ProcessRule,
    RetrievalModel,
)
from difyfleet.clients.dify import errors as refused
from difyfleet.content.state import KnownKnowledge
from difyfleet.errors import HostError
from difyfleet.spec.content import (
    ECONOMY,
    EMBEDDING,
    FULL_TEXT,
    HYBRID,
    Knowledge,
    Segmentation,
    default_of,
    shown_name,
)
from difyfleet.spec.models import HostSpec

PROVIDER = "ollama"


def embedding_of(spec: HostSpec, knowledge: Knowledge) -> str | None:
    """Name of its embedding model; None for economy."""
    if knowledge.indexing == ECONOMY:
        return None
    return knowledge.embedding_model or default_of(spec.dify_models, EMBEDDING)


def retrieval_of(spec: HostSpec, knowledge: Knowledge) -> RetrievalModel | None:
    """Its search settings, whole (a partial object breaks every later search); None = as they are."""
    search, method = knowledge.retrieval, knowledge.search_method
    if search is None:
        return None
    weights = None
    if (
        method == HYBRID
    ):  # without weights (or a rerank model) its hits have no score, and chats fail for want of one
        weights = {
            "weight_type": "customized",
            "vector_setting": {
                "vector_weight": search.vector_weight,
                "embedding_provider_name": PROVIDER,
                "embedding_model_name": embedding_of(spec, knowledge) or "",
            },
            "keyword_setting": {"keyword_weight": round(1 - search.vector_weight, 6)},
        }
    return RetrievalModel(
        search_method=method,
        top_k=search.top_k,
        score_threshold=search.score_threshold,
        score_threshold_enabled=search.score_threshold is not None,
        reranking_enable=False,
        reranking_mode="weighted_score" if weights else None,
        weights=weights,
    )


def needs_reranking_switch(knowledge: Sequence[Knowledge]) -> bool:
    """Whether an assistant on these must merge without scores: both techniques, or full-text hits, which have none."""
    return len({each.indexing for each in knowledge}) > 1 or any(
        each.search_method == FULL_TEXT for each in knowledge
    )


def settings_of(spec: HostSpec, key: str, now: Dataset) -> DatasetSettings:
    """The whole settings of a declared knowledge base; what is not declared is as it is now."""
    knowledge = spec.knowledge[key]
    model = embedding_of(spec, knowledge)
    return DatasetSettings(
        name=shown_name(key, knowledge),
        description=knowledge.description,
        permission=knowledge.permission or now.permission,
        indexing_technique=knowledge.indexing,
        embedding_model=model,
        embedding_model_provider=PROVIDER if model else None,
        retrieval=retrieval_of(spec, knowledge) or now.retrieval,
    )


def rule_of(knowledge: Knowledge) -> ProcessRule:
    """Its segmentation as the client takes it."""
    cut = knowledge.segmentation
    if not isinstance(cut, Segmentation):
        return ProcessRule()
    return ProcessRule(
        mode="custom",
        separator=cut.separator,
        max_tokens=cut.max_tokens,
        chunk_overlap=cut.overlap,
        remove_extra_spaces=cut.remove_extra_spaces,
        remove_urls_emails=cut.remove_urls_emails,
    )


def fingerprint(rule: ProcessRule) -> str:
    """A segmentation in 12 hex digits."""
    return hashlib.sha256(json.dumps(rule.body(), sort_keys=True).encode()).hexdigest()[:12]


def find(dify: Dify, known: KnownKnowledge | None, name: str) -> Dataset | None:
    """The knowledge base that is remembered, else the one of exactly this name.

    Raises:
        HostError: two of this name; the message lists both.
    """
    if known is not None:
        try:
            return dify.datasets.get(known.id)
        except (refused.NotFound, refused.Forbidden):
            pass
    return dify.datasets.find(name)


def settings_drift(now: Dataset, wanted: DatasetSettings) -> list[str]:
    """What is other than declared, each with both values.

    Raises:
        HostError: technique or embedding model of a knowledge base with documents would change. Dify would index everything anew without
            saying how far it is, and its vectors would be of two kinds meanwhile.
    """
    label = f"knowledge base {wanted.name}"
    found = [
        f"{label}: {field_} {getattr(now, field_)!r}, wanted {getattr(wanted, field_)!r}"
        for field_ in ("name", "description", "permission")
        if getattr(now, field_) != getattr(wanted, field_)
    ]
    basis = [
        f"{field_} {getattr(now, field_) or 'none'}, wanted {getattr(wanted, field_) or 'none'}"
        for field_ in ("indexing_technique", "embedding_model")
        if (getattr(now, field_) or None) != getattr(wanted, field_)
    ]
    if basis and now.document_count:
        raise HostError(
            f"{'; '.join(basis)}, and it has {now.document_count} documents",
            where=label,
            hint="give the knowledge base another name (a new one is made), and delete this one in Dify when nobody needs it",
        )
    found += [f"{label}: {each}" for each in basis]
    found += [f"{label}: search {each}" for each in retrieval_drift(now.retrieval, wanted.retrieval)]
    return found


def retrieval_drift(now: RetrievalModel, wanted: RetrievalModel) -> list[str]:
    """Differences of search settings that have an effect: a threshold that is switched off has none, weights only for hybrid search."""
    pairs: dict[str, tuple[Any, Any]] = {
        "method": (now.search_method, wanted.search_method),
        "top_k": (now.top_k, wanted.top_k),
        "score_threshold": (_threshold(now), _threshold(wanted)),
        "reranking": (now.reranking_enable, wanted.reranking_enable),
    }
    if wanted.weights is not None:
        pairs["weights"] = (_vector_weight(now), _vector_weight(wanted))
        pairs["reranking_mode"] = (now.reranking_mode, wanted.reranking_mode)
    return [f"{name} {was!r}, wanted {want!r}" for name, (was, want) in pairs.items() if was != want]


def _threshold(search: RetrievalModel) -> float | None:
    return search.score_threshold if search.score_threshold_enabled else None


def _vector_weight(search: RetrievalModel) -> float | None:
    found = (search.weights or {}).get("vector_setting", {}).get("vector_weight")
    return float(found) if found is not None else None
