"""A search that shows what it finds, on both interfaces."""

from __future__ import annotations

from typing import Any

from . import datasets, db, retrieval
from .accounts import login_required
from .dataset_routes import API
from .fields import Argument, body, mapping, string
from .http import ApiError, Request, route
from .ollama import OllamaError
from .segments import shown
from .vectors import VectorError

_LONGEST = 250  # characters


@route("POST", f"{API}/<uuid:dataset>/hit-testing")
@login_required
def hit_testing(request: Request) -> Any:
    return search(request, datasets.get(request))


def search(request: Request, dataset: db.Row) -> dict[str, Any]:
    """What is broken is told in a 500's message, as in the real server.

    :raises ApiError: 500.
    """
    given = body(request, query=Argument(string), retrieval_model=Argument(mapping))
    query = given["query"]
    if not query or len(query) > _LONGEST:
        raise ValueError(f"Query is required and cannot exceed {_LONGEST} characters")
    if not retrieval.has_segments(request.app, dataset):
        return {"query": {"content": query, "tsne_position": {"x": 0, "y": 0}}, "records": []}
    settings = given["retrieval_model"] or retrieval.settings_of(dataset)
    try:
        found = retrieval.search(request.app, dataset, query, settings)
    except OllamaError as error:
        raise _crashed(error.invocation) from None
    except (VectorError, ApiError, KeyError) as error:
        raise _crashed(str(error)) from None
    return {"query": {"content": query}, "records": [_record(entry) for entry in found]}


def _crashed(message: str) -> ApiError:
    return ApiError(500, "internal_server_error", message)


def _record(entry: retrieval.Found) -> dict[str, Any]:
    document = {
        "id": str(entry.segment["document_id"]),
        "data_source_type": entry.data_source_type,
        "name": entry.document_name,
        "doc_type": None,
    }
    return {
        "segment": {**shown(entry.segment), "document": document},
        "score": entry.score,
        "tsne_position": None,
    }
