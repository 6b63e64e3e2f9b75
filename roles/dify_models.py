"""Ollama's models in Dify, and which of them are the defaults."""

from __future__ import annotations

from collections.abc import Iterator

from pyinfra import host

from difyfleet.checks import Check
from difyfleet.clients.dify import Dify
from difyfleet.content import console, models
from difyfleet.content import state as remembered
from difyfleet.errors import HostError
from difyfleet.facts.dify_models import CONTAINERS, Reach
from difyfleet.operations import dify_models
from difyfleet.spec.models import HostSpec

NAME = "dify_models"
_AGAIN = "difyfleet apply --role dify_models"


def wanted(spec: HostSpec) -> bool:
    return spec.dify.enabled and bool(spec.dify_models)


def converge(spec: HostSpec) -> None:
    dify_models.providers(spec, name="models, tried from inside Dify's containers")
    dify_models.defaults(spec, name="default models")


def checks(spec: HostSpec) -> Iterator[Check]:
    try:
        dify = console.reader(host, spec, executing=True)
        assert dify is not None
        yield from stored_checks(spec, dify)
    except HostError as error:
        yield Check("models: as declared in Dify", False, error.what, error.hint)
    yield from reach_checks(spec)


def stored_checks(spec: HostSpec, dify: Dify) -> Iterator[Check]:
    """What Dify has stored."""
    declared = models.wanted(spec)
    drift = [why for each in models.differing(dify, declared) for why in each.why]
    names = ", ".join(model.name for model in declared)
    yield Check("models: as declared in Dify", not drift, "; ".join(drift) or names, _AGAIN)
    active = {(model.name, model.type): model.status for model in dify.models.all()}
    idle = [
        f"{m.name} {active.get((m.name, m.type), 'absent')}"
        for m in declared
        if active.get((m.name, m.type)) != "active"
    ]
    yield Check("models: active", not idle, ", ".join(idle) or names, _AGAIN)
    wrong = models.default_drift(dify, models.defaults(spec))
    seen = ", ".join(f"{kind} {name}" for kind, name in models.defaults(spec).items())
    yield Check("default models: as declared", not wrong, "; ".join(wrong.values()) or seen, _AGAIN)


def reach_checks(spec: HostSpec) -> Iterator[Check]:
    """Every model answers from inside api and worker. Dify's own list says `active` even while Ollama is down."""
    seen = models.reach(host, spec, spec.dify_models)
    for container in CONTAINERS:
        wrong = models.trouble_of(spec, container, seen, [model.name for model in spec.dify_models])
        answers = seen.get(container, Reach()).answers
        evidence = ", ".join(f"{name} {answer.seconds:g} s" for name, answer in answers.items())
        title = f"models: answer from inside {container}"
        yield Check(
            title, wrong is None, evidence if wrong is None else wrong.what, wrong.hint if wrong else None
        )
    recorded = remembered.load(host).dimensions
    found = {
        name: answer.dimension
        for name, answer in seen.get(CONTAINERS[0], Reach()).answers.items()
        if answer.dimension
    }
    for name, size in found.items():
        before = recorded.get(name, size)
        yield Check(
            f"model {name}: vectors as long as the stored ones",
            before == size,
            f"{size} numbers" if before == size else f"{size} numbers, stored ones have {before}",
            "pull the model that the knowledge bases were made with, or make them anew",
        )
