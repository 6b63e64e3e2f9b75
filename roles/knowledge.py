"""Knowledge bases: documents of the declared folders, segmented, indexed, findable."""

from __future__ import annotations

from collections.abc import Iterator

from pyinfra import host

from difyfleet.checks import Check
from difyfleet.clients.dify import Dataset, Dify
from difyfleet.content import console, golden, knowledge, knowledge_sync
from difyfleet.content import documents as files
from difyfleet.content import state as remembered
from difyfleet.errors import HostError
from difyfleet.operations import dify_knowledge
from difyfleet.spec.content import shown_name
from difyfleet.spec.models import HostSpec

NAME = "knowledge"
_AGAIN = "difyfleet apply --role knowledge"


def wanted(spec: HostSpec) -> bool:
    return spec.dify.enabled and bool(spec.knowledge)


def converge(spec: HostSpec) -> None:
    for key in spec.knowledge:
        dify_knowledge.knowledge_base(spec, key, name=f"knowledge base {key}")
        dify_knowledge.documents(spec, key, name=f"documents of {key}")


def checks(spec: HostSpec) -> Iterator[Check]:
    for key in spec.knowledge:
        title = f"knowledge base {key}"
        try:
            dify = console.reader(host, spec, executing=True)
            assert dify is not None
            name = shown_name(key, spec.knowledge[key])
            dataset = knowledge.find(dify, remembered.load(host).knowledge.get(key), name)
            if dataset is None:
                yield Check(f"{title}: there", False, "absent", _AGAIN)
                continue
            yield from _checks(spec, key, dify, dataset)
        except HostError as error:
            yield Check(f"{title}: can be read", False, error.what, error.hint or _AGAIN)


def _checks(spec: HostSpec, key: str, dify: Dify, dataset: Dataset) -> Iterator[Check]:
    title, section = f"knowledge base {key}", spec.knowledge[key]
    drift = knowledge.settings_drift(dataset, knowledge.settings_of(spec, key, dataset))
    how = f"{dataset.indexing_technique}, {dataset.embedding_model or 'no embedding model'}, {dataset.retrieval.search_method}"
    yield Check(f"{title}: as declared", not drift, "; ".join(drift) or how, _AGAIN)
    documents = dify.documents.all(dataset.id)
    if section.documents is not None:
        known = knowledge_sync.known_of(remembered.load(host), key, dataset)
        there = knowledge_sync.what_is_there(host, dify, known, dataset.id)
        plan = files.plan_documents(section, known, there)
        wrong = [step.why for step in plan.changes]
        kept = len(plan.steps) - len(wrong)
        yield Check(
            f"{title}: documents as declared and indexed",
            not wrong,
            "; ".join(wrong) or f"{kept} documents, {dataset.word_count} characters",
            _AGAIN,
        )
        if plan.foreign:
            yield Check(
                f"{title}: only declared documents",
                False,
                f"also there, and left alone: {', '.join(plan.foreign)}",
                "declare them, delete them in Dify, or set remove_undeclared_documents",
                warn_only=True,
            )
    else:
        failed = [
            f"{each.name}: {each.error or each.indexing_status}"
            for each in documents
            if each.indexing_status == "error"
        ]
        yield Check(
            f"{title}: documents indexed", not failed, "; ".join(failed) or f"{len(documents)} documents"
        )
    found = [each for each in documents if each.indexing_status == "completed" and each.enabled]
    if found:
        question = found[0].name.rpartition(".")[0] or found[0].name
        reason = golden.trouble(dify, dataset, question)
        # a name need not occur in its document, so finding nothing is no fault; failing is
        broken = reason is not None and "finds nothing" not in reason
        yield Check(
            f"{title}: can be searched",
            not broken,
            reason if broken and reason else f"{len(found)} documents in use",
            "difyfleet apply --role dify --role dify_models; docker logs --tail 50 dify-weaviate-1",
        )
