"""Knowledge bases on the service API, by a key of the workspace."""

from __future__ import annotations

import json
from typing import Any

from . import datasets, document_routes, documents, files, hit_testing
from .dataset_routes import paging
from .fields import Argument, body, boolean, mapping, string
from .http import MissingField, Request, Response, no_content, route
from .multipart import File, parse
from .service_auth import dataset_key

API = "/v1/datasets"
ONE = f"{API}/<uuid:dataset>"


@route("GET", API)
@dataset_key
def listing(request: Request) -> Any:
    number, limit, keyword = paging(request)
    rows, total = datasets.page(request, number, limit, keyword)
    data = [datasets.shown(request.app, row) for row in rows]
    return {"data": data, "has_more": len(rows) == limit, "limit": limit, "total": total, "page": number}


@route("POST", API)
@dataset_key
def create(request: Request) -> Any:
    given = body(
        request,
        name=Argument(datasets.valid_name, required=True),
        description=Argument(datasets.valid_description, default=""),
        indexing_technique=Argument(datasets.valid_technique),
    )
    row = datasets.create(request, given["name"], given["indexing_technique"], given["description"])
    return datasets.shown(request.app, row, available=False)


@route("DELETE", ONE)
@dataset_key
def delete(request: Request) -> Response:
    datasets.delete(request.app, datasets.get(request))
    return no_content()


@route("GET", f"{ONE}/documents")
@dataset_key
def listed_documents(request: Request) -> Any:
    return document_routes.page(request, datasets.get(request))


@route("GET", f"{ONE}/documents/<batch>/indexing-status")
@dataset_key
def status(request: Request) -> Any:
    return document_routes.status_of_batch(request, datasets.get(request))


@route("DELETE", f"{ONE}/documents/<uuid:document>")
@dataset_key
def delete_document(request: Request) -> Any:
    document_routes.remove(request)
    return {"result": "success"}


@route("POST", f"{ONE}/retrieve")
@route("POST", f"{ONE}/hit-testing")
@dataset_key
def retrieve(request: Request) -> Any:
    return hit_testing.search(request, datasets.get(request))


@route("POST", f"{ONE}/document/create-by-text")
@route("POST", f"{ONE}/document/create_by_text")
@dataset_key
def create_by_text(request: Request) -> Any:
    given = body(
        request,
        name=Argument(string, required=True),
        text=Argument(string, required=True),
        indexing_technique=Argument(datasets.valid_technique),
        process_rule=Argument(mapping),
        duplicate=Argument(boolean, default=True),
        doc_form=Argument(string, default="text_model"),
        doc_language=Argument(string, default="English"),
        retrieval_model=Argument(mapping),
    )
    name = given["name"] if "." in given["name"] else f"{given['name']}.txt"
    return _add(request, File(name, "text/plain", given["text"].encode()), given)


@route("POST", f"{ONE}/document/create-by-file")
@route("POST", f"{ONE}/document/create_by_file")
@dataset_key
def create_by_file(request: Request) -> Any:
    form = parse(request)
    given = {"doc_form": "text_model", "doc_language": "English", **json.loads(form.fields.get("data", "{}"))}
    return _add(request, form.file(), given)


def _add(request: Request, file: File, given: dict[str, Any]) -> dict[str, Any]:
    dataset = datasets.get(request)
    if not dataset["indexing_technique"] and not given.get("indexing_technique"):
        raise ValueError("indexing_technique is required.")
    if not given.get("process_rule"):
        raise MissingField("process_rule")
    documents.check_rule(given)
    datasets.check_model(request.app, dataset)
    upload = files.store(request.app, request.tenant, request.account, file)
    source = {"info_list": {"file_info_list": {"file_ids": [str(upload["id"])]}}}
    rows, batch = documents.add(request, dataset, {**given, "data_source": source}, created_from="api")
    return {"document": documents.shown(request.app, rows[0]), "batch": batch}
