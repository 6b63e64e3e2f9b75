"""Golden questions: asked through the assistant's service API, judged by what the answer holds and which documents it cites.

HTTP 200 and an answer prove nothing: with broken retrieval the model makes something up. So a missing citation is followed up, and the
cause is named (knowledge base empty, embedding model gone, vector store down ...).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from difyfleet.checks import Check
from difyfleet.clients.dify import Answer, AppService, Dataset, Dify, DifyError, RetrievalModel
from difyfleet.clients.dify.console.hit_testing import LONGEST_QUERY
from difyfleet.spec.content import Golden, plain
from difyfleet.spec.document_files import document_name

USER = "difyfleet-verify"  # whose conversations are ours to delete
_SHOWN = 160  # characters of an answer that evidence shows


@dataclass(frozen=True)
class Judgement:
    """Whether an answer is as it should be, and what speaks against it."""

    faults: tuple[str, ...]
    uncited: tuple[str, ...]  # documents that should have been cited and were not


def ask(service: AppService, golden: Golden) -> Answer:
    """Ask, by a stream, and leave no conversation behind.

    Raises:
        DifyError: the app or its model failed.
    """
    answer = service.ask_streaming(golden.ask, USER, timeout=max(60.0, golden.max_seconds))
    if answer.conversation_id:
        service.delete_conversation(answer.conversation_id, USER)
    return answer


def judge(golden: Golden, answer: Answer, refusals: Iterable[str]) -> Judgement:
    """Compare an answer with what is expected of it."""
    text = plain(answer.text)
    faults = [f"lacks {fact!r}" for fact in golden.facts if plain(fact) not in text]
    cited = {citation.document_name for citation in answer.citations}
    uncited = tuple(name for name in golden.cited if document_name(name) not in cited)
    faults += [f"does not cite {name}" for name in uncited]
    if golden.refuses and not any(plain(phrase) in text for phrase in refusals):
        faults.append("should say that it does not know, and says something else")
    if answer.seconds > golden.max_seconds:
        faults.append(f"took {answer.seconds:.1f} s, {golden.max_seconds:g} s allowed")
    if not text:
        faults.append("is empty")
    return Judgement(tuple(faults), uncited)


def check(
    name: str,
    golden: Golden,
    service: AppService,
    refusals: Sequence[str],
    cause: Callable[[str], str | None],
) -> Check:
    """One golden question as a check.

    Args:
        name: of the assistant.
        cause: looks for the reason when nothing was cited at all; the question -> a sentence, or None.
    """
    title = f"golden: {name}: {golden.ask}"
    try:
        answer = ask(service, golden)
    except DifyError as error:
        return Check(title, False, error.what, error.hint)
    judgement = judge(golden, answer, refusals)
    if not judgement.faults:
        return Check(title, True, evidence(answer))
    reason = cause(golden.ask) if judgement.uncited and not answer.citations else None
    said = f"the answer {', '.join(judgement.faults)}; {evidence(answer)}"
    return Check(title, False, f"{reason}; {said}" if reason else said, _hint(judgement, answer, reason))


def evidence(answer: Answer) -> str:
    """An answer for people: its words, its documents, its times."""
    words = " ".join(answer.text.split())
    shown = words if len(words) <= _SHOWN else f"{words[:_SHOWN]}..."
    names = list(dict.fromkeys(citation.document_name for citation in answer.citations))
    first = f"first word after {answer.first_token:.1f} s, " if answer.first_token is not None else ""
    return f"“{shown}” cites {', '.join(names) or 'nothing'} ({first}all {answer.seconds:.1f} s)"


def _hint(judgement: Judgement, answer: Answer, reason: str | None) -> str:
    if reason:
        return "difyfleet verify --role knowledge --role dify_models; then difyfleet apply"
    if judgement.uncited and answer.citations:
        return "other documents were found: raise top_k, look at the segmentation, or ask in the document's own words"
    if judgement.uncited:
        return "nothing was retrieved: lower score_threshold, or ask in the document's own words"
    return "the documents were read, the model's words are not as wanted: try the prompt, temperature 0, or a larger model"


def why_nothing_was_found(
    dify: Dify, question: str, datasets: Sequence[Dataset], citations: bool
) -> str | None:
    """The cause of an answer without citations, looked for by a search of each knowledge base, which fails aloud where chats stay silent.

    Args:
        datasets: those that the assistant should use, as they are now.
        citations: whether the app's citation switch is on.
    """
    if not citations:
        return "citations are switched off in the app"
    if not datasets:
        return "no knowledge base is attached to the app"
    for dataset in datasets:
        reason = trouble(dify, dataset, question)
        if reason:
            return reason
    return None


def trouble(dify: Dify, dataset: Dataset, question: str) -> str | None:
    """Why a knowledge base finds nothing for a question; None when it finds something."""
    label = f"knowledge base {dataset.name}"
    if dataset.document_count == 0:
        return f"{label} is empty"
    if not dataset.embedding_available:
        return f"{label}: its embedding model {dataset.embedding_model} is not in Dify any more"
    if dataset.indexing_technique == "economy":
        search = RetrievalModel.for_technique("economy", dataset.retrieval.top_k)
    else:
        search = dataset.retrieval
    try:
        hits = dify.hit_testing.search(dataset.id, question[:LONGEST_QUERY], search)
    except DifyError as error:
        return f"{label} cannot be searched: {explained(error.what)}"
    return None if hits else f"{label} finds nothing for the question"


def explained(error: str) -> str:
    """The server's words about a failed search, with the part of the stack that they are about in front."""
    lowered = error.lower()
    if "weaviate" in lowered or "vector database" in lowered or ":8080" in lowered:
        return f"the vector store (weaviate) does not answer ({error[:200]})"
    if "11434" in lowered or "ollama" in lowered or "embed" in lowered:
        return f"the embedding model does not answer ({error[:200]})"
    return error[:300]
