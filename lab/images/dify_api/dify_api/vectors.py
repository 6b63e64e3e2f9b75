"""The vector store: Weaviate's interface, as far as knowledge bases use it. One class per knowledge base."""

from __future__ import annotations

import http.client
import json
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from .settings import Settings

_PROPERTIES = ("text", "doc_id", "document_id", "dataset_id", "doc_hash")
_CONNECT_TIMEOUT, _READ_TIMEOUT = 5.0, 60.0  # s


class VectorError(Exception):
    """The vector store cannot be reached, or refuses."""


@dataclass
class Hit:
    """A segment that was found; without a score if it was found by its words."""

    node: str
    score: float | None


def class_name(dataset_id: str) -> str:
    """The class of a knowledge base."""
    return f"Vector_index_{dataset_id.replace('-', '_')}_Node"


@dataclass(frozen=True)
class VectorStore:
    """Weaviate at an address."""

    endpoint: str
    key: str

    @classmethod
    def of(cls, settings: Settings) -> VectorStore:
        """As WEAVIATE_ENDPOINT and WEAVIATE_API_KEY say."""
        environ = settings.environ
        return cls(environ.get("WEAVIATE_ENDPOINT", ""), environ.get("WEAVIATE_API_KEY", ""))

    def _call(self, method: str, path: str, body: Any = None) -> Any:
        """:raises VectorError: no connection, or a status of 400 and more other than 404."""
        parts = urlsplit(self.endpoint)
        connection = http.client.HTTPConnection(
            parts.hostname or "", parts.port or 80, timeout=_CONNECT_TIMEOUT
        )
        headers = {"Content-Type": "application/json"}
        if self.key:
            headers["Authorization"] = f"Bearer {self.key}"
        try:
            connection.connect()
            connection.sock.settimeout(_READ_TIMEOUT)
            connection.request(method, path, None if body is None else json.dumps(body), headers)
            response = connection.getresponse()
            content = response.read()
        except (OSError, http.client.HTTPException):
            raise VectorError("Vector database connection error") from None
        finally:
            connection.close()
        if response.status >= 400 and response.status != 404:
            raise VectorError(
                f"Unexpected status code: {response.status}, with response body: {content.decode(errors='replace')}"
            )
        return json.loads(content) if content else None

    def add(self, dataset_id: str, entries: list[tuple[dict[str, str], list[float]]]) -> None:
        """Add segments with their vectors; ``doc_id`` is the object's id."""
        name = class_name(dataset_id)
        if self._call("GET", f"/v1/schema/{name}") is None:
            properties = [{"name": prop, "dataType": ["text"]} for prop in _PROPERTIES]
            self._call("POST", "/v1/schema", {"class": name, "vectorizer": "none", "properties": properties})
        objects = [
            {"class": name, "id": properties["doc_id"], "properties": properties, "vector": vector}
            for properties, vector in entries
        ]
        self._call("POST", "/v1/batch/objects", {"objects": objects})

    def remove(self, dataset_id: str, document_id: str) -> None:
        """Remove a document's segments."""
        name = class_name(dataset_id)
        if self._call("GET", f"/v1/schema/{name}") is not None:
            where = {"path": ["document_id"], "operator": "Equal", "valueText": document_id}
            self._call("DELETE", "/v1/batch/objects", {"match": {"class": name, "where": where}})

    def remove_all(self, dataset_id: str) -> None:
        """Remove a knowledge base's class."""
        self._call("DELETE", f"/v1/schema/{class_name(dataset_id)}")

    def nearest(self, dataset_id: str, vector: list[float], limit: int, least: float) -> list[Hit]:
        """Segments by the cosine of their vectors with a query's, those above a least score."""
        numbers = json.dumps(vector)
        rows = self._get(dataset_id, f"nearVector: {{vector: {numbers}}} limit: {limit}", "distance")
        hits = [Hit(row["doc_id"], 1.0 - float(row["_additional"]["distance"])) for row in rows]
        return [hit for hit in hits if hit.score is not None and hit.score > least]

    def by_words(self, dataset_id: str, query: str, limit: int) -> list[Hit]:
        """Segments by their words (BM25); the real server keeps no score of these."""
        argument = f'bm25: {{query: {json.dumps(query)}, properties: ["text"]}} limit: {limit}'
        return [Hit(row["doc_id"], None) for row in self._get(dataset_id, argument, "score")]

    def _get(self, dataset_id: str, arguments: str, additional: str) -> list[dict[str, Any]]:
        name = class_name(dataset_id)
        query = f"{{Get{{{name}({arguments}){{doc_id _additional {{{additional}}} }}}}}}"
        answer = self._call("POST", "/v1/graphql", {"query": query})
        if answer.get("errors"):
            raise VectorError(f"Error during query: {answer['errors']}")
        rows: list[dict[str, Any]] = answer["data"]["Get"][name]
        return rows
