"""An app's configuration: checked and completed. It is always replaced as a whole, and what a call leaves out is reset."""

from __future__ import annotations

import copy
import uuid
from typing import Any

from .models import PROVIDERS, Models

CHAT_MODES = ("chat", "completion", "agent-chat")  # in the order of an error text
_OFF = {"enabled": False}
_FILES = {
    "image": {
        "enabled": False,
        "number_limits": 3,
        "detail": "high",
        "transfer_methods": ["remote_url", "local_file"],
    }
}
# Of an app that has just been created, or imported without some keys.
_NEW: dict[str, Any] = {
    "opening_statement": None,
    "suggested_questions": [],
    "suggested_questions_after_answer": _OFF,
    "speech_to_text": _OFF,
    "text_to_speech": _OFF,
    "retriever_resource": {"enabled": True},
    "annotation_reply": _OFF,
    "more_like_this": _OFF,
    "sensitive_word_avoidance": {"enabled": False, "type": "", "configs": []},
    "external_data_tools": [],
    "model": {},
    "user_input_form": [],
    "dataset_query_variable": None,
    "pre_prompt": None,
    "agent_mode": {"enabled": False, "strategy": None, "tools": [], "prompt": None},
    "prompt_type": "simple",
    "chat_prompt_config": {},
    "completion_prompt_config": {},
    "dataset_configs": {"retrieval_model": "multiple"},
    "file_upload": _FILES,
}
# Of a configuration that was sent without some keys: not the same.
_OMITTED: dict[str, Any] = {
    **_NEW,
    "opening_statement": "",
    "text_to_speech": {"enabled": False, "voice": "", "language": ""},
    "retriever_resource": _OFF,
    "sensitive_word_avoidance": _OFF,
    "pre_prompt": "",
    "agent_mode": {"enabled": False, "tools": [], "strategy": "router"},
    "dataset_configs": {"retrieval_model": "single"},
}
_QUERY_FORM = [{"paragraph": {"label": "Query", "variable": "query", "required": True, "default": ""}}]
_MOST_STOPS = 4


def new(mode: str, models: Models) -> dict[str, Any]:
    """The configuration of a new app: the default LLM, or a name of another provider if there is none."""
    default = models.default("llm")
    provider, name = "openai", "gpt-4o-audio-preview"
    if default and models.credentials(default["model_name"], "llm") is not None:
        provider, name = "ollama", default["model_name"]
    made = copy.deepcopy(_NEW)
    made["model"] = {"provider": provider, "name": name, "mode": "chat", "completion_params": {}}
    if mode == "completion":
        made.update(user_input_form=copy.deepcopy(_QUERY_FORM), pre_prompt="{{query}}")
    return made


def imported(given: dict[str, Any]) -> dict[str, Any]:
    """A configuration out of a DSL file, unchecked as in the real server."""
    return {name: given.get(name, value) for name, value in copy.deepcopy(_NEW).items()}


def checked(mode: str, given: dict[str, Any], models: Models) -> dict[str, Any]:
    """A configuration as it is stored.

    :raises ValueError: naming the first field that is wrong. Ids of knowledge bases are not looked up.
    """
    made: dict[str, Any] = {name: given.get(name) for name in _OMITTED}
    for name, value in copy.deepcopy(_OMITTED).items():
        if made[name] is None:
            made[name] = value
    made["model"] = _model(given.get("model"), models)
    made["annotation_reply"] = dict(_OFF)
    if made["prompt_type"] not in ("simple", "advanced"):
        raise ValueError("prompt_type must be in ['simple', 'advanced']")
    for field in made["user_input_form"] or ():
        _form_field(field)
    for name in ("pre_prompt", "opening_statement"):
        if not isinstance(made[name], str):
            raise ValueError(f"{name} must be of string type")
    if not isinstance(made["suggested_questions"], list):
        raise ValueError("suggested_questions must be of list type")
    configs = made["dataset_configs"]
    if not isinstance(configs, dict):
        raise ValueError("dataset_configs must be of object type")
    configs.setdefault("datasets", {"strategy": "router", "datasets": []})
    for name in dataset_ids(made):
        try:
            uuid.UUID(name)
        except ValueError:
            raise ValueError("id in dataset must be of UUID type") from None
    if mode == "completion" and dataset_ids(made) and not given.get("dataset_query_variable"):
        raise ValueError("Dataset query variable is required when dataset is exist")
    made["dataset_query_variable"] = given.get("dataset_query_variable")
    return made


def _model(given: Any, models: Models) -> dict[str, Any]:
    if not given:
        raise ValueError("model is required")
    if not isinstance(given, dict):
        raise ValueError("model must be of object type")
    if given.get("provider") not in PROVIDERS:
        raise ValueError(f"model.provider is required and must be in {list(PROVIDERS)!s}")
    if "name" not in given:
        raise ValueError("model.name is required")
    credentials = models.credentials(given["name"], "llm") if given["provider"] == "ollama" else None
    if credentials is None:
        raise ValueError("model.name must be in the specified model list")
    if "completion_params" not in given:
        raise ValueError("model.completion_params is required")
    parameters = given["completion_params"]
    if not isinstance(parameters, dict):
        raise ValueError("model.completion_params must be of object type")
    stop = parameters.get("stop", [])
    if not isinstance(stop, list):
        raise ValueError("stop in model.completion_params must be of list type")
    if len(stop) > _MOST_STOPS:
        raise ValueError("stop sequences must be less than 4")
    return {
        **given,
        "mode": credentials.get("mode", "chat"),
        "completion_params": {**parameters, "stop": stop},
    }


def _form_field(field: Any) -> None:
    if not isinstance(field, dict) or len(field) != 1:
        raise ValueError("Keys in user_input_form list can only be 'text-input', 'paragraph'  or 'select'")
    ((kind, values),) = field.items()
    if kind not in ("text-input", "paragraph", "select", "number", "external_data_tool"):
        raise ValueError("Keys in user_input_form list can only be 'text-input', 'paragraph'  or 'select'")
    for name in ("label", "variable"):
        if not values.get(name):
            raise ValueError(f"{name} is required in user_input_form")


def dataset_ids(config: dict[str, Any]) -> list[str]:
    """Ids of the knowledge bases that a configuration names and has not switched off."""
    entries = (config["dataset_configs"].get("datasets") or {}).get("datasets") or []
    found = [entry.get("dataset") or {} for entry in entries]
    return [str(entry["id"]) for entry in found if entry.get("enabled", True) and entry.get("id")]
