"""Models in Dify: what differs from the declared ones, and whether Dify's containers can use them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from difyfleet.clients.dify import EMBEDDING, LLM, Dify, OllamaModel
from difyfleet.content.console import PROJECT
from difyfleet.errors import HostError
from difyfleet.facts.dify_models import CONTAINERS, Asked, OllamaFromDify, Reach, limit_of
from difyfleet.spec.content import DifyModel, default_of
from difyfleet.spec.models import HostSpec

KINDS = (LLM, EMBEDDING)
# What to do about an error text, by a part of it.
_ADVICE = {
    "refused": "nothing listens at {url} as the containers see it: 127.0.0.1 there is the container itself; is Ollama up and on Dify's network?",
    "not known": "the containers do not know the name in {url}: is Ollama's container on the network that the stack shares? (difyfleet apply --role ollama --role dify)",
    "name resolution": "the containers do not know the name in {url}: is Ollama's container on the network that the stack shares? (difyfleet apply --role ollama --role dify)",
    "timed out": "no answer in time from {url}: a firewall, or a model that loads slowly (docker logs --tail 50 ollama)",
    "404": "is {url} Ollama, without /api at its end?",
    "no such container": "difyfleet apply --role dify",
}


def wanted(spec: HostSpec) -> list[OllamaModel]:
    """The declared models as Dify's client takes them."""
    return [
        OllamaModel(
            name=model.name,
            type=model.type,
            base_url=spec.dify.ollama_url,
            context_size=model.window,
            max_tokens=model.max_tokens,
            mode=model.mode,
            vision=model.vision,
        )
        for model in spec.dify_models
    ]


@dataclass(frozen=True)
class ModelDrift:
    """A model that is not as declared, and in what."""

    model: OllamaModel
    why: tuple[str, ...]


def differing(dify: Dify, models: Iterable[OllamaModel]) -> list[ModelDrift]:
    """The models that are absent or other than declared. Only fields that are declared count: Dify drops unknown ones in silence."""
    found = []
    for model in models:
        stored = dify.models.credentials(model.name, model.type)
        label = f"model {model.name} ({model.type})"
        if stored is None:
            found.append(ModelDrift(model, (f"{label}: absent",)))
            continue
        fields = model.differences(stored)
        if fields:
            why = tuple(f"{label}: {name} {was!r}, wanted {want!r}" for name, (was, want) in fields.items())
            found.append(ModelDrift(model, why))
    return found


def defaults(spec: HostSpec) -> dict[str, str]:
    """Type -> name of the declared default model."""
    found = {kind: default_of(spec.dify_models, kind) for kind in KINDS}
    return {kind: name for kind, name in found.items() if name is not None}


def default_drift(dify: Dify, declared: Mapping[str, str]) -> dict[str, str]:
    """Type -> in what its default differs.

    GET default-model sets a default by itself where there is none and a model of the type exists, so it is asked only then: an empty
    Dify is not changed by a plan.
    """
    listed = dify.models.all()
    found = {}
    for kind, name in declared.items():
        present = any(model.type == kind for model in listed)
        now = dify.models.default(kind) if present else None
        if now != (dify.models.provider, name):
            seen = f"{now[0]} {now[1]}" if now else "none"
            found[kind] = f"default {kind} model: {seen}, wanted {dify.models.provider} {name}"
    return found


def contexts(spec: HostSpec) -> dict[str, int]:
    """Model -> largest num_ctx that an assistant asks it for, so that a check loads it the way it is used."""
    found: dict[str, int] = {}
    for assistant in spec.assistants.values():
        name = assistant.model or default_of(spec.dify_models, LLM)
        context = assistant.parameters.completion(documents=bool(assistant.knowledge)).get("num_ctx")
        if name and context:
            found[name] = max(found.get(name, 0), int(context))
    return found


def reach(on: Any, spec: HostSpec, models: Iterable[DifyModel | OllamaModel]) -> dict[str, Reach]:
    """Have each model answer once, from inside api and worker; what each container saw."""
    context = contexts(spec)
    asked = tuple(Asked(model.name, model.type, context.get(model.name, 0)) for model in models)
    seen: dict[str, Reach] = on.get_fact(
        OllamaFromDify, project=PROJECT, base_url=spec.dify.ollama_url, models=asked, _timeout=limit_of(asked)
    )
    return seen


def trouble(spec: HostSpec, seen: Mapping[str, Reach], names: Sequence[str]) -> HostError | None:
    """Why Dify could not use these models, or None.

    Args:
        seen: by container.
        names: models that should be listed and have answered.
    """
    found = (trouble_of(spec, container, seen, names) for container in CONTAINERS)
    return next((error for error in found if error is not None), None)


def trouble_of(
    spec: HostSpec, container: str, seen: Mapping[str, Reach], names: Sequence[str]
) -> HostError | None:
    """`trouble` as one container sees it."""
    url, where = spec.dify.ollama_url, f"{PROJECT}-{container}-1"
    from_here = seen.get(container, Reach(error="no such container"))
    if from_here.error:
        return HostError(
            f"Ollama at {url} cannot be used: {from_here.error}",
            where=where,
            hint=advice(from_here.error, url),
        )
    for name in names:
        if tagged(name) not in from_here.tags:
            have = ", ".join(from_here.tags) or "none"
            return HostError(
                f"Ollama has no model {tagged(name)}; it has: {have}",
                where=where,
                hint=f"add {name} to ollama.models, or write the name with the tag that is there",
            )
        answer = from_here.answers.get(name)
        if answer is not None and answer.error:
            return HostError(
                f"model {name} does not answer: {answer.error}", where=where, hint=advice(answer.error, url)
            )
    return None


def tagged(name: str) -> str:
    """A model name as Ollama lists it."""
    return name if ":" in name.rsplit("/", 1)[-1] else f"{name}:latest"


def advice(error: str, url: str) -> str:
    """What to do about a failed call to Ollama."""
    lowered = error.lower()
    for part, hint in _ADVICE.items():
        if part in lowered:
            return hint.format(url=url)
    return "docker logs --tail 50 ollama"


def check_dimensions(dify: Dify, seen: Mapping[str, Reach], recorded: Mapping[str, int]) -> dict[str, int]:
    """Dimensions of the embedding models that have answered.

    Raises:
        HostError: one has changed while knowledge bases hold vectors of the old length. Their searches would fail, and new documents too.
    """
    answers = seen.get(CONTAINERS[0], Reach()).answers
    found = {name: answer.dimension for name, answer in answers.items() if answer.dimension}
    for name, size in found.items():
        before = recorded.get(name)
        if before is None or before == size:
            continue
        using = [
            each.name for each in dify.datasets.all() if each.embedding_model == name and each.document_count
        ]
        if using:
            raise HostError(
                f"its vectors have {size} numbers now, {before} before, and these knowledge bases hold old ones: {', '.join(using)}",
                where=f"model {name}",
                hint="declare the new model under another name and make new knowledge bases with it, or delete these",
            )
    return found
