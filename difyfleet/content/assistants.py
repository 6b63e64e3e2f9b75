"""An assistant: what differs between the declaration and the app in Dify."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from difyfleet.clients.dify import ApiKey, App, Dify, Icon, Retrieval, Settings
from difyfleet.clients.dify import errors as refused
from difyfleet.clients.dify.model_config import Difference
from difyfleet.content.knowledge import PROVIDER, needs_reranking_switch
from difyfleet.content.state import KnownAssistant
from difyfleet.diffs import unified
from difyfleet.notes import Change
from difyfleet.secrets import Secret
from difyfleet.spec.content import LLM, Assistant, default_of, shown_name
from difyfleet.spec.models import HostSpec

MODE = "chat"
_LONG = 60  # characters of a value that stand in a line; more becomes a diff
_WORDS = {
    "params": "parameter",
    "datasets": "knowledge bases",
    "citations": "citation switch",
    "retrieval": "retrieval",
}


def key_file(key: str) -> str:
    """Name of the kept secret that is the assistant's API key."""
    return f"dify_app_key_{key}"


def settings_of(spec: HostSpec, key: str, datasets: Mapping[str, str]) -> Settings:
    """All that is managed of the configuration. It goes to the server whole: a body without citations switches them off.

    Args:
        datasets: id of each knowledge base by key.
    """
    assistant = spec.assistants[key]
    attached = [spec.knowledge[name] for name in assistant.knowledge]
    return Settings(
        provider=PROVIDER,
        model=assistant.model or default_of(spec.dify_models, LLM),
        model_mode="chat",
        params=assistant.parameters.completion(documents=bool(attached)),
        prompt=assistant.instructions,
        opening=assistant.opening_statement,
        suggested=list(assistant.suggested_questions),
        suggested_after_answer=assistant.suggest_after_answer,
        citations=assistant.citations,
        datasets=[datasets[name] for name in assistant.knowledge],
        retrieval=Retrieval(
            top_k=assistant.top_k,
            score_threshold=assistant.score_threshold,
            mixed=assistant.merge == "all" or (assistant.merge is None and needs_reranking_switch(attached)),
        ),
    )


def icon_of(assistant: Assistant) -> Icon | None:
    """Its icon as the client takes it; None = as it is."""
    return Icon(assistant.icon, assistant.icon_background) if assistant.icon else None


def find(dify: Dify, known: KnownAssistant | None, name: str) -> App | None:
    """The app that is remembered, else the chat app of exactly this name.

    Raises:
        DifyError: two of this name; the message lists both ids.
    """
    if known is not None:
        try:
            return dify.apps.get(known.id)
        except refused.NotFound:
            pass
    listed = dify.apps.find(name, MODE)
    return dify.apps.get(listed.id) if listed else None


@dataclass(frozen=True)
class AppDrift:
    """In what an app is other than declared. Each part is mended by its own call."""

    about: tuple[Change, ...] = ()  # name, description, icon
    config: tuple[Change, ...] = ()
    site: tuple[Change, ...] = ()
    api: tuple[Change, ...] = ()

    @property
    def changes(self) -> tuple[Change, ...]:
        """All of them."""
        return (*self.about, *self.config, *self.site, *self.api)


def drift(app: App, key: str, spec: HostSpec, wanted: Settings, names: Mapping[str, str]) -> AppDrift:
    """Compare an app with its declaration.

    Args:
        names: name of each knowledge base by id, for people.
    """
    assistant = spec.assistants[key]
    name = shown_name(key, assistant)
    label = f"assistant {name}"
    about = []
    pairs: dict[str, tuple[Any, Any]] = {
        "name": (app.name, name),
        "description": (app.description, assistant.description),
        "icon": (app.icon, icon_of(assistant) or app.icon),
    }
    for what, (was, want) in pairs.items():
        if was != want:
            about.append(_change(label, what, _icon(was), _icon(want)))
    config: tuple[Change, ...] = (Change(f"{label}: has no configuration"),)
    if app.config is not None:
        # how knowledge bases are chosen is no matter where there are none
        idle = not wanted.datasets and not app.config.datasets
        found = [each for each in app.config.compare(wanted) if not (idle and each.key == "retrieval_model")]
        config = tuple(change for each in found for change in _difference(label, each, names))
    site = _switch(label, "web page", app.enable_site, assistant.site)
    api = _switch(label, "service API", app.enable_api, assistant.api_key)
    return AppDrift(tuple(about), config, site, api)


def _switch(label: str, what: str, was: bool, want: bool | None) -> tuple[Change, ...]:
    return () if want is None or was == want else (Change(f"{label}: {what} {_on(was)}, wanted {_on(want)}"),)


def _difference(label: str, difference: Difference, names: Mapping[str, str]) -> tuple[Change, ...]:
    was, want = difference.is_now, difference.wanted
    if difference.key == "datasets":
        was, want = ([names.get(each, f"unknown ({each})") for each in value] for value in (was, want))
    if difference.key == "citations":
        was, want = _on(was), _on(want)
    what = _WORDS.get(difference.key, difference.key.replace("_", " "))
    if isinstance(was, Retrieval) and isinstance(want, Retrieval):
        was, want = vars(was), vars(want)
    if isinstance(was, Mapping) and isinstance(want, Mapping):
        keys = [name for name in {**was, **want} if was.get(name) != want.get(name)]
        return tuple(_change(label, f"{what} {key}", was.get(key), want.get(key)) for key in keys)
    return (_change(label, what, was, want),)


def _change(label: str, what: str, was: Any, want: Any) -> Change:
    old, new = _text(was), _text(want)
    if len(old) <= _LONG and len(new) <= _LONG and "\n" not in old + new:
        return Change(f"{label}: {what} {old or 'empty'}, wanted {new or 'empty'}")
    return Change(f"{label}: {what} differs", unified(old, new, f"{label}, {what}"))


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False, default=str)


def _icon(value: Any) -> Any:
    return (
        f"{value.emoji} on {value.background}"
        if isinstance(value, Icon)
        else ("none" if value is None else value)
    )


def _on(value: object) -> str:
    return "on" if value else "off"


def our_key(keys: list[ApiKey], known: KnownAssistant | None, kept: Secret | None) -> ApiKey | None:
    """The key that is ours: the remembered one; else the one that the host keeps; else, when nothing is remembered, the oldest."""
    for key in keys:
        if known is not None and key.id == known.key_id:
            return key
    for key in keys:
        if kept is not None and key.token == kept:
            return key
    nothing_known = (known is None or not known.key_id) and kept is None
    return keys[0] if keys and nothing_known else None
