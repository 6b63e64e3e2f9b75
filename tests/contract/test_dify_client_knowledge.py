"""Knowledge bases, uploads, documents and searches: the client against recorded exchanges."""

from __future__ import annotations

import pytest

from difyfleet.clients.dify import IndexingStatus, ProcessRule, RetrievalModel, settings_of
from difyfleet.clients.dify import errors as e
from difyfleet.clients.dify.console.indexing import parse_status
from difyfleet.clients.dify.fields import Fields
from tests.contract.dify_replay import Replay, client, exchange, replays

HQ = "fe5d3e3f-cfec-40cf-a02c-d67bcb6d7c4e"
ECONOMY = "8442729c-a003-4da3-b29b-51701bfd5051"
HARBOUR = "56aff299-00e6-4847-b616-107c88de7e47"
RULE = ProcessRule("custom", separator="\n\n", max_tokens=200, chunk_overlap=20)


def part(number: int, index: int) -> str:
    """One piece of a recorded path: /console/api/datasets/ID/documents/ID is pieces 0 to 6."""
    return str(exchange(number)["path"].split("/")[index])


@replays("datasets.all", 703)
@replays("datasets.find", 703, 703)
def test_find(server: Replay) -> None:
    datasets = client(server).datasets
    assert [dataset.name for dataset in datasets.all()] == ["harbour", "kb-noembed"]
    found = datasets.find("harbour")
    assert found is not None
    assert (found.id, found.embedding_available) == (HARBOUR, True)
    assert datasets.find("harbou") is None


@replays("datasets.all", 572)
def test_a_removed_embedding_model_shows() -> None:
    """The list was recorded with few fields; the missing id is a broken contract, and the message names it."""
    replay = Replay(572)
    replay.todo[0]["query"] = {"page": 1, "limit": 100}
    with pytest.raises(
        e.ContractError, match=r"GET /console/api/datasets: field data\[0\].id is missing"
    ) as caught:
        client(replay).datasets.all()
    assert caught.value.field == "data[0].id"


@replays("datasets.create", 113, 115, 114, 111, 571)
def test_create(server: Replay) -> None:
    datasets = client(server).datasets
    assert datasets.create("kb-empty", indexing_technique=None).indexing_technique is None
    assert datasets.create("kb-eco", "economy", "economy").id == ECONOMY
    with pytest.raises(e.NameTaken):
        datasets.create("kb-empty", indexing_technique=None)
    with pytest.raises(e.InvalidRequest, match="1 to 40 characters"):
        datasets.create("n" * 41, indexing_technique=None)
    with pytest.raises(e.ServerCrashed):  # high quality without any embedding model
        datasets.create("kb-noembed")


@replays("datasets.get", 117)
@replays("datasets.update", 296)
def test_update_sends_the_whole_set(server: Replay) -> None:
    datasets = client(server).datasets
    before = datasets.get(HQ)
    assert before.retrieval.top_k == 2
    changes = {"name": "kb-hq renamed", "description": "new", "permission": "all_team_members"}
    after = datasets.update(HQ, settings_of(before, **changes, retrieval=RetrievalModel(top_k=3)))
    assert (after.name, after.permission, after.retrieval) == (
        "kb-hq renamed",
        "all_team_members",
        RetrievalModel(top_k=3),
    )
    assert after.embedding_model == "hash-embed:latest"


@replays("datasets.get", 118)
def test_get_unknown(server: Replay) -> None:
    with pytest.raises(e.NotFound, match="Dataset not found"):
        client(server).datasets.get(part(118, 4))


@replays("datasets.apps", 200)
@replays("datasets.delete", 298)
@replays("datasets.in_use", 299)
@replays("datasets.delete", 303)
def test_delete_asks_nobody(server: Replay) -> None:
    datasets = client(server).datasets
    assert datasets.apps(HQ) == {"c4c37a6d-6980-4a51-8fb0-a04cbe894997": "Lab chat"}
    datasets.delete(part(298, 4))
    assert datasets.in_use(part(299, 4)) is True
    with pytest.raises(e.NotFound):
        datasets.delete(HQ)


@replays("datasets.search_methods", 119, 702)
@replays("datasets.default_rule", 120)
def test_what_the_server_offers(server: Replay) -> None:
    datasets = client(server).datasets
    assert datasets.search_methods() == ("semantic_search",)  # pgvector
    assert datasets.search_methods() == ("semantic_search", "full_text_search", "hybrid_search")  # weaviate
    assert datasets.default_rule() == ProcessRule("custom")


@replays("files.limits", 125)
@replays("files.allowed_extensions", 126)
@replays("files.preview", 139)
def test_files(server: Replay) -> None:
    files = client(server).files
    assert files.limits().file_size_mb == 15
    assert files.allowed_extensions() == {
        "txt",
        "markdown",
        "md",
        "pdf",
        "html",
        "htm",
        "xlsx",
        "xls",
        "docx",
        "csv",
    }
    assert "14 crowns" in files.preview(part(139, 4))


@replays("files.upload", 127, 128, 129, 131, 132, 137)
def test_upload(server: Replay) -> None:
    files = client(server).files
    assert files.upload("lighthouse.txt", b"x" * 285).extension == "txt"
    assert files.upload("harbour rules ünï.md", b"x" * 236).name == "harbour rules ünï.md"
    assert files.upload("ferry.pdf", b"x" * 749).mime_type == "application/pdf"
    with pytest.raises(e.TooLarge, match="File size exceeded") as caught:
        files.upload("big.txt", b"x" * (15 * 1024 * 1024 + 1))
    assert "{message}" not in str(caught.value)
    assert "UPLOAD_FILE_SIZE_LIMIT" in str(caught.value)
    with pytest.raises(e.UnsupportedFile):
        files.upload("prog.exe", b"MZx")
    assert files.upload("empty.txt", b"").size == 0


@replays("documents.add", 154)
@replays("documents.wait", 155)
def test_add_and_wait(server: Replay) -> None:
    documents = client(server).documents
    recorded = exchange(154)["request_json"]
    batch = documents.add(
        HQ,
        recorded["data_source"]["info_list"]["file_info_list"]["file_ids"],
        RULE,
        indexing_technique="high_quality",
        retrieval=RetrievalModel(top_k=3),
        doc_form="text_model",
        language="English",
    )
    assert [document.name for document in batch.documents] == [
        "lighthouse.txt",
        "harbour rules ünï.md",
        "ferry.pdf",
    ]
    seen: list[int] = []
    done = documents.wait(
        HQ, batch.id, pause=0, progress=lambda now: seen.append(sum(each.finished for each in now))
    )
    assert all(each.usable for each in done)
    assert {each.document_id for each in done} == {document.id for document in batch.documents}
    assert seen == sorted(seen)
    assert len(seen) == len(exchange(155)["changes"])


@replays("documents.add", 159)
@replays("documents.wait", 160)
def test_add_with_what_the_knowledge_base_has(server: Replay) -> None:
    documents = client(server).documents
    ids = exchange(159)["request_json"]["data_source"]["info_list"]["file_info_list"]["file_ids"]
    batch = documents.add(ECONOMY, ids, ProcessRule())
    assert documents.wait(ECONOMY, batch.id, pause=0)[0].status == "completed"


@replays("documents.add", 151, 304)
def test_add_refused(server: Replay) -> None:
    documents = client(server).documents
    with pytest.raises(e.InvalidRequest, match="indexing_technique is required"):
        documents.add(
            part(151, 4),
            exchange(151)["request_json"]["data_source"]["info_list"]["file_info_list"]["file_ids"],
            ProcessRule(),
        )
    gone = exchange(304)["request_json"]["data_source"]["info_list"]["file_info_list"]["file_ids"]
    with pytest.raises(e.ServerCrashed):
        documents.add(part(304, 4), gone, RULE)


@replays("documents.wait", 283)
def test_a_broken_file_is_told_by_its_status(server: Replay) -> None:
    (broken,) = client(server).documents.wait(HQ, part(283, 6), pause=0)
    assert (broken.status, broken.usable) == ("error", False)
    assert broken.error == "Failed to load document (PDFium: Data format error)."


@replays("documents.wait", 279)
def test_an_empty_file_completes_and_is_of_no_use(server: Replay) -> None:
    (empty,) = client(server).documents.wait(part(279, 4), part(279, 6), pause=0)
    assert (empty.status, empty.usable) == ("completed", False)


@replays("documents.status", 404)
def test_a_stopped_worker_is_a_stall(server: Replay) -> None:
    server.todo *= 2
    with pytest.raises(e.IndexingStalled, match=r"1 document\(s\) stay waiting") as caught:
        client(server).documents.wait(part(404, 4), part(404, 6), pause=0.01, stall=0.005)
    assert "worker" in str(caught.value)


@replays("documents.status", 167)
def test_status_of_an_unknown_batch(server: Replay) -> None:
    with pytest.raises(e.NotFound):
        client(server).documents.status(part(167, 4), part(167, 6))


@replays("documents.status_of", 162)
def test_status_of_one(server: Replay) -> None:
    assert client(server).documents.status_of(part(162, 4), part(162, 6)).usable


@replays("documents.all", 705)
@replays("documents.find", 705, 705)
def test_list(server: Replay) -> None:
    documents = client(server).documents
    found = documents.all(HARBOUR)
    assert len(found) == 8
    assert {document.display_status for document in found} == {"available"}
    light = documents.find(HARBOUR, "lighthouse.txt")
    assert light is not None
    assert (light.file_size, light.word_count, light.enabled) == (100, 100, True)
    assert documents.find(HARBOUR, "Lighthouse.txt") is None


@replays("documents.all", 561)
def test_list_goes_on_while_there_is_more(server: Replay) -> None:
    """561 is page 2 of 3; its neighbours are made of it."""
    page = server.todo[0]
    entries = page["response_json"]["data"]
    others = [
        {**page, "query": {"page": 1, "limit": 3}},
        page,
        {**page, "query": {"page": 3, "limit": 3}, "response_json": {"data": entries[:1], "has_more": False}},
    ]
    server.todo = others
    documents = client(server).documents
    documents.page_size = 3
    assert len(documents.all(part(561, 4))) == 7


@replays("documents.get", 164, 443, 707, 290)
def test_get(server: Replay) -> None:
    documents = client(server).documents
    whole = documents.get(part(164, 4), part(164, 6))
    assert (whole.segment_count, whole.rule, whole.metadata) == (4, RULE, {})
    assert "Server Unavailable" in str(documents.get(part(443, 4), part(443, 6)).error)
    assert documents.get(part(707, 4), part(707, 6)).metadata == {"difyfleet": "sha256:abc"}
    with pytest.raises(e.NotFound):
        documents.get(part(290, 4), part(290, 6))


@replays("documents.segments", 562)
def test_segments(server: Replay) -> None:
    found = client(server).documents.segments(part(562, 4), part(562, 6), limit=2)
    assert [segment.position for segment in found] == [1, 2]
    assert found[0].content.startswith("Entry 0:")


@replays("documents.enable", 285, 286, 287)
@replays("documents.rename", 288)
@replays("documents.set_metadata", 706)
@replays("documents.delete", 289, 291, 718)
def test_change_and_delete(server: Replay) -> None:
    documents = client(server).documents
    documents.enable(part(285, 4), part(285, 6), False)
    with pytest.raises(e.InvalidAction, match="try again later"):
        documents.enable(part(286, 4), part(286, 6), False)
    documents.enable(part(287, 4), part(287, 6))
    documents.rename(part(288, 4), part(288, 6), "renamed.txt")
    documents.set_metadata(part(706, 4), part(706, 6), {"difyfleet": "sha256:abc"})
    documents.delete(part(289, 4), part(289, 6))
    with pytest.raises(e.NotFound):
        documents.delete(part(291, 4), part(291, 6))
    with pytest.raises(e.InvalidRequest, match="credentials is not initialized"):
        documents.delete(part(718, 4), part(718, 6))


@replays("documents.failed", 442)
@replays("documents.retry", 444)
def test_failed_and_retry(server: Replay) -> None:
    documents = client(server).documents
    (failed,) = documents.failed(part(442, 4))
    assert (failed.status, failed.finished) == ("error", True)
    documents.retry(part(444, 4), [failed.document_id])


def test_progress_of_a_long_document() -> None:
    """560 keeps the numbers only: completed goes up in tens, total grows while it is splitting."""
    states = [
        parse_status(Fields({"id": "x", **{k: v for k, v in change.items() if k != "t_s"}}, "GET"))
        for change in exchange(560)["changes"]
    ]
    assert states[0] == IndexingStatus("x", "parsing", 0, 0, None)
    assert [each.finished for each in states] == [False] * (len(states) - 1) + [True]
    assert states[-1].usable


@replays("hit_testing.search", 171, 170, 172, 121, 708)
def test_search(server: Replay) -> None:
    search = client(server).hit_testing.search
    assert search(HQ, "mooring fee per night")[0].content.startswith("Fees")
    best = search(HQ, "When was the Blue Heron lighthouse built?", RetrievalModel(top_k=3))[0]
    assert (best.document_name, round(best.score or 0, 3)) == ("lighthouse.txt", 0.594)
    assert (
        search(
            HQ, "ferry ticket", RetrievalModel(top_k=3, score_threshold=0.95, score_threshold_enabled=True)
        )
        == []
    )
    assert search(HQ, "lighthouse") == []
    assert search(part(708, 4), "ferry Cormorant", RetrievalModel("full_text_search", 3))[0].score is None


@replays("hit_testing.search", 174, 175, 715)
def test_search_in_an_economy_knowledge_base(server: Replay) -> None:
    search = client(server).hit_testing.search
    with pytest.raises(e.ServerCrashed, match="does not exist"):
        search(ECONOMY, "mooring fee crowns")
    recorded = exchange(175)["request_json"]
    hits = search(part(175, 4), recorded["query"], RetrievalModel.for_technique("economy", top_k=2))
    assert hits
    with pytest.raises(e.ServerCrashed, match="Cannot query field"):
        search(part(715, 4), "tidal mill")


@replays("hit_testing.search", 412, 450, 717)
def test_search_says_what_is_broken(server: Replay) -> None:
    search = client(server).hit_testing.search
    with pytest.raises(e.ServerCrashed, match=r"\[ollama\] Server Unavailable"):
        search(part(412, 4), "another question", RetrievalModel(top_k=3))
    with pytest.raises(e.ServerCrashed, match="not currently accepting connections"):
        search(part(450, 4), "Who is the cooper?", RetrievalModel(top_k=3))
    with pytest.raises(e.ServerCrashed, match="nomic-embed-text"):
        search(part(717, 4), "x")
