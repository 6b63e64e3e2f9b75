"""Documents of a knowledge base: add, list, index, switch, rename, delete."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from difyfleet.clients.dify.console.indexing import IndexingStatus, Progress, Watch, parse_status
from difyfleet.clients.dify.fields import Fields
from difyfleet.clients.dify.process_rules import ProcessRule, parse_process_rule
from difyfleet.clients.dify.retrieval import RetrievalModel
from difyfleet.clients.dify.transport import Transport, only, pages

_API = "/console/api/datasets"


@dataclass(frozen=True)
class Document:
    """A document as the list shows it."""

    id: str
    name: str
    position: int
    indexing_status: str  # waiting, parsing, cleaning, splitting, indexing, completed, error, paused
    display_status: str  # queuing, indexing, paused, error, available, disabled, archived
    enabled: bool
    archived: bool
    error: str | None
    word_count: int  # characters, in fact
    file_id: str | None  # its upload
    file_size: int | None  # bytes of the upload
    doc_form: str
    rule_id: str | None = (
        None  # its segmentation; every `add`, and every change in the pages, makes a new one
    )


@dataclass(frozen=True)
class DocumentDetail:
    """What only the detail tells."""

    id: str
    name: str
    indexing_status: str
    display_status: str
    error: str | None
    segment_count: int
    rule: ProcessRule | None
    language: str
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Segment:
    """One piece of a document, as it is searched and given to the model."""

    id: str
    position: int
    content: str
    status: str
    enabled: bool


@dataclass(frozen=True)
class Batch:
    """The answer to adding documents. `id` is what the indexing is watched by."""

    id: str
    documents: tuple[Document, ...]


class Documents:
    """Documents of the workspace's knowledge bases."""

    page_size = 100  # the server's largest

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def add(
        self,
        dataset_id: str,
        file_ids: Sequence[str],
        rule: ProcessRule,
        *,
        indexing_technique: str | None = None,
        retrieval: RetrievalModel | None = None,
        doc_form: str | None = None,
        language: str | None = None,
        duplicate: bool | None = None,
    ) -> Batch:
        """Make documents of uploads; the worker indexes them afterwards.

        This is an upsert by file name: an enabled document of the same name keeps its id, gets the new file and is indexed again. (Beside a
        disabled one a second document of that name appears: enable it first.)

        Args:
            file_ids: from `files.upload`; one upload for each document.
            indexing_technique: only while the knowledge base has none.
            retrieval: search settings, used only while the knowledge base has none.
            doc_form: text_model (the server's default) or qa_model.
            language: English (the server's default), Chinese ...; for qa_model.
            duplicate: False makes a second document where there is one of the name. None = the server's default, true.

        Raises:
            ServerCrashed: an upload is not there (any more).
        """
        files = {"data_source_type": "upload_file", "file_info_list": {"file_ids": list(file_ids)}}
        body: dict[str, Any] = {
            "data_source": {"type": "upload_file", "info_list": files},
            "process_rule": rule.body(),
        }
        optional = {
            "indexing_technique": indexing_technique,
            "retrieval_model": retrieval.body() if retrieval else None,
            "doc_form": doc_form,
            "doc_language": language,
            "duplicate": duplicate,
        }
        body |= {key: value for key, value in optional.items() if value is not None}
        data = self._transport.write("POST", f"{_API}/{dataset_id}/documents", body)
        return Batch(
            id=data.text("batch"), documents=tuple(_document(entry) for entry in data.objects("documents"))
        )

    def all(self, dataset_id: str, keyword: str | None = None) -> list[Document]:
        """All documents, newest first; with `keyword` those whose name contains it."""
        query = {"keyword": keyword} if keyword else {}
        path = f"{_API}/{dataset_id}/documents"
        return [
            _document(entry)
            for entry in pages(
                lambda n: self._transport.get(path, {"page": n, "limit": self.page_size, **query})
            )
        ]

    def find(self, dataset_id: str, name: str) -> Document | None:
        """The document of exactly this name, None if there is none.

        Raises:
            DifyError: there are several; the message lists their ids.
        """
        found: Document | None = only(
            self.all(dataset_id), name, "documents", f"GET {_API}/{dataset_id}/documents"
        )
        return found

    def get(self, dataset_id: str, document_id: str) -> DocumentDetail:
        """One document.

        Raises:
            NotFound: it is gone.
        """
        data = self._transport.get(f"{_API}/{dataset_id}/documents/{document_id}")
        rule = data.mapping("dataset_process_rule")
        return DocumentDetail(
            id=data.text("id"),
            name=data.text("name"),
            indexing_status=data.text("indexing_status"),
            display_status=data.text("display_status", ""),
            error=data.text("error", None),
            segment_count=data.integer("segment_count", 0),
            rule=parse_process_rule(data.object("dataset_process_rule")) if rule else None,
            language=data.text("doc_language", ""),
            metadata=data.mapping("doc_metadata"),
        )

    def segments(self, dataset_id: str, document_id: str, limit: int = 100) -> list[Segment]:
        """The first segments of a document, in order."""
        data = self._transport.get(f"{_API}/{dataset_id}/documents/{document_id}/segments", {"limit": limit})
        return [
            Segment(
                id=entry.text("id"),
                position=entry.integer("position"),
                content=entry.text("content"),
                status=entry.text("status"),
                enabled=entry.flag("enabled", True),
            )
            for entry in data.objects("data")
        ]

    def status(self, dataset_id: str, batch: str) -> list[IndexingStatus]:
        """How far the documents of one `add` are; in no stable order, so match by id. A deleted document is left out.

        Raises:
            NotFound: no such batch, or all of its documents are gone.
        """
        return [
            parse_status(entry)
            for entry in self._transport.get(f"{_API}/{dataset_id}/batch/{batch}/indexing-status").objects(
                "data"
            )
        ]

    def status_of(self, dataset_id: str, document_id: str) -> IndexingStatus:
        """How far one document is."""
        return parse_status(
            self._transport.get(f"{_API}/{dataset_id}/documents/{document_id}/indexing-status")
        )

    def wait(
        self,
        dataset_id: str,
        batch: str,
        *,
        stall: float = 300.0,
        pause: float = 1.0,
        progress: Progress | None = None,
    ) -> list[IndexingStatus]:
        """Poll until every document of a batch is completed, paused or failed; a failure is in its status, not an exception.

        Args:
            stall: longest time without any change, in seconds. There is no limit on the whole: 600 segments take 600 embedding calls.
            pause: seconds between two polls.
            progress: called with the statuses at each change.

        Raises:
            IndexingStalled: nothing changed for `stall` seconds.
        """
        where = f"GET {_API}/{dataset_id}/batch/{batch}/indexing-status"
        return Watch(
            lambda: self.status(dataset_id, batch), where, stall=stall, pause=pause, progress=progress
        ).run()

    def retry(self, dataset_id: str, document_ids: Sequence[str]) -> None:
        """Index failed documents again. While that runs, the old error text is still shown."""
        self._transport.write("POST", f"{_API}/{dataset_id}/retry", {"document_ids": list(document_ids)})

    def failed(self, dataset_id: str) -> list[IndexingStatus]:
        """The documents in error."""
        return [
            parse_status(entry)
            for entry in self._transport.get(f"{_API}/{dataset_id}/error-docs").objects("data")
        ]

    def enable(self, dataset_id: str, document_id: str, on: bool = True) -> None:
        """Let a document be found, or not. The worker does it, so it takes a moment.

        Raises:
            InvalidAction: it is as asked already, or was switched moments ago, or is not indexed yet.
        """
        action = "enable" if on else "disable"
        self._transport.write("PATCH", f"{_API}/{dataset_id}/documents/{document_id}/status/{action}")

    def rename(self, dataset_id: str, document_id: str, name: str) -> None:
        """Another name; the upload keeps its own."""
        self._transport.write("POST", f"{_API}/{dataset_id}/documents/{document_id}/rename", {"name": name})

    def set_metadata(self, dataset_id: str, document_id: str, metadata: Mapping[str, Any]) -> None:
        """Replace what is noted about a document (any JSON object); `get` reads it. A good place for a content hash: the server shows none."""
        body = {"doc_type": "others", "doc_metadata": dict(metadata)}
        self._transport.write("PUT", f"{_API}/{dataset_id}/documents/{document_id}/metadata", body)

    def delete(self, dataset_id: str, document_id: str) -> None:
        """Delete a document, also one that waits or is being indexed.

        Raises:
            NotFound: it is gone already.
            InvalidRequest: the knowledge base's embedding model is gone; the server will not delete then.
        """
        self._transport.write("DELETE", f"{_API}/{dataset_id}/documents/{document_id}")


def parse_document(entry: Fields) -> Document:
    """From the answers that show documents as the list does."""
    return _document(entry)


def _document(entry: Fields) -> Document:
    upload = entry.mapping("data_source_detail_dict").get("upload_file") or {}
    source = entry.mapping("data_source_info").get("upload_file_id")
    return Document(
        id=entry.text("id"),
        name=entry.text("name"),
        position=entry.integer("position", 0),
        indexing_status=entry.text("indexing_status"),
        display_status=entry.text("display_status", ""),
        enabled=entry.flag("enabled", True),
        archived=entry.flag("archived", False),
        error=entry.text("error", None),
        word_count=entry.integer("word_count", 0),
        file_id=str(source or upload.get("id")) if source or upload.get("id") else None,
        file_size=upload.get("size"),
        doc_form=entry.text("doc_form", "text_model"),
        rule_id=entry.text("dataset_process_rule_id", None),
    )
