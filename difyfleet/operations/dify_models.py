"""Ollama's models in Dify: tried from inside Dify's containers first, then stored, then made the defaults."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from pyinfra import host, state

from difyfleet.clients.dify import DifyError, OllamaModel
from difyfleet.content import console, models
from difyfleet.content import state as remembered
from difyfleet.operations.base import Change, call, declaring, operation
from difyfleet.operations.dify_admin import known_after_apply
from difyfleet.progress import report
from difyfleet.spec.models import HostSpec


@operation
@declaring(models.wanted)
def providers(spec: HostSpec) -> Generator[Any, None, None]:
    """Each declared model is in Dify with the declared settings. Others are left alone.

    Raises:
        HostError: a model cannot be reached from api or worker, or an embedding model has other vectors than the stored ones.
    """
    dify = console.reader(host, spec, executing=state.is_executing)
    if dify is None:
        yield from known_after_apply("models in Dify")
        return
    drift = models.differing(dify, models.wanted(spec))
    for each in drift:
        for why in each.why:
            yield Change(why)
    if drift:
        yield call(store, spec, [each.model for each in drift])


def store(on: Any, spec: HostSpec, wanted: list[OllamaModel]) -> None:
    """Try the models from inside both containers (which loads them), then store them; the server tries them once more.

    Raises:
        HostError: why Dify could not use them.
    """
    dify = console.signed_in(on, spec)
    names = [model.name for model in wanted]
    report(on.name, f"Dify's containers ask {', '.join(names)}")
    seen = models.reach(on, spec, wanted)
    wrong = models.trouble(spec, seen, names)
    if wrong is not None:
        raise wrong
    kept = remembered.load(on)
    sizes = models.check_dimensions(dify, seen, kept.dimensions)
    if sizes:  # first: a run that is cut after the models would have nothing to do next time
        kept.dimensions |= sizes
        remembered.save(on, kept)
    for model in wanted:
        dify.models.add(model)


@operation
@declaring(models.defaults)
def defaults(spec: HostSpec) -> Generator[Any, None, None]:
    """The workspace's default model of each type."""
    declared = models.defaults(spec)
    if not declared:
        return
    dify = console.reader(host, spec, executing=state.is_executing)
    if dify is None:
        yield from known_after_apply("default models in Dify")
        return
    drift = models.default_drift(dify, declared)
    for why in drift.values():
        yield Change(why)
    if drift:
        yield call(set_defaults, spec, {kind: declared[kind] for kind in drift})


def set_defaults(on: Any, spec: HostSpec, wanted: dict[str, str]) -> None:
    """Make them the defaults.

    Raises:
        DifyError: the server does not take one, or does not show it afterwards.
    """
    try:
        console.signed_in(on, spec).models.set_defaults(wanted)
    except DifyError as error:
        error.hint = error.hint or "difyfleet verify --role dify_models"
        raise
