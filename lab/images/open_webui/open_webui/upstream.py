"""What Open WebUI asks other servers: Ollama's models, and those of the OpenAI connection."""

from __future__ import annotations

import json
import sys
import time
import urllib.request
from typing import Any

from .state import SETTINGS

MODEL_LIST_TIMEOUT = 3  # s


def fetch(url: str, timeout: float = MODEL_LIST_TIMEOUT) -> Any:
    """JSON from another server, or None if it cannot be had."""
    try:
        with urllib.request.urlopen(url, timeout=timeout) as answer:  # noqa: S310 - the admin's own setting
            return json.load(answer)
    except (OSError, ValueError) as error:
        print(f"ERROR [open_webui] Connection error: {url}: {error}", file=sys.stderr, flush=True)
        return None


def ollama_models() -> list[dict[str, Any]]:
    """The models of all Ollama servers; ``urls`` says which have it."""
    merged: dict[str, dict[str, Any]] = {}
    if SETTINGS["ollama.enable"]:
        for index, url in enumerate(SETTINGS["ollama.base_urls"]):
            for model in (fetch(f"{url}/api/tags") or {}).get("models") or []:
                merged.setdefault(model["model"], {**model, "urls": []})["urls"].append(index)
    return list(merged.values())


def all_models() -> list[dict[str, Any]]:
    """What the model menu shows. With the OpenAI connection on, every call also asks that server, reachable or not."""
    models = [
        {
            "id": m["model"],
            "name": m["name"],
            "object": "model",
            "created": int(time.time()),
            "owned_by": "ollama",
            "ollama": m,
        }
        for m in ollama_models()
    ]
    if SETTINGS["openai.enable"]:
        for index, url in enumerate(SETTINGS["openai.api_base_urls"]):
            for model in (fetch(f"{url}/models") or {}).get("data") or []:
                models.append(
                    {**model, "name": model["id"], "owned_by": "openai", "openai": model, "urlIdx": index}
                )
    return models
