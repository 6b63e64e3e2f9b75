"""Chat assistants: apps with prompt, model, knowledge and key, proved by questions whose answers are known."""

from __future__ import annotations

from collections.abc import Iterator

from pyinfra import host

from difyfleet.checks import Check
from difyfleet.clients.dify import App, Dify, DifyError
from difyfleet.content import assistants, console, golden, knowledge
from difyfleet.content import state as remembered
from difyfleet.errors import HostError
from difyfleet.facts.secrets import HostSecrets
from difyfleet.operations import dify_assistants
from difyfleet.spec.content import shown_name
from difyfleet.spec.models import HostSpec

NAME = "assistants"
_AGAIN = "difyfleet apply --role assistants"


def wanted(spec: HostSpec) -> bool:
    return spec.dify.enabled and bool(spec.assistants)


def converge(spec: HostSpec) -> None:
    for key in spec.assistants:
        dify_assistants.assistant(spec, key, name=f"assistant {key}")
        dify_assistants.api_key(spec, key, name=f"API key of {key}")


def checks(spec: HostSpec) -> Iterator[Check]:
    for key, section in spec.assistants.items():
        title = f"assistant {key}"
        try:
            dify = console.reader(host, spec, executing=True)
            assert dify is not None
            app = assistants.find(dify, remembered.load(host).assistants.get(key), shown_name(key, section))
            if app is None:
                yield Check(f"{title}: there", False, "absent", _AGAIN)
                continue
            yield from app_checks(spec, key, dify, app)
            if section.api_key:
                yield from answer_checks(spec, key, dify, app)
        except HostError as error:
            yield Check(f"{title}: can be read", False, error.what, error.hint or _AGAIN)


def app_checks(spec: HostSpec, key: str, dify: Dify, app: App) -> Iterator[Check]:
    """The app is as declared."""
    title, section = f"assistant {key}", spec.assistants[key]
    datasets = dify_assistants.dataset_ids(spec, key, dify, remembered.load(host))
    missing = [each for each in section.knowledge if each not in datasets]
    if missing:
        yield Check(
            f"{title}: as declared",
            False,
            f"no knowledge base {', '.join(missing)}",
            "difyfleet apply --role knowledge",
        )
        return
    names = {dataset.id: dataset.name for dataset in dify.datasets.all()}
    drift = assistants.drift(app, key, spec, assistants.settings_of(spec, key, datasets), names)
    model = app.config.settings().model if app.config else "no model"
    words = "; ".join(change.why for change in drift.changes)
    yield Check(f"{title}: as declared", not drift.changes, words or f"{app.name}, {model}", _AGAIN)
    if section.knowledge and section.citations:
        on = bool(app.config and app.config.settings().citations)
        yield Check(f"{title}: citations on", on, "on" if on else "off", _AGAIN)


def answer_checks(spec: HostSpec, key: str, dify: Dify, app: App) -> Iterator[Check]:
    """The key works, and every golden question is answered as it should be."""
    title, section = f"assistant {key}", spec.assistants[key]
    kept = host.get_fact(HostSecrets).get(assistants.key_file(key))
    ours = assistants.our_key(
        dify.keys.all(app.id), remembered.load(host).assistants.get(key), kept.value if kept else None
    )
    if ours is None:
        yield Check(f"{title}: API key works", False, "absent, or removed in Dify", _AGAIN)
        return
    service = dify.app(ours.token)
    try:
        parameters = service.parameters()
    except DifyError as error:
        yield Check(f"{title}: API key works", False, error.what, error.hint)
        return
    same = kept is not None and kept.value == ours.token
    shown = f"citations {'on' if parameters.citations else 'off'}"
    yield Check(f"{title}: API key works", same, shown if same else "the host keeps another one", _AGAIN)

    def cause(question: str) -> str | None:
        datasets = [
            found
            for name in section.knowledge
            if (
                found := knowledge.find(
                    dify, remembered.load(host).knowledge.get(name), shown_name(name, spec.knowledge[name])
                )
            )
        ]
        attached = set(app.config.datasets) if app.config else set()
        return golden.why_nothing_was_found(
            dify, question, [each for each in datasets if each.id in attached], parameters.citations
        )

    for question in section.golden:
        yield golden.check(key, question, service, section.refusal_phrases, cause)
