"""How a knowledge base is searched, as one whole value: a partial object is stored without complaint and breaks every later search."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from difyfleet.clients.dify.fields import Fields

SEMANTIC, FULL_TEXT, HYBRID, KEYWORD = (
    "semantic_search",
    "full_text_search",
    "hybrid_search",
    "keyword_search",
)


@dataclass(frozen=True)
class RetrievalModel:
    """Search settings of a knowledge base, or of one hit test.

    Args:
        search_method: semantic_search (high_quality), keyword_search (economy), full_text_search, hybrid_search.
        top_k: segments at most. Dify's own default is 2.
        score_threshold: least score, 0 to 1; counts only while score_threshold_enabled.
        score_threshold_enabled: whether segments below the threshold are left out.
        reranking_enable: needs a rerank model, whose names are given next.
        reranking_mode: None, reranking_model or weighted_score.
        weights: for weighted_score, as Dify wants them.
    """

    search_method: str = SEMANTIC
    top_k: int = 3
    score_threshold: float | None = 0.5
    score_threshold_enabled: bool = False
    reranking_enable: bool = False
    reranking_provider_name: str = ""
    reranking_model_name: str = ""
    reranking_mode: str | None = None
    weights: dict[str, Any] | None = None

    @classmethod
    def for_technique(cls, indexing_technique: str | None, top_k: int = 3) -> RetrievalModel:
        """Settings that work for a technique: an economy knowledge base has no vectors, and its default (semantic) search crashes."""
        return cls(search_method=KEYWORD if indexing_technique == "economy" else SEMANTIC, top_k=top_k)

    def body(self) -> dict[str, Any]:
        """Every key that the server reads without a default (search_method, reranking_enable, score_threshold_enabled), always."""
        body: dict[str, Any] = {
            "search_method": self.search_method,
            "reranking_enable": self.reranking_enable,
            "reranking_model": {
                "reranking_provider_name": self.reranking_provider_name,
                "reranking_model_name": self.reranking_model_name,
            },
            "top_k": self.top_k,
            "score_threshold_enabled": self.score_threshold_enabled,
            "score_threshold": self.score_threshold,
        }
        if self.reranking_mode is not None:
            body["reranking_mode"] = self.reranking_mode
        if self.weights is not None:
            body["weights"] = self.weights
        return body


def parse_retrieval(data: Fields) -> RetrievalModel:
    """From the answer's `retrieval_model_dict`."""
    rerank = data.mapping("reranking_model")
    return RetrievalModel(
        search_method=data.text("search_method"),
        top_k=data.integer("top_k", 2),
        score_threshold=data.number("score_threshold", None),
        score_threshold_enabled=data.flag("score_threshold_enabled", False),
        reranking_enable=data.flag("reranking_enable", False),
        reranking_provider_name=str(rerank.get("reranking_provider_name") or ""),
        reranking_model_name=str(rerank.get("reranking_model_name") or ""),
        reranking_mode=data.text("reranking_mode", None),
        weights=dict(data.mapping("weights")) or None,
    )
