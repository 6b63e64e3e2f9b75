"""Searching a knowledge base without asking a model for an answer: needs the embedding model only, and fails aloud where chats stay silent."""

from __future__ import annotations

from dataclasses import dataclass

from difyfleet.clients.dify.fields import Fields
from difyfleet.clients.dify.retrieval import RetrievalModel
from difyfleet.clients.dify.transport import MODEL, Transport

LONGEST_QUERY = 250  # characters


@dataclass(frozen=True)
class Hit:
    """A segment that was found."""

    document_id: str
    document_name: str
    segment_id: str
    content: str
    score: float | None  # None for full-text hits


class HitTesting:
    """Searches."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def search(
        self, dataset_id: str, query: str, retrieval: RetrievalModel | None = None, *, timeout: float = MODEL
    ) -> list[Hit]:
        """Segments for a query, best first; none for an empty knowledge base.

        Args:
            query: 1 to 250 characters.
            retrieval: None = the knowledge base's own settings; for an economy one give RetrievalModel.for_technique("economy").

        Raises:
            ServerCrashed: the embedding model's server or the vector store is away; the text says which.
        """
        body: dict[str, object] = {"query": query}
        if retrieval is not None:
            body["retrieval_model"] = retrieval.body()
        return parse_hits(
            self._transport.ask(f"/console/api/datasets/{dataset_id}/hit-testing", body, timeout=timeout)
        )


def parse_hits(data: Fields) -> list[Hit]:
    return [_hit(record) for record in data.objects("records")]


def _hit(record: Fields) -> Hit:
    segment = record.object("segment")
    return Hit(
        document_id=segment.text("document_id"),
        document_name=segment.object("document").text("name"),
        segment_id=segment.text("id"),
        content=segment.text("content"),
        score=record.number("score", None),
    )
