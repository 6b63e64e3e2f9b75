"""Console calls on knowledge bases."""

from __future__ import annotations

from typing import Any

from . import datasets, documents, jobs
from .accounts import login_required
from .fields import Argument, body, mapping, query, string
from .http import Request, Response, no_content, route
from .splitter import AUTOMATIC

API = "/console/api/datasets"


def paging(request: Request) -> tuple[int, int, str]:
    """Page, limit and keyword of a query, never refused."""

    def number(name: str, default: int) -> int:
        text = request.query.get(name, "")
        return int(text) if text.isdigit() and int(text) else default

    return number("page", 1), number("limit", 20), request.query.get("keyword", "")


@route("GET", API)
@login_required
def listing(request: Request) -> Any:
    number, limit, keyword = paging(request)
    rows, total = datasets.page(request, number, limit, keyword)
    data = [{**datasets.shown(request.app, row), "partial_member_list": []} for row in rows]
    return {"data": data, "has_more": len(rows) == limit, "limit": limit, "total": total, "page": number}


@route("POST", API)
@login_required
def create(request: Request) -> Response:
    """The permission is not read here, as in the real server."""
    given = body(
        request,
        name=Argument(datasets.valid_name, required=True),
        description=Argument(datasets.valid_description, default=""),
        indexing_technique=Argument(datasets.valid_technique),
    )
    row = datasets.create(request, given["name"], given["indexing_technique"], given["description"])
    return Response(datasets.shown(request.app, row, available=False), 201)


@route("GET", f"{API}/retrieval-setting")
@login_required
def retrieval_setting(request: Request) -> Any:
    return {"retrieval_method": ["semantic_search", "full_text_search", "hybrid_search"]}


@route("GET", f"{API}/process-rule")
@login_required
def process_rule(request: Request) -> Any:
    """The default, or the rule of a document; the default calls the separator ``delimiter``."""
    document_id = query(request, document_id=Argument(string))["document_id"]
    if document_id:
        row = request.app.database.one(
            "SELECT r.mode, r.rules FROM dataset_process_rules r JOIN documents d ON d.dataset_process_rule_id = r.id"
            " WHERE d.id::text = %s AND d.tenant_id = %s",
            document_id, request.tenant,
        )  # fmt: skip
        if row:
            return {"mode": row["mode"], "rules": row["rules"] or AUTOMATIC}
    return {"mode": "custom", "rules": AUTOMATIC}


@route("GET", f"{API}/<uuid:dataset>")
@login_required
def detail(request: Request) -> Any:
    return datasets.shown(request.app, datasets.get(request))


@route("PATCH", f"{API}/<uuid:dataset>")
@login_required
def change(request: Request) -> Any:
    dataset = datasets.get(request)
    given = body(
        request,
        name=Argument(datasets.valid_name),
        description=Argument(datasets.valid_description),
        indexing_technique=Argument(datasets.valid_technique),
        permission=Argument(string),
        embedding_model=Argument(string),
        embedding_model_provider=Argument(string),
        retrieval_model=Argument(mapping),
    )
    given = {name: value for name, value in given.items() if value is not None}
    if "description" in request.json() and request.json()["description"] is None:
        given["description"] = None
    datasets.change(request.app, dataset, given, request.account)
    return {**datasets.shown(request.app, datasets.get(request), available=False), "partial_member_list": []}


@route("DELETE", f"{API}/<uuid:dataset>")
@login_required
def delete(request: Request) -> Response:
    datasets.delete(request.app, datasets.get(request))
    return no_content()


@route("GET", f"{API}/<uuid:dataset>/use-check")
@login_required
def use_check(request: Request) -> Any:
    """Answers for a knowledge base that is gone, too."""
    row = request.app.database.one(
        "SELECT 1 AS n FROM app_dataset_joins WHERE dataset_id = %s LIMIT 1", request["dataset"]
    )
    return {"is_using": row is not None}


@route("GET", f"{API}/<uuid:dataset>/related-apps")
@login_required
def related_apps(request: Request) -> Any:
    datasets.get(request)
    rows = request.app.database.all(
        "SELECT a.* FROM apps a JOIN app_dataset_joins j ON j.app_id = a.id WHERE j.dataset_id = %s ORDER BY j.created_at",
        request["dataset"],
    )
    names = ("name", "description", "mode", "icon_type", "icon", "icon_background")
    data = [{"id": str(row["id"]), **{name: row[name] for name in names}, "icon_url": None} for row in rows]
    return {"data": data, "total": len(data)}


@route("POST", f"{API}/<uuid:dataset>/retry")
@login_required
def retry(request: Request) -> Response:
    """Index documents again that ended in an error; others are left alone."""
    dataset = datasets.get(request)
    failed = []
    for document_id in body(request, document_ids=Argument(list, required=True))["document_ids"]:
        row = documents.find(request.app, str(dataset["id"]), document_id)
        if row and row["indexing_status"] != "completed":
            failed.append(document_id)
    if failed:
        jobs.push(request.app.broker, "retry_documents", str(dataset["id"]), failed)
    return no_content()


@route("POST", f"{API}/<uuid:dataset>/api-keys")
@login_required
def key_of_one(request: Request) -> Any:
    """The route is there and crashes, as in the real server."""
    raise RuntimeError("api_tokens has no dataset_id")


@route("GET", f"{API}/<uuid:dataset>/error-docs")
@login_required
def error_documents(request: Request) -> Any:
    dataset = datasets.get(request)
    rows = documents.statuses(request.app, str(dataset["id"]), "AND indexing_status IN ('error', 'paused')")
    # the real server does not count the segments here
    return {
        "data": [{**row, "completed_segments": 0, "total_segments": 0} for row in rows],
        "total": len(rows),
    }
