"""Apps as YAML, DSL version 0.1.3: written and read."""

from __future__ import annotations

from typing import Any

import yaml

from . import apps, db, model_config
from .http import Request

VERSION = "0.1.3"
_DEFAULT_ICON = "🤖"


def dump(request: Request, app: db.Row) -> str:
    """An app as YAML; ids of knowledge bases are in clear.

    :raises ValueError: for a workflow, which has no draft here.
    """
    config = apps.config_row(request.app.database, app)
    if config is None:
        raise ValueError("Missing draft workflow configuration, please check.")
    names = ("name", "mode", "icon_background", "description", "use_icon_as_answer_icon")
    data = {
        "version": VERSION,
        "kind": "app",
        "app": {
            **{name: app[name] for name in names},
            "icon": _DEFAULT_ICON if app["icon_type"] == "image" else app["icon"],
        },
        "model_config": config["configs"],
    }
    return yaml.dump(data, allow_unicode=True)


def load(request: Request, text: str, changes: dict[str, Any]) -> db.Row:
    """A new app from YAML. Neither the version nor the models and knowledge bases that it names are checked.

    :param changes: name, description and icon in the place of those in the YAML.
    :raises ValueError: if it is no YAML or lacks its main keys.
    """
    try:
        data = yaml.safe_load(text)
    except yaml.YAMLError:
        raise ValueError("Invalid YAML format in data argument.") from None
    if not isinstance(data, dict):
        raise RuntimeError(f"{type(data).__name__} has no keys")  # the real server crashes
    given = data.get("app")
    if not given:
        raise ValueError("Missing app in data argument")
    if given.get("mode") not in model_config.CHAT_MODES:
        raise ValueError("Missing workflow in data argument when app mode is advanced-chat or workflow")
    if not data.get("model_config"):
        raise ValueError(
            "Missing model_config in data argument when app mode is chat, agent-chat or completion"
        )
    names = ("name", "description", "icon", "icon_background")
    made = {
        **{name: changes.get(name) or given.get(name) for name in names},
        "mode": given["mode"],
        "icon_type": changes.get("icon_type"),
        "use_icon_as_answer_icon": given.get("use_icon_as_answer_icon", False),
    }
    return apps.create(request, made, model_config.imported(data["model_config"]))
