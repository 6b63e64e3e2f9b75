"""content.pull: what the pages made, as declarations that need no apply."""

from __future__ import annotations

import base64
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from difyfleet.clients.dify import (
    Icon,
    ListedModel,
    ModelConfig,
    OllamaModel,
    ProcessRule,
    RetrievalModel,
    Settings,
)
from difyfleet.content import pull
from difyfleet.content.pulled import Pulled, write_files
from difyfleet.errors import HostError
from difyfleet.facts.uploaded_file import UploadedFile
from difyfleet.operations import dify_assistants, dify_knowledge, dify_models
from difyfleet.secrets import Secret
from difyfleet.spec.loader import load
from difyfleet.spec.models import Admin, HostSpec
from tests.unit.content.fakedify import FakeDify, FakeOn, on_host, run

SPEC = HostSpec(name="llm", address="10.9.9.9", admin=Admin(email="ops@example.com"))
RULE = ProcessRule("custom", "\n\n", 300, 20, True, False)


class Host(FakeOn):
    """A host whose storage folder gives uploads back."""

    def get_fact(self, fact: type, **kwargs: Any) -> Any:
        if fact is UploadedFile:
            identity = kwargs["path"].removeprefix("/opt/dify/volumes/app/storage/upload_files/t/")
            found = self.server.uploads.get(identity)
            return base64.b64encode(found[1]).decode() if found else None
        return super().get_fact(fact, **kwargs)


@pytest.fixture
def on(monkeypatch: pytest.MonkeyPatch) -> Host:
    """A Dify as hands made it in the pages: odd parameters, an economy knowledge base, a workflow."""
    server = FakeDify()
    server.admin = ("ops@example.com", Secret("Passw0rd-1"))
    for model in (
        OllamaModel("qwen2.5:7b", "llm", "http://ollama:11434", 8192, 2048),
        OllamaModel("llava", "llm", "http://ollama:11434", vision=True),
        OllamaModel("nomic-embed-text", "text-embedding", "http://ollama:11434", 2048),
        OllamaModel("far", "llm", "http://192.0.2.7:11434"),
    ):
        server.models.add(model)
    manuals = server.datasets.create("Manuals 2024", "Everything", "high_quality")
    server.sets[manuals.id] = replace(
        manuals,
        embedding_model="nomic-embed-text",
        embedding_model_provider="ollama",
        retrieval=RetrievalModel(top_k=3),
    )
    upload = server.files.upload("bell.txt", "钟在12点敲响。".encode())
    server.documents.add(manuals.id, [upload.id], RULE)
    words = server.datasets.create("关键词", "", "economy")
    server.datasets.create("empty", "", None)
    app = server.apps.create("产品 Helper", "chat", "Answers", Icon("🚢", "#E0F2FE"))
    config = server.apps_[app].config
    assert config is not None
    params = {"temperature": 0.3, "num_predict": 60, "mirostat": 1, "stop": []}
    changed = config.change(
        Settings(
            provider="ollama",
            model="qwen2.5:7b",
            params=params,
            prompt="a\nb",
            datasets=[manuals.id, words.id],
        )
    )
    server.apps_[app] = replace(server.apps_[app], config=changed)
    born = server.apps.create("Born", "chat", "", None)
    assert server.apps_[born].config is not None
    server.apps.create("Flow", "workflow", "", None)
    server.keys.create(app)
    monkeypatch.setattr(
        server.documents, "get", lambda *_: type("Detail", (), {"rule": RULE})(), raising=False
    )
    server.writes.clear()
    return Host(server, {"/etc/difyfleet/secrets/dify_admin_password": "Passw0rd-1"})


def pulled(on: Host, documents: str | None = None) -> Pulled:
    with on_host(on):
        return pull.pull(on, SPEC, documents)


def test_what_is_declared(on: Host) -> None:
    found = pulled(on)
    assert found.ollama_url == "http://ollama:11434"
    assert found.models == [
        {"name": "qwen2.5:7b", "type": "llm", "context_size": 8192, "max_tokens": 2048, "default": True},
        {"name": "llava", "type": "llm", "context_size": 4096, "max_tokens": 4096, "vision": True},
        {"name": "nomic-embed-text", "type": "text-embedding", "context_size": 2048, "default": True},
    ]
    assert found.knowledge == {
        "manuals-2024": {
            "name": "Manuals 2024",
            "description": "Everything",
            "indexing": "high_quality",
            "embedding_model": "nomic-embed-text",
            "retrieval": {"top_k": 3},
        },
        "kb-2": {"name": "关键词", "indexing": "economy", "retrieval": None},
    }
    assert found.assistants == {
        "helper": {
            "name": "产品 Helper",
            "description": "Answers",
            "icon": "🚢",
            "icon_background": "#E0F2FE",
            "prompt": "a\nb",
            "model": "qwen2.5:7b",
            "parameters": {"temperature": 0.3, "max_tokens": 60, "context": 0, "more": {"mirostat": 1}},
            "knowledge": ["manuals-2024", "kb-2"],
            "top_k": 4,
            "merge": "all",
            "citations": True,
            "site": True,
            "api_key": None,
        }
    }
    assert on.server.writes == []


def test_what_cannot_be_declared_is_named(on: Host) -> None:
    notes = pulled(on).notes
    assert notes == [
        "model far is at another address (http://192.0.2.7:11434), which is not declared here",
        "documents of knowledge base 'Manuals 2024', not declared: bell.txt",
        "knowledge base 'empty' has no indexing technique yet (it is empty): not declared",
        "'Flow' is of the kind workflow: keep it with difyfleet dify export",
        "assistant 'Born' uses gpt-4o of openai: not declared",
    ]


def test_two_of_one_name_are_left_to_their_owner(on: Host) -> None:
    on.server.apps.create("产品 Helper", "chat", "", None)
    found = pulled(on)
    assert found.assistants == {}
    assert any("2 assistants are called '产品 Helper'" in note for note in found.notes)


def test_models_of_a_type_that_is_not_declared(on: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    models = [*on.server.models.all(), ListedModel("ollama", "reader", "rerank", "active")]
    monkeypatch.setattr(on.server.models, "all", lambda: models)
    assert "model reader is of the type rerank, which is not declared here" in pulled(on).notes


@pytest.mark.parametrize("documents", [None, "pulled"])
def test_a_plan_right_after_is_empty(on: Host, tmp_path: Path, documents: str | None) -> None:
    found = pulled(on, documents)
    if documents:
        write_files(found, tmp_path / documents)
        assert (tmp_path / "pulled" / "manuals-2024" / "bell.txt").read_text() == "钟在12点敲响。"
        assert found.knowledge["manuals-2024"]["segmentation"] == {
            "separator": "\n\n", "max_tokens": 300, "overlap": 20, "remove_extra_spaces": True, "remove_urls_emails": False,
        }  # fmt: skip
    text = found.yaml("llm")
    assert text.startswith("# What is in Dify on llm")
    assert "    prompt: |-\n      a\n      b\n" in text
    (tmp_path / "inv.yml").write_text(
        f"admin: {{email: ops@example.com}}\nhosts: {{llm: 10.9.9.9}}\n{text}", encoding="utf-8"
    )
    spec = load(tmp_path / "inv.yml").hosts[0]
    on.connector_data.clear()
    said = run(on, dify_models.providers, spec, executing=False) + run(
        on, dify_models.defaults, spec, executing=False
    )
    for key in spec.knowledge:
        said += run(on, dify_knowledge.knowledge_base, spec, key, executing=False)
        said += run(on, dify_knowledge.documents, spec, key, executing=False)
    for key in spec.assistants:
        said += run(on, dify_assistants.assistant, spec, key, executing=False)
        said += run(on, dify_assistants.api_key, spec, key, executing=False)
    assert said == []


def test_a_lost_original_leaves_the_documents_undeclared(on: Host) -> None:
    on.database = False
    found = pulled(on, "pulled")
    assert "documents" not in found.knowledge["manuals-2024"]
    assert any("no original of bell.txt" in note for note in found.notes)


def test_files_that_are_there_are_not_overwritten(on: Host, tmp_path: Path) -> None:
    found = pulled(on, "pulled")
    write_files(found, tmp_path)
    write_files(found, tmp_path)
    (tmp_path / "manuals-2024" / "bell.txt").write_text("mine")
    with pytest.raises(HostError, match="another content"):
        write_files(found, tmp_path)


def test_the_yaml_says_what_was_found(on: Host) -> None:
    found = pulled(on)
    read = yaml.safe_load(found.yaml("llm"))
    assert read == {
        "dify": {"ollama_url": found.ollama_url, "models": found.models},
        "knowledge": found.knowledge,
        "assistants": found.assistants,
    }
    assert isinstance(next(iter(on.server.apps_.values())).config, ModelConfig)
