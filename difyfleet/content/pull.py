"""An existing Dify as declarations: what the console's pages made, written the way an inventory says it.

Nothing is made up: what cannot be declared (a workflow, another provider's model) is named in a comment and stays as it is.
"""

from __future__ import annotations

import base64
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from difyfleet.clients.dify import App, Dataset, Dify, Document, ProcessRule
from difyfleet.content import console
from difyfleet.content.console import PROJECT
from difyfleet.content.knowledge import PROVIDER
from difyfleet.content.models import KINDS
from difyfleet.content.pulled import Pulled
from difyfleet.facts.dify_uploads import DifyUploads
from difyfleet.facts.uploaded_file import UploadedFile
from difyfleet.progress import report
from difyfleet.spec.content import ECONOMY, EMBEDDING, HYBRID, KEYWORD, LLM, SEMANTIC
from difyfleet.spec.models import HostSpec

_SAMPLE = 20  # documents of a knowledge base whose segmentation is looked at
_COMPLETION = {
    "temperature": "temperature",
    "top_p": "top_p",
    "top_k": "top_k",
    "num_predict": "max_tokens",
    "num_ctx": "context",
    "repeat_penalty": "repeat_penalty",
    "seed": "seed",
}


def pull(on: Any, spec: HostSpec, documents: str | None = None) -> Pulled:
    """Read everything that can be declared. Changes nothing.

    Args:
        documents: how the folder that originals are written to is named in the inventory; None = documents are only listed.
    """
    dify = console.signed_in(on, spec)
    pulled = Pulled()
    _models(dify, pulled)
    keys: dict[str, str] = {}  # dataset id -> key
    for dataset in _once(dify.datasets.all(), "knowledge bases", pulled):
        report(on.name, f"reading knowledge base {dataset.name}")
        key = _key(dataset.name, "kb", pulled.knowledge)
        declared = _knowledge(on, dify, spec, dataset, key, documents, pulled)
        if declared is not None:
            pulled.knowledge[key] = declared
            keys[dataset.id] = key
    chats = [app for app in dify.apps.all() if app.mode == "chat"]
    for other in (app for app in dify.apps.all() if app.mode != "chat"):
        pulled.notes.append(f"{other.name!r} is of the kind {other.mode}: keep it with difyfleet dify export")
    for listed in _once(chats, "assistants", pulled):
        app = dify.apps.get(listed.id)
        declared = _assistant(app, keys, pulled)
        if declared is not None:
            pulled.assistants[_key(app.name, "assistant", pulled.assistants)] = declared
    return pulled


def _once(things: Iterable[Any], what: str, pulled: Pulled) -> list[Any]:
    """The things whose names are unique; a name that two share cannot be declared."""
    listed = list(things)
    count = Counter(thing.name for thing in listed)
    for name in (name for name, number in count.items() if number > 1):
        ids = ", ".join(thing.id for thing in listed if thing.name == name)
        pulled.notes.append(
            f"{count[name]} {what} are called {name!r} ({ids}): rename all but one, then pull again"
        )
    return [thing for thing in listed if count[thing.name] == 1]


def _key(name: str, kind: str, taken: Mapping[str, Any]) -> str:
    """A key for a name: its ASCII letters and digits, or a number."""
    plain = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:40].strip("-")
    if plain and plain not in taken:
        return plain
    number = len(taken) + 1
    while f"{kind}-{number}" in taken:
        number += 1
    return f"{kind}-{number}"


def _models(dify: Dify, pulled: Pulled) -> None:
    defaults = {
        kind: dify.models.default(kind) for kind in KINDS if any(m.type == kind for m in dify.models.all())
    }
    urls: Counter[str] = Counter()
    found: list[tuple[str, dict[str, Any]]] = []
    for model in dify.models.all():
        stored = dify.models.credentials(model.name, model.type)
        if model.type not in KINDS or stored is None:
            pulled.notes.append(f"model {model.name} is of the type {model.type}, which is not declared here")
            continue
        entry: dict[str, Any] = {
            "name": model.name,
            "type": model.type,
            "context_size": int(stored.get("context_size", 4096)),
        }
        if model.type == LLM:
            entry["max_tokens"] = int(stored.get("max_tokens", 4096))
            if stored.get("mode", "chat") != "chat":
                entry["mode"] = stored["mode"]
            if stored.get("vision_support") == "true":
                entry["vision"] = True
        if defaults.get(model.type) == (PROVIDER, model.name):
            entry["default"] = True
        url = stored.get("base_url", "").rstrip("/")
        urls[url] += 1
        found.append((url, entry))
    if urls:
        pulled.ollama_url = urls.most_common(1)[0][0]
    for url, entry in found:
        if url == pulled.ollama_url:
            pulled.models.append(entry)
        else:
            pulled.notes.append(
                f"model {entry['name']} is at another address ({url}), which is not declared here"
            )
    for kind, default in defaults.items():
        if default is not None and default[0] != PROVIDER:
            pulled.notes.append(
                f"the default {kind} model is {default[1]} of {default[0]}; the one declared first will take its place"
            )


def _knowledge(
    on: Any, dify: Dify, spec: HostSpec, dataset: Dataset, key: str, folder: str | None, pulled: Pulled
) -> dict[str, Any] | None:
    name = f"knowledge base {dataset.name!r}"
    known = {model["name"] for model in pulled.models if model["type"] == EMBEDDING}
    if dataset.indexing_technique not in ("high_quality", ECONOMY):
        pulled.notes.append(f"{name} has no indexing technique yet (it is empty): not declared")
        return None
    if dataset.indexing_technique != ECONOMY and (
        dataset.embedding_model_provider != PROVIDER or dataset.embedding_model not in known
    ):
        pulled.notes.append(
            f"{name} uses {dataset.embedding_model} of {dataset.embedding_model_provider}: not declared"
        )
        return None
    declared: dict[str, Any] = {"name": dataset.name}
    if dataset.description:
        declared["description"] = dataset.description
    declared["indexing"] = dataset.indexing_technique
    if dataset.indexing_technique != ECONOMY:
        declared["embedding_model"] = dataset.embedding_model
    declared["retrieval"] = _retrieval(dataset)
    there = dify.documents.all(dataset.id)
    names = [document.name for document in there]
    if folder is None or not there:
        if names:
            pulled.notes.append(f"documents of {name}, not declared: {', '.join(names)}")
        return declared
    originals = _originals(on, spec, there, pulled, name)
    if originals is None:
        return declared
    pulled.files |= {f"{key}/{document}": content for document, content in originals.items()}
    declared["documents"] = f"{folder}/{key}"
    declared["segmentation"] = _segmentation(_rules(dify, dataset.id, there), name, pulled)
    return declared


def _retrieval(dataset: Dataset) -> dict[str, Any] | None:
    search = dataset.retrieval
    usual = KEYWORD if dataset.indexing_technique == ECONOMY else SEMANTIC
    method = search.search_method
    if (
        search.reranking_enable
        or (dataset.indexing_technique == ECONOMY) != (method == KEYWORD)
        or search.top_k > 50
    ):
        return None  # left as it is
    declared: dict[str, Any] = {"top_k": search.top_k}
    if method != usual:
        declared["method"] = method
    if search.score_threshold_enabled:
        declared["score_threshold"] = search.score_threshold
    if method == HYBRID:
        weight = (search.weights or {}).get("vector_setting", {}).get("vector_weight")
        if weight is None or search.reranking_mode != "weighted_score":
            return None
        declared["vector_weight"] = weight
    return declared


def _rules(dify: Dify, dataset_id: str, documents: Sequence[Document]) -> list[ProcessRule]:
    details = (dify.documents.get(dataset_id, document.id) for document in documents[:_SAMPLE])
    return [detail.rule for detail in details if detail.rule is not None]


def _segmentation(rules: Sequence[ProcessRule], name: str, pulled: Pulled) -> Any:
    if not rules:
        return "automatic"
    rule, number = Counter(rules).most_common(1)[0]
    if number < len(rules):
        pulled.notes.append(
            f"{name}: documents are cut in {len(set(rules))} ways; the commonest is declared, the others stay as they are"
        )
    if rule.mode != "custom":
        return "automatic"
    return {
        "separator": rule.separator,
        "max_tokens": rule.max_tokens,
        "overlap": rule.chunk_overlap,
        "remove_extra_spaces": rule.remove_extra_spaces,
        "remove_urls_emails": rule.remove_urls_emails,
    }


def _originals(
    on: Any, spec: HostSpec, documents: Sequence[Document], pulled: Pulled, name: str
) -> dict[str, bytes] | None:
    """The files as they were uploaded. No call of Dify's API gives them back; its database and storage folder on the host do."""
    ids = tuple(document.file_id for document in documents if document.file_id)
    uploads = on.get_fact(DifyUploads, project=PROJECT, ids=ids)
    lost = [each.name for each in documents if each.file_id not in uploads or "/" in each.name]
    if lost:
        pulled.notes.append(
            f"{name}: no original of {', '.join(lost)}; documents of this knowledge base are not declared"
        )
        return None
    found = {}
    for document in documents:
        upload = uploads[document.file_id or ""]
        report(on.name, f"fetching {document.name}")
        path = f"{spec.dify.directory}/volumes/app/storage/{upload.key}"
        text = on.get_fact(UploadedFile, path=path, _timeout=600)
        if text is None:
            pulled.notes.append(
                f"{name}: {path} is not there; documents of this knowledge base are not declared"
            )
            return None
        found[document.name] = base64.b64decode(text)
    return found


def _assistant(app: App, keys: Mapping[str, str], pulled: Pulled) -> dict[str, Any] | None:
    name = f"assistant {app.name!r}"
    if app.config is None:
        pulled.notes.append(f"{name} has no configuration yet: not declared")
        return None
    settings = app.config.settings()
    known = {model["name"] for model in pulled.models if model["type"] == LLM}
    if settings.provider != PROVIDER or settings.model not in known:
        pulled.notes.append(f"{name} uses {settings.model} of {settings.provider}: not declared")
        return None
    missing = [identity for identity in app.config.datasets if identity not in keys]
    if missing:
        pulled.notes.append(
            f"{name} uses knowledge bases that are not declared ({', '.join(missing)}): not declared"
        )
        return None
    declared: dict[str, Any] = {"name": app.name}
    optional: dict[str, tuple[Any, Callable[[Any], bool]]] = {
        "description": (app.description, bool),
        "icon": (app.icon.emoji if app.icon else None, lambda value: bool(value) and len(value) <= 8),
        "prompt": (settings.prompt, bool),
    }
    declared |= {key: value for key, (value, wanted) in optional.items() if wanted(value)}
    if "icon" in declared and app.icon and re.fullmatch(r"#[0-9A-Fa-f]{3,6}", app.icon.background):
        declared["icon_background"] = app.icon.background
    else:
        declared.pop("icon", None)
    declared["model"] = settings.model
    parameters = _parameters(settings.params or {}, bool(app.config.datasets))
    if parameters:
        declared["parameters"] = parameters
    if settings.opening:
        declared["opening_statement"] = settings.opening
    if settings.suggested:
        declared["suggested_questions"] = list(settings.suggested)
    if settings.suggested_after_answer:
        declared["suggest_after_answer"] = True
    declared["knowledge"] = [keys[identity] for identity in app.config.datasets]
    assert settings.retrieval is not None
    declared["top_k"] = settings.retrieval.top_k
    if settings.retrieval.score_threshold is not None:
        declared["score_threshold"] = settings.retrieval.score_threshold
    declared["merge"] = "all" if settings.retrieval.mixed else "by_score"
    declared |= {"citations": bool(settings.citations), "site": app.enable_site, "api_key": None}
    if app.config.datasets and app.config.retrieval_mode != "multiple":
        pulled.notes.append(
            f"{name} lets the model choose a knowledge base (retrieval `single`); apply will have it search all of them"
        )
    return declared


def _parameters(params: Mapping[str, Any], documents: bool) -> dict[str, Any]:
    declared: dict[str, Any] = {}
    more: dict[str, Any] = {}
    for key, value in params.items():
        name = _COMPLETION.get(key)
        fits = name is not None and not (name == "temperature" and not 0 <= value <= 1)
        (declared if fits else more)[name if fits and name else key] = value
    if documents and "context" not in declared:
        declared["context"] = 0
    if more:
        declared["more"] = more
    return declared
