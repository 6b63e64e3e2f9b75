"""What must fit between models, knowledge bases and assistants of one host: found before any host is contacted."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping

from difyfleet.spec.content import (
    ECONOMY,
    EMBEDDING,
    HIGH_QUALITY,
    KEYWORD,
    LLM,
    Assistant,
    DifyModel,
    Knowledge,
    Segmentation,
    default_of,
    shown_name,
)
from difyfleet.spec.document import Node
from difyfleet.spec.document_files import MB, document_name, documents_of
from difyfleet.spec.explain import did_you_mean
from difyfleet.spec.models import HostSpec
from difyfleet.spec.problems import Position, Problems

_MANY = 3  # files named in one warning


class _Where:
    """Positions of what was written; for what was not, of the nearest thing around it."""

    def __init__(self, node: Node | None, host: Node, section: str) -> None:
        self._node, self._host, self._section = node, host, section

    def __call__(self, *steps: str | int) -> tuple[Position, str]:
        if self._node is None:
            return self._host.key_at, self._section
        node = self._node
        for step in steps:
            below = node.child(step)
            if below is None:
                return node.key_at, node.path
            node = below
        return node.at, node.path


def check_content(
    spec: HostSpec, nodes: Mapping[str, Node | None], host: Node, failed: Container[str], problems: Problems
) -> None:
    """Check what one host declares to be inside Dify.

    Args:
        nodes: each section as written (merged), None where all is default.
        host: the host's own entry.
        failed: sections that are wrong in themselves.
    """
    if "dify" in failed or "ollama" in failed:
        return
    declared = (spec.knowledge or spec.assistants) and not spec.dify.enabled
    if declared:
        section = "assistants" if spec.assistants else "knowledge"
        problems.warn(
            *_Where(nodes.get(section), host, section)(), "has no effect: Dify is not enabled on this host"
        )
        return
    models = spec.dify_models
    _models(models, _Where(nodes.get("dify"), host, "dify"), problems)
    if "knowledge" not in failed:
        where = _Where(nodes.get("knowledge"), host, "knowledge")
        _names("knowledge base", spec.knowledge, where, problems)
        for key, knowledge in spec.knowledge.items():
            _knowledge(spec, key, knowledge, models, where, problems)
    if "assistants" not in failed and "knowledge" not in failed:
        where = _Where(nodes.get("assistants"), host, "assistants")
        _names("assistant", spec.assistants, where, problems)
        for key, assistant in spec.assistants.items():
            _assistant(spec, key, assistant, models, where, problems)


def _models(models: Iterable[DifyModel], where: _Where, problems: Problems) -> None:
    seen: set[tuple[str, str]] = set()
    for kind in (LLM, EMBEDDING):
        marked = [model.name for model in models if model.type == kind and model.default]
        if len(marked) > 1:
            problems.error(*where("models"), f"two defaults of type {kind}: {', '.join(marked)}")
    for model in models:
        if (model.name, model.type) in seen:
            problems.error(
                *where("models"), f"{model.name} ({model.type}) stands here twice with different values"
            )
        seen.add((model.name, model.type))


def _names(
    what: str, section: Mapping[str, Knowledge] | Mapping[str, Assistant], where: _Where, problems: Problems
) -> None:
    seen: dict[str, str] = {}
    for key, value in section.items():
        name = shown_name(key, value)
        if name in seen:
            problems.error(*where(key, "name"), f"the {what} {seen[name]} has the name {name!r} too")
        seen.setdefault(name, key)


def _knowledge(
    spec: HostSpec,
    key: str,
    knowledge: Knowledge,
    models: tuple[DifyModel, ...],
    where: _Where,
    problems: Problems,
) -> None:
    embedders = [model.name for model in models if model.type == EMBEDDING]
    if knowledge.indexing == HIGH_QUALITY:
        wanted = knowledge.embedding_model or default_of(models, EMBEDDING)
        if wanted is None:
            problems.error(
                *where(key, "indexing"),
                "high_quality needs an embedding model and none is declared: add one to ollama.models and dify.models "
                "(nomic-embed-text, say), or write indexing: economy",
            )
        elif wanted not in embedders:
            text = f"there is no embedding model {wanted!r} in dify.models{did_you_mean(wanted, embedders)}"
            problems.error(*where(key, "embedding_model"), text)
    elif knowledge.embedding_model is not None:
        problems.error(*where(key, "embedding_model"), "indexing: economy has no embedding model")
    method = knowledge.retrieval.method if knowledge.retrieval else None
    if knowledge.indexing == ECONOMY and method not in (None, KEYWORD):
        problems.error(
            *where(key, "retrieval", "method"), f"indexing: economy can only be searched by {KEYWORD}"
        )
    if knowledge.indexing == HIGH_QUALITY and method == KEYWORD:
        problems.error(*where(key, "retrieval", "method"), f"{KEYWORD} is the search of indexing: economy")
    cut = knowledge.segmentation
    if isinstance(cut, Segmentation) and cut.overlap >= cut.max_tokens:
        problems.error(
            *where(key, "segmentation", "overlap"), f"should be less than max_tokens ({cut.max_tokens})"
        )
    if (knowledge.include or knowledge.exclude) and knowledge.documents is None:
        problems.error(
            *where(key, "include" if knowledge.include else "exclude"),
            "there are no documents to choose from",
        )
    _documents(spec, key, knowledge, where, problems)


def _documents(spec: HostSpec, key: str, knowledge: Knowledge, where: _Where, problems: Problems) -> None:
    if knowledge.documents is None:
        return
    at = where(key, "documents")
    listing = documents_of(knowledge)
    for text in listing.problems:
        problems.error(*at, text)
    limit = spec.dify.upload_limit_mb
    for document in listing.documents:
        try:
            size = document.size()
        except (ValueError, OSError) as error:
            problems.error(*at, f"{document.path.name}: {error}")
            continue
        if size > limit * MB:
            problems.error(
                *at,
                f"{document.path.name} has {size / MB:.1f} MB, more than dify.upload_limit_mb ({limit}); "
                "raise the limit or split the file",
            )
    if listing.skipped:
        names = ", ".join(path.name for path in listing.skipped[:_MANY])
        more = f" and {len(listing.skipped) - _MANY} more" if len(listing.skipped) > _MANY else ""
        problems.warn(
            *at, f"left out, since Dify reads no such format: {names}{more}; name them under exclude"
        )
    elif not listing.documents and not listing.problems:
        problems.warn(*at, "holds no document; the knowledge base will be empty")


def _assistant(
    spec: HostSpec,
    key: str,
    assistant: Assistant,
    models: tuple[DifyModel, ...],
    where: _Where,
    problems: Problems,
) -> None:
    chat = [model.name for model in models if model.type == LLM]
    wanted = assistant.model or default_of(models, LLM)
    if wanted is None:
        problems.error(
            *where(key), "needs a model, and none of type llm is declared: see ollama.models and dify.models"
        )
    elif wanted not in chat:
        problems.error(
            *where(key, "model"),
            f"there is no model {wanted!r} of type llm in dify.models{did_you_mean(wanted, chat)}",
        )
    if assistant.prompt is not None and assistant.prompt_file is not None:
        problems.error(*where(key, "prompt_file"), "prompt is given too; one of them is enough")
    if assistant.prompt_file is not None:
        try:
            assistant.prompt_file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            problems.error(*where(key, "prompt_file"), f"cannot be read as UTF-8 text: {error}")
    known = [name for name in assistant.knowledge if name in spec.knowledge]
    for index, name in enumerate(assistant.knowledge):
        if name not in spec.knowledge:
            text = f"there is no knowledge base {name!r}{did_you_mean(name, spec.knowledge)}"
            problems.error(*where(key, "knowledge", index), text)
    documents = [spec.knowledge[name] for name in known]
    if assistant.merge == "by_score" and len({each.indexing for each in documents}) > 1:
        problems.error(
            *where(key, "merge"),
            "economy and high_quality knowledge bases have no scores that can be compared; Dify refuses such an assistant",
        )
    managed = all(each.documents is not None for each in documents)
    names = {document.name for each in documents for document in documents_of(each).documents}
    for index, golden in enumerate(assistant.golden):
        at = where(key, "golden", index)
        if not golden.facts and not golden.cited and not golden.refuses:
            problems.error(*at, "expects nothing: add contains, cites or refuses")
        if golden.refuses and (golden.facts or golden.cited):
            problems.error(
                *at, "an answer that refuses holds no facts and cites nothing; leave contains and cites out"
            )
        if golden.cited and not (assistant.citations and assistant.knowledge):
            problems.error(*at, "cites needs a knowledge base, and citations: true")
        elif managed:
            for name in golden.cited:
                if document_name(name) not in names:
                    problems.error(
                        *at, f"cites {name!r}, which is no document here{did_you_mean(name, names)}"
                    )
        if assistant.api_key is not True:
            problems.error(*at, "golden questions are asked through the service API, so api_key must be true")
