"""content.golden: what makes an answer good, and what is said about a bad one."""

from __future__ import annotations

from typing import Any

import pytest

from difyfleet.clients.dify import Answer, Citation, Dataset, RetrievalModel
from difyfleet.clients.dify.errors import CompletionFailed, ServerCrashed
from difyfleet.content import golden
from difyfleet.spec.content import REFUSALS, Golden


def answer(text: str, *documents: str, seconds: float = 1.0) -> Answer:
    citations = tuple(
        Citation(n, "d", "手册", "doc", name, "s", 0.9, "...") for n, name in enumerate(documents, 1)
    )
    return Answer(text, "conversation", "message", citations, None, 0.5, seconds)


def faults(question: Golden, given: Answer) -> tuple[str, ...]:
    return golden.judge(question, given, REFUSALS).faults


@pytest.mark.parametrize(
    ("fact", "text"),
    [
        ("15 MB", "上限是15MB。"),
        ("串口没有收到数据", "E07：串口 没有收到数据."),
        ("ABC-1", "型号是ＡＢＣ－１"),
        ("may 2024", "In MAY\n2024."),
    ],
)
def test_blanks_case_and_full_width_do_not_count(fact: str, text: str) -> None:
    assert faults(Golden(ask="?", contains=fact), answer(text)) == ()


def test_every_fact_counts() -> None:
    assert faults(Golden(ask="?", contains=["12", "13"]), answer("12 点")) == ("lacks '13'",)


def test_documents_that_must_be_cited() -> None:
    question = Golden(ask="?", cites=["a.md", "b.jsonl"])
    assert faults(question, answer("x", "a.md", "b.jsonl.txt", "c.md")) == ()
    assert faults(question, answer("x", "a.md")) == ("does not cite b.jsonl",)
    assert golden.judge(question, answer("x"), REFUSALS).uncited == ("a.md", "b.jsonl")


@pytest.mark.parametrize(
    "text", ["文档中没有找到相关内容。", "抱歉，我不知道。", "I don't know.", "根据资料无法 回答"]
)
def test_refusals(text: str) -> None:
    assert faults(Golden(ask="?", refuses=True), answer(text)) == ()


def test_an_invented_answer_is_no_refusal() -> None:
    assert faults(Golden(ask="?", refuses=True), answer("年会在上海。")) == (
        "should say that it does not know, and says something else",
    )


def test_time_and_emptiness() -> None:
    assert faults(Golden(ask="?", contains=[], cites="a", max_seconds=2), answer("x", "a", seconds=2.5)) == (
        "took 2.5 s, 2 s allowed",
    )
    assert "is empty" in faults(Golden(ask="?", cites="a"), answer(" ", "a"))


class Service:
    """An app that answers as told and remembers what was deleted."""

    def __init__(self, given: Answer | Exception) -> None:
        self.given = given
        self.deleted: list[tuple[str, str]] = []

    def ask_streaming(self, query: str, user: str, **_: Any) -> Answer:
        if isinstance(self.given, Exception):
            raise self.given
        return self.given

    def delete_conversation(self, conversation: str, user: str) -> None:
        self.deleted.append((conversation, user))


def checked(question: Golden, given: Answer | Exception, cause: str | None = None) -> Any:
    service: Any = Service(given)
    return golden.check("helper", question, service, REFUSALS, lambda _: cause), service


def test_a_good_answer_shows_words_documents_and_times_and_leaves_no_conversation() -> None:
    check, service = checked(
        Golden(ask="几点？", contains="12", cites="a.md"), answer("12 点", "a.md", "a.md")
    )
    assert (check.name, check.ok) == ("golden: helper: 几点？", True)
    assert check.evidence == "“12 点” cites a.md (first word after 0.5 s, all 1.0 s)"
    assert service.deleted == [("conversation", golden.USER)]


def test_a_missing_citation_has_its_cause_in_front() -> None:
    check, _ = checked(Golden(ask="几点？", cites="a.md"), answer("13 点"), "knowledge base 手册 is empty")
    assert not check.ok
    assert check.evidence.startswith(
        "knowledge base 手册 is empty; the answer does not cite a.md; “13 点” cites nothing"
    )


def test_other_documents_cited_is_no_broken_retrieval() -> None:
    check, _ = checked(
        Golden(ask="几点？", cites="a.md"), answer("13 点", "b.md"), "should not be looked for"
    )
    assert "should not be looked for" not in check.evidence
    assert "top_k" in (check.hint or "")


def test_a_model_that_fails_is_a_failed_check() -> None:
    check, service = checked(Golden(ask="几点？", cites="a.md"), CompletionFailed("Server Unavailable Error"))
    assert (check.ok, check.evidence) == (False, "Server Unavailable Error")
    assert service.deleted == []


def dataset(**fields: Any) -> Dataset:
    base: dict[str, Any] = {
        "id": "d", "name": "手册", "description": "", "permission": "only_me", "indexing_technique": "high_quality",
        "embedding_model": "bge-m3", "embedding_model_provider": "ollama", "embedding_available": True,
        "retrieval": RetrievalModel(top_k=3), "document_count": 2, "word_count": 9, "app_count": 1,
    }  # fmt: skip
    return Dataset(**base | fields)


class Searching:
    """A server whose search answers as told."""

    def __init__(self, hits: list[str] | Exception) -> None:
        self.hits = hits
        self.methods: list[str] = []
        self.hit_testing = self

    def search(self, identity: str, query: str, search: RetrievalModel) -> list[str]:
        assert len(query) <= 250
        self.methods.append(search.search_method)
        if isinstance(self.hits, Exception):
            raise self.hits
        return self.hits


@pytest.mark.parametrize(
    ("found", "hits", "why"),
    [
        (dataset(document_count=0), [], "knowledge base 手册 is empty"),
        (
            dataset(embedding_available=False),
            [],
            "knowledge base 手册: its embedding model bge-m3 is not in Dify any more",
        ),
        (
            dataset(),
            ServerCrashed("Vector database connection error"),
            "knowledge base 手册 cannot be searched: the vector store (weaviate) does not answer (Vector database connection error)",
        ),
        (
            dataset(),
            ServerCrashed("HTTPConnectionPool(host='ollama', port=11434): refused"),
            "knowledge base 手册 cannot be searched: the embedding model does not answer (HTTPConnectionPool(host='ollama', port=11434): refused)",
        ),
        (dataset(), [], "knowledge base 手册 finds nothing for the question"),
        (dataset(), ["hit"], None),
    ],
)
def test_why_a_knowledge_base_finds_nothing(found: Dataset, hits: Any, why: str | None) -> None:
    server: Any = Searching(hits)
    assert golden.trouble(server, found, "问" * 300) == why


def test_an_economy_knowledge_base_is_searched_by_keywords() -> None:
    """Its own default is a semantic search, which crashes."""
    server: Any = Searching(["hit"])
    assert golden.trouble(server, dataset(indexing_technique="economy", embedding_model=None), "?") is None
    assert server.methods == ["keyword_search"]


def test_nearer_causes_come_first() -> None:
    server: Any = Searching(["hit"])
    assert (
        golden.why_nothing_was_found(server, "?", [dataset()], citations=False)
        == "citations are switched off in the app"
    )
    assert (
        golden.why_nothing_was_found(server, "?", [], citations=True)
        == "no knowledge base is attached to the app"
    )
    assert golden.why_nothing_was_found(server, "?", [dataset()], citations=True) is None
