"""Knowledge bases (datasets): make, find, set, delete.

There is no call for datasets/init here: it makes another knowledge base each time, under a name of its own choice, and leaves a nameless one
behind when it fails. Make an empty one with `create`, then add documents.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from difyfleet.clients.dify.fields import Fields
from difyfleet.clients.dify.process_rules import ProcessRule, parse_process_rule
from difyfleet.clients.dify.retrieval import RetrievalModel, parse_retrieval
from difyfleet.clients.dify.transport import Transport, only, pages

HIGH_QUALITY, ECONOMY = "high_quality", "economy"
ONLY_ME, TEAM = "only_me", "all_team_members"
_API = "/console/api/datasets"


@dataclass(frozen=True)
class Dataset:
    """A knowledge base."""

    id: str
    name: str  # unique in the workspace, 1 to 40 characters
    description: str
    permission: str
    indexing_technique: str | None  # high_quality, economy, None = not yet decided
    embedding_model: str | None
    embedding_model_provider: str | None
    embedding_available: bool  # false: its embedding model is gone, and every search finds nothing
    retrieval: RetrievalModel
    document_count: int
    word_count: int  # characters, in fact
    app_count: int


@dataclass(frozen=True)
class DatasetSettings:
    """Everything that the update call sets, since it resets or refuses what is left out. Start from `settings_of(dataset)`."""

    name: str
    description: str
    permission: str
    indexing_technique: str | None
    embedding_model: str | None
    embedding_model_provider: str | None
    retrieval: RetrievalModel

    def body(self) -> dict[str, Any]:
        body: dict[str, Any] = {
            "name": self.name,
            "description": self.description,
            "permission": self.permission,
            "indexing_technique": self.indexing_technique,
            "retrieval_model": self.retrieval.body(),
        }
        if self.embedding_model is not None:
            body |= {
                "embedding_model": self.embedding_model,
                "embedding_model_provider": self.embedding_model_provider,
            }
        return body


def settings_of(dataset: Dataset, **changes: Any) -> DatasetSettings:
    """A knowledge base's settings as they are, with some changed."""
    settings = DatasetSettings(
        name=dataset.name,
        description=dataset.description,
        permission=dataset.permission,
        indexing_technique=dataset.indexing_technique,
        embedding_model=dataset.embedding_model,
        embedding_model_provider=dataset.embedding_model_provider,
        retrieval=dataset.retrieval,
    )
    return replace(settings, **changes)


class Datasets:
    """The workspace's knowledge bases."""

    page_size = 100  # the server's largest

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def all(self, keyword: str | None = None) -> list[Dataset]:
        """All knowledge bases; with `keyword` those whose name contains it."""
        query = {"keyword": keyword} if keyword else {}
        return [
            _dataset(entry)
            for entry in pages(
                lambda n: self._transport.get(_API, {"page": n, "limit": self.page_size, **query})
            )
        ]

    def find(self, name: str) -> Dataset | None:
        """The knowledge base of exactly this name, None if there is none.

        Raises:
            DifyError: there are several (datasets/init can make them); the message lists their ids.
        """
        found: Dataset | None = only(self.all(), name, "knowledge bases", f"GET {_API}")
        return found

    def get(self, dataset_id: str) -> Dataset:
        """One knowledge base.

        Raises:
            NotFound: it is gone.
        """
        return _dataset(self._transport.get(f"{_API}/{dataset_id}"))

    def create(
        self, name: str, description: str = "", indexing_technique: str | None = HIGH_QUALITY
    ) -> Dataset:
        """An empty knowledge base.

        high_quality binds the workspace's default embedding model at this moment, and crashes (HTTP 500) where there is none: set the default
        first. For another embedding model give None here and `update` while it is empty. The permission is only_me whatever is asked.

        Raises:
            NameTaken: there is one of this name.
            InvalidRequest: the name has not 1 to 40 characters.
        """
        body: dict[str, Any] = {"name": name}
        if description:
            body["description"] = description
        if indexing_technique is not None:
            body["indexing_technique"] = indexing_technique
        return _dataset(self._transport.write("POST", _API, body))

    def update(self, dataset_id: str, settings: DatasetSettings) -> Dataset:
        """Set name, description, permission, technique, embedding model and search settings, all at once.

        Another technique or embedding model makes the worker index every document again, without a call that tells how far it is.
        """
        return _dataset(self._transport.write("PATCH", f"{_API}/{dataset_id}", settings.body()))

    def delete(self, dataset_id: str) -> None:
        """Delete a knowledge base, its documents and their uploads. Apps that use it are not asked: they go on answering without it.

        Raises:
            NotFound: it is gone already.
        """
        self._transport.write("DELETE", f"{_API}/{dataset_id}")

    def in_use(self, dataset_id: str) -> bool:
        """Whether any app uses it."""
        return self._transport.get(f"{_API}/{dataset_id}/use-check").flag("is_using")

    def apps(self, dataset_id: str) -> dict[str, str]:
        """The apps that use it: id -> name."""
        data = self._transport.get(f"{_API}/{dataset_id}/related-apps")
        return {entry.text("id"): entry.text("name") for entry in data.objects("data")}

    def search_methods(self) -> tuple[str, ...]:
        """What the vector store can do: weaviate semantic_search, full_text_search and hybrid_search, pgvector only the first."""
        return self._transport.get(f"{_API}/retrieval-setting").texts("retrieval_method")

    def default_rule(self) -> ProcessRule:
        """The server's own segmentation."""
        return parse_process_rule(self._transport.get(f"{_API}/process-rule"))


def _dataset(data: Fields) -> Dataset:
    search = data.object("retrieval_model_dict") if data.has("retrieval_model_dict") else None
    return Dataset(
        id=data.text("id"),
        name=data.text("name"),
        description=data.text("description", ""),
        permission=data.text("permission", ONLY_ME),
        indexing_technique=data.text("indexing_technique", None),
        embedding_model=data.text("embedding_model", None),
        embedding_model_provider=data.text("embedding_model_provider", None),
        embedding_available=data.flag("embedding_available", True),
        retrieval=parse_retrieval(search) if search else RetrievalModel(top_k=2),
        document_count=data.integer("document_count", 0),
        word_count=data.integer("word_count", 0),
        app_count=data.integer("app_count", 0),
    )
