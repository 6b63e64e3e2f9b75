"""A knowledge base: what differs between the declaration and Dify, dataset and documents apart."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from difyfleet.clients.dify import (
    Dataset,
    DatasetSettings,
    Dify,
    DifyError,
    Document,
    ProcessRule,
    RetrievalModel,
)
from difyfleet.clients.dify import errors as refused
from difyfleet.content.state import KnownDocument, KnownKnowledge
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
from difyfleet.spec.document_files import LocalDocument, documents_of, sha256
from difyfleet.spec.models import HostSpec

PROVIDER = "ollama"
ADD, REPLACE, WAIT, ENABLE, REMOVE, KEEP = "add", "replace", "wait", "enable", "remove", "keep"


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


@dataclass(frozen=True)
class DocumentStep:
    """One document and what is to be done with it.

    Args:
        action: add, replace, wait (for the worker), enable, remove or keep.
        why: for people; empty for keep.
        document: as it is in Dify; None for add.
        local: the file; None for remove.
        sha256: of the file's content.
    """

    name: str
    action: str
    why: str
    document: Document | None = None
    local: LocalDocument | None = None
    sha256: str = ""


@dataclass(frozen=True)
class DocumentPlan:
    """All documents of a knowledge base. `foreign` are those in Dify that are not declared and not from here."""

    steps: tuple[DocumentStep, ...] = ()
    foreign: tuple[str, ...] = ()

    @property
    def changes(self) -> list[DocumentStep]:
        """The steps that do something."""
        return [step for step in self.steps if step.action != KEEP]


@dataclass(frozen=True)
class There:
    """What Dify has: its documents, and the SHA3-256 of uploads whose documents are not remembered."""

    documents: Sequence[Document] = ()
    sha3: Mapping[str, str] = field(default_factory=dict)  # by upload id


def unknown_uploads(known: KnownKnowledge | None, documents: Sequence[Document]) -> tuple[str, ...]:
    """Upload ids of documents that nothing is remembered about; their hashes decide whether they are adopted as they are."""
    entries = known.documents if known else {}
    return tuple(
        document.file_id
        for document in documents
        if document.file_id and (document.name not in entries or entries[document.name].id != document.id)
    )


def plan_documents(knowledge: Knowledge, known: KnownKnowledge | None, there: There) -> DocumentPlan:
    """What is to be done so that Dify has exactly the declared documents, and those of others stay.

    Raises:
        HostError: two documents of one name, none of which is known to be ours.
    """
    entries = known.documents if known else {}
    by_name: dict[str, list[Document]] = {}
    for one in there.documents:
        by_name.setdefault(one.name, []).append(one)
    steps = []
    rule = fingerprint(rule_of(knowledge))
    for local in documents_of(knowledge).documents:
        entry = entries.get(local.name)
        document = _one(local.name, by_name.get(local.name, []), entry)
        steps.append(
            _step(
                local,
                document,
                entry if document and entry and entry.id == document.id else None,
                rule,
                there,
            )
        )
    declared = {step.name for step in steps}
    foreign = []
    for name, same in sorted(by_name.items()):
        if name in declared:
            continue
        for each in same:
            ours = name in entries and entries[name].id == each.id
            if ours or knowledge.remove_undeclared_documents:
                steps.append(
                    DocumentStep(name, REMOVE, f"document {name}: in Dify, not declared any more", each)
                )
            else:
                foreign.append(name)
    return DocumentPlan(tuple(steps), tuple(foreign))


def _one(name: str, documents: Sequence[Document], entry: KnownDocument | None) -> Document | None:
    ours = [each for each in documents if entry and each.id == entry.id]
    if ours:
        return ours[0]
    if len(documents) > 1:
        ids = ", ".join(each.id for each in documents)
        raise HostError(
            f"{len(documents)} documents have this name: {ids}",
            where=f"document {name}",
            hint="delete all but one in Dify",
        )
    return documents[0] if documents else None


def _step(
    local: LocalDocument, document: Document | None, entry: KnownDocument | None, rule: str, there: There
) -> DocumentStep:
    content = local.content()
    digest = sha256(content)

    def step(action: str, why: str = "") -> DocumentStep:
        return DocumentStep(
            local.name, action, f"document {local.name}: {why}" if why else "", document, local, digest
        )

    if document is None:
        return step(ADD, "absent")
    why = _outdated(document, entry, rule, digest, content, there)
    if why:
        return step(REPLACE, why)
    if document.indexing_status in ("error", "paused"):
        return step(REPLACE, f"{document.indexing_status} {document.error or ''}".strip())
    if document.archived:
        return step(REPLACE, "archived in Dify")
    if document.indexing_status != "completed":
        return step(WAIT, f"{document.indexing_status}, not indexed yet")
    if document.word_count == 0 and content.strip():
        return step(REPLACE, "indexed without any text in it")
    if not document.enabled:
        return step(ENABLE, "switched off in Dify")
    return step(KEEP)


def _outdated(
    document: Document, entry: KnownDocument | None, rule: str, digest: str, content: bytes, there: There
) -> str:
    if entry is None:
        stored = there.sha3.get(document.file_id or "")
        if stored is None:
            return "nothing is known about its content"
        return "" if stored == hashlib.sha3_256(content).hexdigest() else "content differs from the file"
    if entry.sha256 != digest:
        return "content changed"
    if entry.file_id != document.file_id:
        return "replaced in Dify by another upload"
    if entry.rule_id and entry.rule_id != (document.rule_id or ""):
        return "segmented anew in Dify"
    return "segmentation changed" if entry.rule and entry.rule != rule else ""


def too_large(name: str, size: int, limit_mb: int) -> DifyError:
    """The error for a file over the server's limit; raised before anything is sent."""
    return refused.TooLarge(f"{name} has {size / 1024 / 1024:.1f} MB, Dify takes {limit_mb} MB")
