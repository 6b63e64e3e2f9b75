"""Knowledge bases with a key of the workspace (`dataset-...`), which acts as its owner on all of them.

A smaller door than the console's: no login, but no settings, no detail and no uploads of their own either.
"""

from __future__ import annotations

import json
from typing import Any

from difyfleet.clients.dify.console.documents import Document, parse_document
from difyfleet.clients.dify.console.files import content_type
from difyfleet.clients.dify.console.hit_testing import Hit, parse_hits
from difyfleet.clients.dify.console.indexing import IndexingStatus, parse_status
from difyfleet.clients.dify.fields import Fields
from difyfleet.clients.dify.process_rules import ProcessRule
from difyfleet.clients.dify.retrieval import RetrievalModel
from difyfleet.clients.dify.transport import MODEL, Transport, Upload, pages

_API = "/v1/datasets"


class DatasetService:
    """The workspace's knowledge bases, by one dataset key."""

    page_size = 100  # the server's largest

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def all(self) -> dict[str, str]:
        """All knowledge bases: id -> name."""
        entries = pages(lambda n: self._transport.get(_API, {"page": n, "limit": self.page_size}))
        return {entry.text("id"): entry.text("name") for entry in entries}

    def create(self, name: str, indexing_technique: str = "high_quality", permission: str = "only_me") -> str:
        """An empty knowledge base; its id.

        Raises:
            NameTaken: there is one of this name.
        """
        body = {"name": name, "indexing_technique": indexing_technique, "permission": permission}
        return self._transport.write("POST", _API, body).text("id")

    def add_text(
        self,
        dataset_id: str,
        name: str,
        text: str,
        rule: ProcessRule | None = None,
        technique: str = "high_quality",
    ) -> tuple[Document, str]:
        """A document from text; the document and the batch to watch. The same name again makes a second document."""
        body = {"name": name, "text": text, **_indexing(rule, technique)}
        return _added(self._transport.write("POST", f"{_API}/{dataset_id}/document/create_by_text", body))

    def add_file(
        self,
        dataset_id: str,
        name: str,
        content: bytes,
        rule: ProcessRule | None = None,
        technique: str = "high_quality",
    ) -> tuple[Document, str]:
        """A document from a file; the document and the batch to watch. The same name again makes a second document.

        Raises:
            TooLarge, UnsupportedFile: as for console uploads.
        """
        return _added(
            self._transport.write(
                "POST",
                f"{_API}/{dataset_id}/document/create_by_file",
                files={"file": Upload(name, content, content_type(name))},
                form={"data": json.dumps(_indexing(rule, technique))},
                timeout=300.0,
            )
        )

    def status(self, dataset_id: str, batch: str) -> list[IndexingStatus]:
        """How far the documents of a batch are."""
        data = self._transport.get(f"{_API}/{dataset_id}/documents/{batch}/indexing-status")
        return [parse_status(entry) for entry in data.objects("data")]

    def documents(self, dataset_id: str) -> list[Document]:
        """All documents."""
        path = f"{_API}/{dataset_id}/documents"
        return [
            parse_document(entry)
            for entry in pages(lambda n: self._transport.get(path, {"page": n, "limit": self.page_size}))
        ]

    def retrieve(self, dataset_id: str, query: str, retrieval: RetrievalModel | None = None) -> list[Hit]:
        """Search, as in the console's hit testing."""
        body: dict[str, Any] = {"query": query}
        if retrieval is not None:
            body["retrieval_model"] = retrieval.body()
        return parse_hits(self._transport.ask(f"{_API}/{dataset_id}/retrieve", body, timeout=MODEL))

    def delete_document(self, dataset_id: str, document_id: str) -> None:
        """Delete a document.

        Raises:
            NotFound: it is gone already.
        """
        self._transport.write("DELETE", f"{_API}/{dataset_id}/documents/{document_id}")

    def delete(self, dataset_id: str) -> None:
        """Delete a knowledge base with its documents; apps that use it are not asked."""
        self._transport.write("DELETE", f"{_API}/{dataset_id}")


def _indexing(rule: ProcessRule | None, technique: str) -> dict[str, Any]:
    return {"indexing_technique": technique, "process_rule": rule.body() if rule else {"mode": "automatic"}}


def _added(data: Fields) -> tuple[Document, str]:
    return parse_document(data.object("document")), data.text("batch")
