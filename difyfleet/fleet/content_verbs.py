"""What is inside Dify, by hand: pull it as declarations, ask an assistant, get back in, export and import apps."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import yaml

from difyfleet.clients.dify import Answer, AppService, Dify
from difyfleet.content import assistants, console, pull, rescue
from difyfleet.content import state as remembered
from difyfleet.content.pulled import write_files
from difyfleet.errors import HostError
from difyfleet.facts.secrets import HostSecrets
from difyfleet.fleet import each
from difyfleet.fleet.each import Outcome
from difyfleet.secrets import Secret
from difyfleet.spec.content import shown_name
from difyfleet.spec.models import HostSpec

T = TypeVar("T")
USER = "difyfleet-ask"


def on_each(
    hosts: Iterable[HostSpec], function: Callable[[Any, HostSpec], T], **options: Any
) -> list[Outcome[T]]:
    """each.on_each, for hosts with Dify."""

    def enabled(on: Any, spec: HostSpec) -> T:
        if not spec.dify.enabled:
            raise HostError("Dify is not enabled on this host")
        return function(on, spec)

    return each.on_each(hosts, enabled, **options)


def reset_password(on: Any, spec: HostSpec) -> str:
    """See rescue.reset_password."""
    return rescue.reset_password(on, spec)


def unlock(on: Any, spec: HostSpec) -> str:
    """See rescue.unlock."""
    return rescue.unlock(on, spec)


def pulled(on: Any, spec: HostSpec, folder: Path | None, named: str | None) -> str:
    """An existing Dify as YAML; with a folder its documents are fetched into it.

    Args:
        named: how the inventory names that folder.
    """
    found = pull.pull(on, spec, named)
    if folder is not None:
        write_files(found, folder)
    return found.yaml(spec.name)


@dataclass(frozen=True)
class Asked:
    """An answer for people and programs."""

    text: str
    documents: tuple[str, ...]
    first_token: float | None
    seconds: float

    def to_json(self) -> dict[str, Any]:
        return {
            "answer": self.text,
            "documents": list(self.documents),
            "first_token": self.first_token,
            "seconds": round(self.seconds, 2),
        }


def ask(on: Any, spec: HostSpec, key: str, question: str) -> Asked:
    """Ask an assistant through its service API, and leave no conversation behind.

    Args:
        key: of the inventory, or the assistant's name.

    Raises:
        HostError: there is no such assistant, or no key of it.
        DifyError: the model failed.
    """
    service = _service(on, spec, key)
    answer: Answer = service.ask_streaming(question, USER)
    if answer.conversation_id:
        service.delete_conversation(answer.conversation_id, USER)
    names = tuple(dict.fromkeys(citation.document_name for citation in answer.citations))
    return Asked(answer.text, names, answer.first_token, answer.seconds)


def _service(on: Any, spec: HostSpec, key: str) -> AppService:
    """The service API with the key that the host keeps; without one, with the app's own, found through the console."""
    known = (
        key
        if key in spec.assistants
        else next((k for k, a in spec.assistants.items() if shown_name(k, a) == key), None)
    )
    kept: Secret | None = None
    if known is not None:
        entry = on.get_fact(HostSecrets).get(assistants.key_file(known))
        kept = entry.value if entry else None
    if kept is None:
        dify = console.signed_in(on, spec)
        app_id = _app_id(on, dify, spec, key)
        keys = dify.keys.all(app_id)
        if not keys:
            raise HostError(
                "it has no API key",
                where=f"assistant {key}",
                hint="declare it with api_key: true and run apply",
            )
        kept = keys[0].token
    return console.client(on, spec).app(kept)


def _app_id(on: Any, dify: Dify, spec: HostSpec, key: str) -> str:
    """Id of an assistant by key, or of any app by its exact name."""
    name = key
    if key in spec.assistants:
        name = shown_name(key, spec.assistants[key])
        app = assistants.find(dify, remembered.load(on).assistants.get(key), name)
        if app is not None:
            return app.id
    listed = dify.apps.find(name)
    if listed is None:
        have = ", ".join(sorted(each.name for each in dify.apps.all())) or "none"
        raise HostError(f"there is no app {name!r}; there are: {have}", where="Dify")
    return listed.id


def export(on: Any, spec: HostSpec, key: str) -> str:
    """An app as Dify's DSL (YAML), without secrets."""
    dify = console.signed_in(on, spec)
    return dify.dsl.export(_app_id(on, dify, spec, key))


@dataclass(frozen=True)
class Imported:
    """A new app, and the knowledge bases that its DSL names and this Dify has not."""

    id: str
    name: str
    missing: tuple[str, ...]


def import_app(on: Any, spec: HostSpec, text: str, name: str | None) -> Imported:
    """A new app from Dify's DSL. Refused where the name is taken: Dify itself would make a second one.

    Raises:
        HostError: not Dify's DSL, or there is an app of the name.
    """
    try:
        data = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise HostError(f"is not YAML: {error}", where="the DSL file") from error
    if not isinstance(data, dict) or not isinstance(data.get("app"), dict):
        raise HostError(
            "is not Dify's DSL: it has no `app`",
            where="the DSL file",
            hint="difyfleet dify export writes one",
        )
    dify = console.signed_in(on, spec)
    wanted = name or str(data["app"].get("name") or "")
    if not wanted:
        raise HostError("names no app", where="the DSL file", hint="give one with --name")
    if dify.apps.find(wanted) is not None:
        raise HostError(
            f"there is an app {wanted!r} already", where="Dify", hint="give another name with --name"
        )
    app = dify.dsl.import_app(text, name=wanted)
    there = {dataset.id for dataset in dify.datasets.all()}
    used = app.config.datasets if app.config else ()
    return Imported(app.id, app.name, tuple(each for each in used if each not in there))


def show(answer: Asked) -> str:
    """An answer as text: its words, then the documents."""
    first = f"first word after {answer.first_token:.1f} s, " if answer.first_token is not None else ""
    cited = (
        "\n".join(f"  [{number}] {name}" for number, name in enumerate(answer.documents, 1))
        or "  (no document cited)"
    )
    return f"{answer.text.strip()}\n{cited}\n  {first}all {answer.seconds:.1f} s"
