"""The service API: the client against recorded exchanges."""

from __future__ import annotations

import pytest

from difyfleet.clients.dify import AppService, DatasetService, RetrievalModel
from difyfleet.clients.dify import errors as e
from difyfleet.secrets import Secret
from tests.contract.dify_replay import Replay, client, exchange, replays

BUILT = "When was the Blue Heron lighthouse built?"


def app(server: Replay) -> AppService:
    return client(server).app(Secret("<APP_API_KEY>"))


def knowledge(server: Replay) -> DatasetService:
    return client(server).knowledge(Secret("<DATASET_API_KEY>"))


@replays("app.ask", 225, 228)
def test_ask_with_citations(server: Replay) -> None:
    service = app(server)
    answer = service.ask(BUILT, "u1", name_conversation=True)
    assert "1874" in answer.text
    assert [citation.document_name for citation in answer.citations] == ["lighthouse.txt", "lighthouse.txt"]
    assert answer.citations[0].dataset_name == "kb-hq"
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens, answer.first_token) == (191, 22, None)
    more = service.ask("Who built it?", "u1", conversation_id=answer.conversation_id, name_conversation=True)
    assert more.conversation_id == answer.conversation_id


@replays("app.ask", 252, 254, 722, 723)
def test_ask_economy_and_mixed_knowledge_bases(server: Replay) -> None:
    service = app(server)
    question = "What is the mooring fee in crowns?"
    assert service.ask(question, "u1").citations[0].score == 0.0
    assert {citation.dataset_name for citation in service.ask(question, "u1").citations} == {
        "kb-hq",
        "kb-eco",
    }
    assert [
        citation.document_name for citation in service.ask("Who owns the tidal mill?", "c").citations
    ] == ["note.txt"]
    assert (
        len(service.ask("Who owns the tidal mill?", "c").citations) > 4
    )  # reranking on without a model: top_k does not count


@replays("app.ask", 300, 406, 451, 573, 258, 262)
def test_an_invented_answer_has_no_citations(server: Replay) -> None:
    """Knowledge base deleted, not indexed, vector store down, embedding model gone, citations off: 200, and something made up."""
    service = app(server)
    for number in (300, 406, 451, 573, 258, 262):
        answer = service.ask(exchange(number)["request_json"]["query"], "u1")
        assert answer.text
        assert answer.citations == ()


@replays("app.ask", 325, 364, 365, 372, 410, 716)
def test_ask_refused(server: Replay) -> None:
    service = app(server)
    for kind, words in (
        (e.Forbidden, "has been disabled"),
        (e.Forbidden, "no longer exists"),
        (e.NotLoggedIn, "token is invalid"),
        (e.ProviderNotReady, "credentials is not initialized"),
        (e.CompletionFailed, "Server Unavailable"),
        (e.InvalidRequest, "different indexing technique"),
    ):
        body = server.todo[0]["request_json"]
        body.setdefault(
            "response_mode", "blocking"
        )  # some were recorded without; the client always says both
        body.setdefault("auto_generate_name", False)
        with pytest.raises(kind, match=words):
            service.ask(body["query"], body["user"])


@replays("app.stream", 226)
def test_stream(server: Replay) -> None:
    events = list(app(server).stream("How much is the mooring fee per night?", "u1", name_conversation=True))
    assert [event.name for event in events] == ["message"] * (len(events) - 1) + ["message_end"]
    assert "".join(event.text for event in events).startswith("The mooring fee is 14")


@replays("app.ask_streaming", 226)
def test_ask_streaming(server: Replay) -> None:
    answer = app(server).ask_streaming("How much is the mooring fee per night?", "u1", name_conversation=True)
    assert answer.text.startswith("The mooring fee is 14")
    assert "harbour rules ünï.md" in {citation.document_name for citation in answer.citations}
    assert answer.first_token is not None
    assert 0 <= answer.first_token <= answer.seconds


@replays("app.ask_streaming", 234)
def test_a_stream_with_a_ping_and_all_scripts(server: Replay) -> None:
    assert (
        app(server).ask_streaming("Grüße 漁港 🚢?", "ü1", name_conversation=True).text
        == "The Harbour Master's Assistant."
    )


@replays("app.ask_streaming", 423)
def test_an_agents_stream(server: Replay) -> None:
    assert app(server).ask_streaming("hello", "u1").text.startswith("Hello!")


@replays("app.stream", 411, 373)
def test_a_stream_that_says_no(server: Replay) -> None:
    service = app(server)
    with pytest.raises(e.CompletionFailed, match="Server Unavailable") as caught:
        list(service.stream("When was the lighthouse built?", "u1"))
    assert caught.value.status == 400  # of the event: the answer itself was 200
    server.todo[0]["request_json"]["auto_generate_name"] = False
    with pytest.raises(e.ProviderNotReady):
        list(service.stream("x", "u1"))


def test_a_stream_that_ends_early() -> None:
    replay = Replay(226)
    replay.todo[0] |= {"response_sse_last_lines": [], "raw_lines_total": 8}
    with pytest.raises(e.NoAnswer, match="ended after 'message'"):
        app(replay).ask_streaming("How much is the mooring fee per night?", "u1", name_conversation=True)


@replays("app.parameters", 724)
@replays("app.info", 725)
def test_about(server: Replay) -> None:
    service = app(server)
    parameters = service.parameters()
    assert (parameters.opening_statement, parameters.citations) == ("您好", True)
    assert (parameters.suggested_questions, parameters.file_size_mb) == (("停泊费多少？",), 15)
    assert service.info() == ("Harbour", "new words")


@replays("app.conversations", 239)
@replays("app.delete_conversation", 713, 714)
def test_conversations(server: Replay) -> None:
    service = app(server)
    user = exchange(239)["query"]["user"]
    assert len(service.conversations(user)) == 3
    identity = exchange(714)["path"].rpartition("/")[2]
    with pytest.raises(e.NotFound, match="Conversation Not Exists"):
        service.delete_conversation(identity, "other")
    service.delete_conversation(identity, "check")


@replays("knowledge.all", 719)
@replays("knowledge.create", 342, 343)
def test_knowledge_bases(server: Replay) -> None:
    service = knowledge(server)
    assert "harbour" in service.all().values()
    assert service.create("kb-service") == "fc750cbf-a864-4f9c-b246-3610423043c4"
    server.todo[0]["request_json"] |= {
        "indexing_technique": "high_quality",
        "permission": "only_me",
    }  # recorded without
    with pytest.raises(e.NameTaken):
        service.create("kb-service")


@replays("knowledge.add_text", 344)
@replays("knowledge.status", 345)
@replays("knowledge.add_file", 346)
@replays("knowledge.documents", 720)
@replays("knowledge.retrieve", 348)
@replays("knowledge.delete_document", 349)
@replays("knowledge.delete", 350)
def test_documents_by_key(server: Replay) -> None:
    service = knowledge(server)
    base = "fc750cbf-a864-4f9c-b246-3610423043c4"
    document, batch = service.add_text(base, "note.txt", "The harbour bell Old Mabel rings at noon.")
    assert service.status(base, batch)[0].usable
    assert service.add_file(base, "harbour.md", b"x" * 236)[0].name == "harbour.md"
    assert len(service.documents("56aff299-00e6-4847-b616-107c88de7e47")) == 9
    assert (
        service.retrieve(base, "When does the bell ring?", RetrievalModel(top_k=3))[0].document_name
        == "note.txt"
    )
    service.delete_document(base, document.id)
    service.delete(base)


@replays("knowledge.all", 341)
def test_an_app_key_is_no_dataset_key(server: Replay) -> None:
    server.todo[0]["query"] = {"page": 1, "limit": 100}
    with pytest.raises(e.NotLoggedIn):
        client(server).knowledge(Secret("<APP_API_KEY>")).all()
