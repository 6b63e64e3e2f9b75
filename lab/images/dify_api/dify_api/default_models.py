"""Console calls on models by type and on a workspace's default models."""

from __future__ import annotations

from typing import Any

from .accounts import login_required
from .fields import Argument, array, body, choice, query
from .http import Request, route
from .models import TYPES
from .providers import API, brief, entry, models_of


@route("GET", f"{API}/models/model-types/<model_type>")
@login_required
def models_by_type(request: Request) -> Any:
    rows = models_of(request).saved(request["model_type"])
    if not rows:
        return {"data": []}
    provider = {
        name: value
        for name, value in brief(request).items()
        if name not in ("supported_model_types", "models")
    }
    return {"data": [{**provider, "status": "active", "models": [entry(row) for row in rows]}]}


@route("GET", f"{API}/default-model")
@login_required
def default_model(request: Request) -> Any:
    """Asking has an effect: the first saved model of the type becomes the default if there was none."""
    model_type = query(request, model_type=Argument(choice(*TYPES), required=True))["model_type"]
    row = models_of(request).default(model_type)
    if row is None:
        return {"data": None}
    return {"data": {"model": row["model_name"], "model_type": model_type, "provider": brief(request)}}


@route("POST", f"{API}/default-model")
@login_required
def set_default_models(request: Request) -> Any:
    """Entries before the first bad one stay applied; one without a provider is skipped."""
    models = models_of(request)
    for setting in body(request, model_settings=Argument(array, required=True))["model_settings"]:
        model_type = setting.get("model_type")
        if model_type not in TYPES:
            raise ValueError("invalid model type")
        if "provider" not in setting:
            continue
        if "model" not in setting:
            raise ValueError("invalid model")
        if setting["provider"] != "ollama":
            raise ValueError(f"Provider {setting['provider']} does not exist.")
        if models.credentials(setting["model"], model_type) is None:
            raise ValueError(f"Model {setting['model']} does not exist.")
        models.set_default(model_type, setting["model"])
    return {"result": "success"}
