"""Console calls on the model provider: Ollama's form, saved models, validation, removal."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from .accounts import login_required
from .db import Row
from .fields import Argument, body, choice, mapping, query, string
from .http import Request, Response, no_content, route
from .models import PROVIDERS, TYPES, Models
from .ollama import Model, OllamaError

API = "/console/api/workspaces/current"
_DATA = Path(__file__).parent / "data"
_ENTRY: dict[str, Any] = json.loads((_DATA / "provider.json").read_text())
PARAMETERS: list[dict[str, Any]] = json.loads((_DATA / "parameters.json").read_text())
_ICONS = ("icon_small", "icon_large")
_MODEL_TYPE = Argument(choice(*TYPES), required=True)


def models_of(request: Request) -> Models:
    """The models of the request's workspace."""
    return Models(request.app.database, request.tenant)


def brief(request: Request) -> dict[str, Any]:
    """The provider as it is repeated inside other answers."""
    return {
        "provider": "ollama",
        "label": _ENTRY["label"],
        **_icons(request),
        "supported_model_types": _ENTRY["supported_model_types"],
        "models": [],
    }


def _icons(request: Request) -> dict[str, dict[str, str]]:
    base = request.app.settings.environ.get("CONSOLE_API_URL", "") + API
    return {
        size: {lang: f"{base}/model-providers/ollama/{size}/{lang}" for lang in ("zh_Hans", "en_US")}
        for size in _ICONS
    }


def entry(row: Row) -> dict[str, Any]:
    """A saved model; always active, for nobody asks the model server."""
    credentials = row["encrypted_config"]
    properties: dict[str, Any] = {"context_size": int(credentials.get("context_size", 4096))}
    if row["model_type"] == "llm":
        properties = {"mode": credentials.get("mode", "chat"), **properties}
    else:
        properties["max_chunks"] = 1
    name = row["model_name"]
    return {
        "model": name,
        "label": {"zh_Hans": name, "en_US": name},
        "model_type": row["model_type"],
        "features": ["vision"] if credentials.get("vision_support") == "true" else None,
        "fetch_from": "customizable-model",
        "model_properties": properties,
        "deprecated": False,
        "status": "active",
        "load_balancing_enabled": False,
    }


@route("GET", f"{API}/model-providers")
@login_required
def providers(request: Request) -> Any:
    """Ollama only, where the real server lists 55 providers."""
    wanted = query(request, model_type=Argument(choice(*TYPES)))["model_type"]
    if wanted and wanted not in _ENTRY["supported_model_types"]:
        return {"data": []}
    status = "active" if models_of(request).saved() else "no-configure"
    return {"data": [{**_ENTRY, **_icons(request), "custom_configuration": {"status": status}}]}


@route("GET", f"{API}/model-providers/<provider>/credentials")
@login_required
def provider_credentials(request: Request) -> Any:
    return {"credentials": None}


@route("POST", f"{API}/model-providers/<provider>")
@login_required
def save_provider(request: Request) -> Any:
    body(request, credentials=Argument(mapping, required=True))
    _known(request)
    raise ValueError(f"Provider {request['provider']} does not have provider_credential_schema")


@route("GET", f"{API}/model-providers/<provider>/models")
@login_required
def provider_models(request: Request) -> Any:
    rows = models_of(request).saved() if request["provider"] == "ollama" else []
    return {"data": [{**entry(row), "provider": brief(request)} for row in rows]}


@route("GET", f"{API}/model-providers/<provider>/models/credentials")
@login_required
def model_credentials(request: Request) -> Any:
    wanted = query(request, model=Argument(string, required=True), model_type=_MODEL_TYPE)
    found = None
    if request["provider"] == "ollama":
        found = models_of(request).credentials(wanted["model"], wanted["model_type"])
    return {"credentials": found, "load_balancing": {"enabled": False, "configs": []}}


@route("POST", f"{API}/model-providers/<provider>/models/credentials/validate")
@login_required
def validate_model(request: Request) -> Any:
    """A model that does not answer is 200 with ``result: error``; a malformed credential is 400."""
    values = _model_arguments(request)
    credentials = _checked(values["model_type"], values["credentials"])
    try:
        _try(values["model"], values["model_type"], credentials)
    except OllamaError as error:
        return {"result": "error", "error": _failed(error)}
    return {"result": "success"}


@route("POST", f"{API}/model-providers/<provider>/models")
@login_required
def save_model(request: Request) -> Any:
    """Add or overwrite, after the model has answered."""
    values = _model_arguments(request)
    credentials = _checked(values["model_type"], values["credentials"])
    try:
        _try(values["model"], values["model_type"], credentials)
    except OllamaError as error:
        raise ValueError(_failed(error)) from None
    models_of(request).save(values["model"], values["model_type"], credentials)
    return Response({"result": "success"})


@route("DELETE", f"{API}/model-providers/<provider>/models")
@login_required
def remove_model(request: Request) -> Response:
    """204, also for a model that is not there."""
    values = body(request, model=Argument(string, required=True), model_type=_MODEL_TYPE)
    _known(request)
    models_of(request).remove(values["model"], values["model_type"])
    return no_content()


@route("GET", f"{API}/model-providers/<provider>/models/parameter-rules")
@login_required
def parameter_rules(request: Request) -> Any:
    """The same for every model; the upper bound of num_predict is what was saved as max_tokens."""
    name = query(request, model=Argument(string, required=True))["model"]
    most = int((models_of(request).credentials(name, "llm") or {}).get("max_tokens", 4096))
    return {
        "data": [
            {**rule, "max": float(most)} if rule["name"] == "num_predict" else rule for rule in PARAMETERS
        ]
    }


def _model_arguments(request: Request) -> dict[str, Any]:
    values = body(
        request,
        model=Argument(string, required=True),
        model_type=_MODEL_TYPE,
        credentials=Argument(mapping, required=True),
    )
    _known(request)
    return values


def _known(request: Request) -> None:
    if request["provider"] not in PROVIDERS:
        raise ValueError(f"Provider {request['provider']} does not exist.")
    if request["provider"] != "ollama":
        raise ValueError(f"Provider {request['provider']} is not in the lab's stand-in.")


def _checked(model_type: str, given: dict[str, Any]) -> dict[str, str]:
    """The form's rules: strings only, required fields, options; what the form does not know is dropped.

    :raises ValueError: for the first field that breaks one.
    """
    kept = {}
    for form in _ENTRY["model_credential_schema"]["credential_form_schemas"]:
        name = form["variable"]
        if any(show["value"] != model_type for show in form["show_on"]):
            continue
        value = given.get(name)
        if not value:
            if form["required"]:
                raise ValueError(f"Variable {name} is required")
            if form["default"]:
                kept[name] = form["default"]
            continue
        if not isinstance(value, str):
            raise ValueError(f"Variable {name} should be string")
        if form["options"] and value not in [option["value"] for option in form["options"]]:
            raise ValueError(f"Variable {name} is not in options")
        kept[name] = value
    return kept


def _try(name: str, model_type: str, credentials: dict[str, str]) -> None:
    """:raises OllamaError: if the model does not answer."""
    model = Model(name, credentials["base_url"], credentials.get("mode", "chat"))
    model.validate(embedding=model_type == "text-embedding")


def _failed(error: OllamaError) -> str:
    return f"An error occurred during credentials validation: {error}"
