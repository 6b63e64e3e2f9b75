"""Knowledge bases in Dify: made, set, and their documents kept as the declared files are."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from pyinfra import host, state

from difyfleet.content import console, knowledge, knowledge_sync
from difyfleet.content import documents as files
from difyfleet.content import state as remembered
from difyfleet.content.state import KnownKnowledge
from difyfleet.errors import HostError
from difyfleet.operations.base import Change, call, declaring, operation
from difyfleet.operations.dify_admin import known_after_apply
from difyfleet.spec.content import shown_name
from difyfleet.spec.document_files import documents_of, sha256
from difyfleet.spec.models import HostSpec


def _settings(spec: HostSpec, key: str) -> tuple[Any, ...]:
    """What the inventory says of a knowledge base itself; its documents are declared apart."""
    section = spec.knowledge[key]
    return (
        shown_name(key, section),
        section.description,
        section.permission,
        section.indexing,
        knowledge.embedding_of(spec, section),
        knowledge.retrieval_of(spec, section),
    )


@operation
@declaring(_settings)
def knowledge_base(spec: HostSpec, key: str) -> Generator[Any, None, None]:
    """One knowledge base with its settings. Its documents are `documents`' business.

    Raises:
        HostError: two of its name; or technique or embedding model would change under documents.
    """
    name = shown_name(key, spec.knowledge[key])
    dify = console.reader(host, spec, executing=state.is_executing)
    if dify is None:
        yield from known_after_apply(f"knowledge base {name}")
        return
    now = knowledge.find(dify, remembered.load(host).knowledge.get(key), name)
    made = now is None
    if now is None:
        yield Change(f"knowledge base {name}: absent")
        yield call(make, spec, key)
        now = knowledge.find(dify, remembered.load(host).knowledge.get(key), name)
        assert now is not None  # made just now, or the call failed and nothing comes after it
    drift = knowledge.settings_drift(now, knowledge.settings_of(spec, key, now))
    for why in drift if not made else ():  # of a new one the defaults that it was born with are no news
        yield Change(why)
    if drift:
        yield call(update, spec, key, now.id)


def make(on: Any, spec: HostSpec, key: str) -> None:
    """Make it, or find that a cut run has made it, and remember its id."""
    section = spec.knowledge[key]
    made = knowledge_sync.create(console.signed_in(on, spec), shown_name(key, section), section)
    kept = remembered.load(on)
    if knowledge_sync.known_of(kept, key, made) is None:
        kept.knowledge[key] = KnownKnowledge(made.id)
        remembered.save(on, kept)


def update(on: Any, spec: HostSpec, key: str, dataset_id: str) -> None:
    """Give it all of its settings."""
    datasets = console.signed_in(on, spec).datasets
    datasets.update(dataset_id, knowledge.settings_of(spec, key, datasets.get(dataset_id)))


def _contents(spec: HostSpec, key: str) -> tuple[Any, ...]:
    """What the inventory and the declared files say of a knowledge base's documents."""
    section = spec.knowledge[key]
    listed = documents_of(section).documents if section.documents is not None else ()
    hashes = {one.name: sha256(one.content()) for one in listed}
    return hashes, knowledge.rule_of(section), section.remove_undeclared_documents


@operation
@declaring(_contents)
def documents(spec: HostSpec, key: str) -> Generator[Any, None, None]:
    """The documents of one knowledge base are the declared files: absent ones added, changed ones replaced, those whose file is gone
    removed, the rest not touched. Then the worker is waited for.

    Raises:
        HostError, DifyError: see knowledge_sync.Sync.documents.
    """
    section = spec.knowledge[key]
    if section.documents is None:
        return
    name = shown_name(key, section)
    dify = console.reader(host, spec, executing=state.is_executing)
    if dify is None:
        yield from known_after_apply(f"documents of knowledge base {name}")
        return
    kept = remembered.load(host)
    dataset = knowledge.find(dify, kept.knowledge.get(key), name)
    known = knowledge_sync.known_of(kept, key, dataset) if dataset else None
    there = knowledge_sync.what_is_there(host, dify, known, dataset.id) if dataset else files.There()
    plan = files.plan_documents(section, known, there)
    for step in plan.changes:
        yield Change(f"knowledge base {name}: {step.why}", loses_data=step.loses_data)
    if plan.changes and dataset:
        sync = knowledge_sync.Sync(host, dify, key, name, dataset.id, knowledge.rule_of(section))
        yield call(_carry_out, sync, plan)
    elif plan.changes:
        yield call(_unmade, name)  # a plan gets this far; while executing the knowledge base has been made


def _carry_out(on: Any, sync: knowledge_sync.Sync, plan: files.DocumentPlan) -> None:
    sync.documents(plan)


def _unmade(on: Any, name: str) -> None:
    raise HostError(
        "it is not there", where=f"knowledge base {name}", hint="difyfleet apply --role knowledge"
    )
