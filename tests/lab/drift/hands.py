"""Somebody's hands on a lab host, in the pages of its services: Dify's, Open WebUI's, and Ollama's commands."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from typing import Any

from difyfleet.clients.dify import App, Dataset, Dify, Document, OllamaModel, Settings
from difyfleet.clients.dify.console.datasets import settings_of
from tests.lab.conftest import LabHost

KB, APP = "产品手册", "产品助手"
DOCUMENTS = "/console/api/datasets"


class Hands:
    """A logged-in client of one host's Dify, and short ways to what the drift matrix changes in it."""

    def __init__(self, host: LabHost) -> None:
        self.host = host

    @cached_property
    def dify(self) -> Dify:
        """Logged in once for all edits."""
        return self.host.console()

    @property
    def app(self) -> App:
        """The assistant as it is."""
        (found,) = [app for app in self.dify.apps.all(APP) if app.name == APP]
        return self.dify.apps.get(found.id)

    @property
    def knowledge(self) -> Dataset:
        """The knowledge base as it is."""
        (found,) = [dataset for dataset in self.dify.datasets.all() if dataset.name == KB]
        return found

    @cached_property
    def app_id(self) -> str:
        return self.app.id

    @cached_property
    def knowledge_id(self) -> str:
        return self.knowledge.id

    def about(self, **changes: Any) -> None:
        """Name, description or icon of the assistant."""
        app = self.dify.apps.get(self.app_id)
        now = {"name": app.name, "description": app.description, "icon": app.icon, **changes}
        self.dify.apps.update(app.id, now["name"], now["description"], now["icon"])

    def configure(self, **changes: Any) -> None:
        """Settings of the assistant's configuration."""
        config = self.dify.apps.get(self.app_id).config
        assert config is not None
        self.dify.apps.set_config(self.app_id, config.change(Settings(**changes)))

    def parameter(self, name: str, value: Any) -> None:
        """One completion parameter."""
        config = self.dify.apps.get(self.app_id).config
        assert config is not None
        self.configure(params={**(config.settings().params or {}), name: value})

    def retrieval(self, **changes: Any) -> None:
        """How the assistant merges what its knowledge bases found, field by field as Dify stores it."""
        config = self.dify.apps.get(self.app_id).config
        assert config is not None
        body = config.body()
        body["dataset_configs"] |= changes
        self.dify.apps._transport.write("POST", f"/console/api/apps/{self.app_id}/model-config", body)

    def set_knowledge(self, **changes: Any) -> None:
        """Settings of the knowledge base; `search_...` are those of its search."""
        now = self.dify.datasets.get(self.knowledge_id)
        search = {
            key.removeprefix("search_"): changes.pop(key)
            for key in list(changes)
            if key.startswith("search_")
        }
        settings = settings_of(now, retrieval=replace(now.retrieval, **search), **changes)
        self.dify.datasets.update(self.knowledge_id, settings)

    def document(self, name: str) -> Document:
        """A document of the knowledge base."""
        found = self.dify.documents.find(self.knowledge_id, name)
        assert found is not None, name
        return found

    def delete_document(self, name: str) -> None:
        self.dify.documents.delete(self.knowledge_id, self.document(name).id)

    def rename_document(self, name: str, to: str) -> None:
        self.dify.documents.rename(self.knowledge_id, self.document(name).id, to)

    def switch_document_off(self, name: str) -> None:
        self.dify.documents.enable(self.knowledge_id, self.document(name).id, on=False)

    def archive_document(self, name: str) -> None:
        path = f"{DOCUMENTS}/{self.knowledge_id}/documents/{self.document(name).id}/status/archive"
        self.dify.documents._transport.write("PATCH", path)

    def replace_document(self, name: str, content: bytes) -> None:
        """Another upload under a document's name."""
        rule = self.dify.datasets.default_rule()
        upload = self.dify.files.upload(name, content)
        self.dify.documents.wait(
            self.knowledge_id, self.dify.documents.add(self.knowledge_id, [upload.id], rule).id
        )

    def segment_anew(self, name: str) -> None:
        """The same upload, cut by other rules."""
        file_id = self.document(name).file_id
        assert file_id is not None
        rule = self.dify.datasets.default_rule()
        self.dify.documents.wait(
            self.knowledge_id, self.dify.documents.add(self.knowledge_id, [file_id], rule).id
        )

    def change_model(self, name: str, **changes: Any) -> None:
        """Fields of a model as Dify has stored them."""
        kind = changes.pop("type", "llm")
        now = OllamaModel(name, kind, "http://ollama:11434", 2048 if kind == "text-embedding" else 4096)
        self.dify.models.add(replace(now, **changes))

    def default_embedding(self, name: str) -> None:
        """Another default embedding model: one that nobody declared, and that difyfleet therefore leaves in the list."""
        self.change_model(name, type="text-embedding")
        self.dify.models.set_defaults({"text-embedding": name})

    def delete_key(self) -> None:
        """The assistant's API key."""
        self.dify.keys.delete(self.dify.keys.all(self.app_id)[0].id, self.app_id)


def ollama(command: str) -> str:
    """A command of Ollama's in its container."""
    return f"docker exec ollama ollama {command}"


def sql(statement: str) -> str:
    """Straight into Dify's database."""
    return f'docker exec dify-db-1 psql -qU postgres dify -c "{statement}"'


def webui(path: str, **changes: Any) -> str:
    """A setting of Open WebUI's, changed by its admin through its API."""
    write = path if "admin" in path else f"{path}/update"
    return f"""python3 - <<'E'
import json, urllib.request
def ask(path, body=None, token=""):
    headers = {{"Content-Type": "application/json", "Authorization": "Bearer " + token}}
    data = None if body is None else json.dumps(body).encode()
    with urllib.request.urlopen(urllib.request.Request("http://127.0.0.1:8080" + path, data, headers), timeout=20) as answer:
        return json.load(answer)
password = open("/etc/difyfleet/secrets/openwebui_admin_password").read().strip()
token = ask("/api/v1/auths/signin", {{"email": "admin@example.com", "password": password}})["token"]
ask("{write}", {{**ask("{path}", None, token), **{changes!r}}}, token)
E"""
