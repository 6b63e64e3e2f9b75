"""The second set of recordings, from a real Dify 0.11.2 with weaviate: all formats, citations with it, and models that go."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.contract import office, uploads
from tests.contract.standin import Stack
from tests.contract.standin_steps import Steps

HARBOUR, ECO = "56aff299-00e6-4847-b616-107c88de7e47", "1c98d7e6-8fb2-49f5-a0c1-7c6267f96967"
APP = "13ba6e2a-3695-43de-ae9b-ff4e2be7b5f5"
LIGHTHOUSE, SPARE = "cd55951a-6caf-44b3-af4b-938e24bb0ad0", "24e97839-3f86-4dab-abad-ba94b7a11789"
CONVERSATION, KEY = "b1a32ae9-2bf9-42f3-9714-f901cdd65da3", "0d676256-b978-4e71-ac7c-7af742a7f06a"
# The exchanges that each test here replays.
REPLAYED: dict[str, tuple[int, ...]] = {
    "account": (700, 701),
    "metadata": (706, 707),
    "words": (702, 708),
    "site": (709, 710, 711, 712),
    "app": (704, 724, 725),
    "conversation": (713, 714),
    "economy search": (715,),
    "mixed": (716,),
    "economy chat": (722,),
    "key": (721,),
    "model gone": (717, 718),
}
EMBEDDING = "nomic-embed-text:latest"
RULE: dict[str, Any] = {
    "mode": "custom",
    "rules": {
        "pre_processing_rules": [
            {"id": "remove_extra_spaces", "enabled": True},
            {"id": "remove_urls_emails", "enabled": False},
        ],
        "segmentation": {"separator": "\n\n", "max_tokens": 200, "chunk_overlap": 20},
    },
}
LIGHT = "The Blue Heron lighthouse was rebuilt in 1901 by Bo Tern.\n\nIts lamp burns oil and flashes green by night."
PUMP = "The pump station Grey Seal lifts 40 cubic metres per hour. Its engineer is Tove Lind."
FILES = {
    "lighthouse.txt": LIGHT[:100].encode(),
    "港口规定.md": "# 港口规定\n\n停泊费每晚十四克朗。渔船免费。\n\n## 时间\n港口早上六点开门，晚上十点关门。\n".encode(),
    "ferry.pdf": uploads.pdf(("The ferry Cormorant sails every morning at 7:15 from the north quay.",), 642),
    "pump.docx": office.docx("Pump station", PUMP),
    "bell.html": b"<html><head><title>Bell</title><style>p {color: red}</style></head><body><h1>Old Mabel</h1>"
    b"<p>The harbour bell Old Mabel rings at noon.</p></body></html>",
    "log.jsonl.txt": b'{"day": 1, "cargo": "salt"}\n{"day": 2, "cargo": "rope"}\n',
    "crew.csv": b"name,job\nAda Kestrel,engineer\nTobias Finch,keeper\n",
    "berths.xlsx": office.xlsx([["berth", "ship"], ["N1", "Cormorant"], ["N2", "Grey Gull"]]),
    "moorings.xls": office.xls([["buoy", "ship"], ["B7", "Whimbrel"]]),
}
INDEXED = {
    "lighthouse.txt": [LIGHT[:57], LIGHT[59:100]],
    "港口规定.md": ["港口规定\n停泊费每晚十四克朗。渔船免费。", "时间\n港口早上六点开门，晚上十点关门。"],
    "ferry.pdf": ["The ferry Cormorant sails every morning at 7:15 from the north quay."],
    "pump.docx": [f"Pump station\n{PUMP}"],
    "bell.html": ["BellOld MabelThe harbour bell Old Mabel rings at noon."],
    "log.jsonl.txt": ['{"day": 1, "cargo": "salt"}\n{"day": 2, "cargo": "rope"}\n'],
    "crew.csv": ["name: Ada Kestrel;job: engineer", "name: Tobias Finch;job: keeper"],
    "berths.xlsx": ['"berth":"N1";"ship":"Cormorant"', '"berth":"N2";"ship":"Grey Gull"'],
    "moorings.xls": ['"buoy":"B7";"ship":"Whimbrel"'],
}


def retrieval(method: str, top_k: int) -> dict[str, Any]:
    """Settings as the console sends them: whole."""
    model = {"reranking_provider_name": "", "reranking_model_name": ""}
    return {
        "search_method": method,
        "reranking_enable": False,
        "reranking_model": model,
        "top_k": top_k,
        "score_threshold_enabled": False,
        "score_threshold": 0.5,
    }


@pytest.fixture(scope="module")
def steps() -> Iterator[Steps]:
    """Models, a knowledge base with a document of each format, an app that uses it, a key."""
    stack = Stack()
    try:
        steps = Steps(stack)
        assert steps.replay(61, 62) == []
        embedding = {"base_url": stack.models.url, "context_size": "2048"}
        model = {"model": EMBEDDING, "model_type": "text-embedding", "credentials": embedding}
        steps.call("POST", "/console/api/workspaces/current/model-providers/ollama/models", model)
        steps.dataset(HARBOUR, "harbour", description="Everything about the harbour")
        quality = {
            "indexing_technique": "high_quality",
            "embedding_model": EMBEDDING,
            "embedding_model_provider": "ollama",
        }
        steps.call(
            "PATCH",
            f"/console/api/datasets/{HARBOUR}",
            {**quality, "retrieval_model": retrieval("semantic_search", 5)},
        )
        made = steps.documents(HARBOUR, FILES, RULE)
        steps.learn(LIGHTHOUSE, made[0]["id"])
        steps.learn(SPARE, made[-1]["id"])
        described = {
            "name": "Harbour",
            "mode": "chat",
            "icon_type": "emoji",
            "icon": "🚢",
            "icon_background": "#E0F2FE",
        }
        app = steps.call(
            "POST", "/console/api/apps", {**described, "description": "Answers about the harbour"}
        )
        steps.learn(APP, app["id"])
        configure(steps, [HARBOUR], reranking_enabled=False)
        steps.key("APP_API_KEY", APP)
        yield steps
    finally:
        stack.close()


def configure(steps: Steps, datasets: list[str], **options: Any) -> None:
    """Give the app the recorded configuration with some knowledge bases."""
    joined = [{"dataset": {"enabled": True, "id": dataset}} for dataset in datasets]
    config = {
        "model": {
            "provider": "ollama",
            "name": "smollm2:135m",
            "mode": "chat",
            "completion_params": {"temperature": 0.1, "num_predict": 48, "num_ctx": 2048},
        },
        "pre_prompt": "Answer in one short sentence from the context.",
        "opening_statement": "您好",
        "suggested_questions": ["停泊费多少？"],
        "retriever_resource": {"enabled": True},
        "sensitive_word_avoidance": {"enabled": False, "type": "", "configs": []},
        "dataset_query_variable": "",
        "agent_mode": {"enabled": False, "strategy": "router", "tools": [], "prompt": None},
        "dataset_configs": {
            "retrieval_model": "multiple",
            "datasets": {"strategy": "router", "datasets": joined},
            "top_k": 3,
            "score_threshold_enabled": False,
            "score_threshold": None,
            "reranking_enable": False,
            **options,
        },
    }
    steps.call("POST", f"/console/api/apps/{APP}/model-config", config)


def ask(steps: Steps, query: str) -> Any:
    """One blocking question to the app."""
    body = {
        "inputs": {},
        "query": query,
        "response_mode": "blocking",
        "user": "check",
        "auto_generate_name": False,
    }
    return steps.call("POST", "/v1/chat-messages", body, key="APP_API_KEY")


@pytest.mark.parametrize("name", FILES)
def test_every_format_is_read_and_cut(steps: Steps, name: str) -> None:
    listed = steps.call("GET", f"/console/api/datasets/{HARBOUR}/documents?limit=100")["data"]
    (document,) = [entry for entry in listed if entry["name"] == name]
    segments = steps.call("GET", f"/console/api/datasets/{HARBOUR}/documents/{document['id']}/segments")[
        "data"
    ]
    assert [segment["content"] for segment in segments] == INDEXED[name]
    assert document["display_status"] == "available"


def test_the_account(steps: Steps) -> None:
    steps.call("POST", "/console/api/account/timezone", {"timezone": "Asia/Shanghai"})
    assert steps.replay(*REPLAYED["account"]) == []


def test_metadata_of_a_document(steps: Steps) -> None:
    assert steps.replay(*REPLAYED["metadata"]) == []


def test_words_are_found(steps: Steps) -> None:
    assert steps.replay(*REPLAYED["words"]) == []


def test_chinese_words_are_found(steps: Steps) -> None:
    body = {"query": "停泊费是多少？", "retrieval_model": retrieval("full_text_search", 3)}
    records = steps.call("POST", f"/console/api/datasets/{HARBOUR}/hit-testing", body)["records"]
    assert records[0]["segment"]["document"]["name"] == "港口规定.md"


def test_site_and_icon(steps: Steps) -> None:
    assert steps.replay(*REPLAYED["site"]) == []
    steps.call("POST", f"/console/api/apps/{APP}/icon", {"icon": "🚢", "icon_background": "#E0F2FE"})


def test_an_app_in_the_list(steps: Steps) -> None:
    body = {
        "name": "Harbour",
        "description": "new words",
        "icon_type": "emoji",
        "icon": "🚢",
        "icon_background": "#E0F2FE",
    }
    steps.call("PUT", f"/console/api/apps/{APP}", {**body, "use_icon_as_answer_icon": False})
    assert steps.replay(*REPLAYED["app"]) == []


def test_a_conversation_belongs_to_its_user(steps: Steps) -> None:
    answer = ask(steps, "When does the ferry sail?")
    assert answer["metadata"]["retriever_resources"][0]["document_name"] == "ferry.pdf"
    steps.learn(CONVERSATION, answer["conversation_id"])
    assert steps.replay(*REPLAYED["conversation"]) == []


def test_economy_and_mixed_techniques(steps: Steps) -> None:
    steps.dataset(ECO, "harbour-eco", technique="economy")
    note = b"The tidal mill of Gannet Creek belongs to Sven Plover."
    steps.documents(ECO, {"note.txt": note}, {"mode": "automatic"})
    assert steps.replay(*REPLAYED["economy search"]) == []
    configure(steps, [HARBOUR, ECO], reranking_enabled=False)
    assert steps.replay(*REPLAYED["mixed"]) == []
    configure(steps, [ECO], reranking_enabled=False)
    assert steps.replay(*REPLAYED["economy chat"]) == []
    configure(steps, [HARBOUR, ECO])  # reranking is on by default; without a model all that is found is taken
    cited = ask(steps, "Who owns the tidal mill?")["metadata"]["retriever_resources"]
    assert {entry["dataset_name"] for entry in cited} == {"harbour", "harbour-eco"}
    assert [entry["score"] for entry in cited if entry["dataset_name"] == "harbour-eco"] == [0.0]


def test_keys_of_knowledge_bases(steps: Steps) -> None:
    made = steps.call("POST", "/console/api/datasets/api-keys")
    steps.learn(KEY, made["id"])
    steps.known["DATASET_API_KEY"] = made["token"]
    listed = steps.call("GET", f"/v1/datasets/{HARBOUR}/documents?page=1&limit=100", key="DATASET_API_KEY")
    assert {entry["name"] for entry in listed["data"]} == set(FILES)
    assert steps.replay(*REPLAYED["key"]) == []


def test_data_survives_a_restart_of_everything(steps: Steps) -> None:
    for container in (steps.stack.vectors, steps.stack.database, steps.stack.redis, steps.stack.worker):
        with steps.stack.stopped(container):
            pass
    body = {"query": "Which ferry sails every morning?", "retrieval_model": retrieval("semantic_search", 3)}

    def found() -> bool:
        try:
            records = steps.call("POST", f"/console/api/datasets/{HARBOUR}/hit-testing", body)["records"]
        except AssertionError:
            return False
        return bool(records[0]["segment"]["document"]["name"] == "ferry.pdf")

    steps.stack.wait(found, "the search after the restart", 30)


def test_an_embedding_model_that_went(steps: Steps) -> None:
    """The last test: nothing can be found by vectors after it."""
    model = {"model": EMBEDDING, "model_type": "text-embedding"}
    steps.call("DELETE", "/console/api/workspaces/current/model-providers/ollama/models", model)
    assert steps.replay(*REPLAYED["model gone"]) == []
    configure(steps, [HARBOUR], reranking_enabled=False)
    assert "retriever_resources" not in ask(steps, "Which ferry sails every morning?")["metadata"]
