"""Doing what a knowledge base's plan says, step by step; after each step the host's state file tells what was done.

A cut between any two calls leaves nothing double: a knowledge base is found by its name, a document by its name (adding is an upsert),
and a document whose adding was not remembered any more is recognised by its upload's hash.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from difyfleet.clients.dify import (
    Batch,
    Dataset,
    Dify,
    Document,
    IndexingStatus,
    ProcessRule,
)
from difyfleet.clients.dify.console.indexing import Watch
from difyfleet.content import state as remembered
from difyfleet.content.console import PROJECT
from difyfleet.content.documents import (
    ADD,
    ENABLE,
    REMOVE,
    REPLACE,
    WAIT,
    DocumentPlan,
    DocumentStep,
    There,
    too_large,
    unknown_uploads,
)
from difyfleet.content.knowledge import fingerprint
from difyfleet.content.state import DifyState, KnownDocument, KnownKnowledge
from difyfleet.errors import HostError
from difyfleet.facts.dify_uploads import DifyUploads
from difyfleet.progress import report
from difyfleet.spec.content import ECONOMY, Knowledge

BATCH = 20  # documents handed to the worker with one call
STALL = 300.0  # seconds without any progress after which the worker counts as stopped
MB = 1024 * 1024


def create(dify: Dify, name: str, knowledge: Knowledge) -> Dataset:
    """The knowledge base, made empty; its settings are the next step. Found by name if a cut run had made it already.

    Never datasets/init: it makes another one each time, under a name of its own, and a nameless one when it fails.
    """
    found = dify.datasets.find(name)
    if found is None:
        # with `high_quality` the server would bind the workspace's default embedding model, which need not be the declared one
        technique = ECONOMY if knowledge.indexing == ECONOMY else None
        found = dify.datasets.create(name, knowledge.description, technique)
    return found


def known_of(state: DifyState, key: str, dataset: Dataset) -> KnownKnowledge | None:
    """What is remembered of this knowledge base; nothing if what is remembered is another one's."""
    known = state.knowledge.get(key)
    return known if known is not None and known.id == dataset.id else None


def what_is_there(on: Any, dify: Dify, known: KnownKnowledge | None, dataset_id: str) -> There:
    """All documents, and hashes of uploads that nothing is remembered about."""
    documents = dify.documents.all(dataset_id)
    ids = unknown_uploads(known, documents)
    uploads = on.get_fact(DifyUploads, project=PROJECT, ids=tuple(sorted(ids))) if ids else {}
    return There(documents, {each: upload.sha3 for each, upload in uploads.items() if upload.sha3})


@dataclass
class Sync:
    """One knowledge base on one host.

    Args:
        on: pyinfra's host.
        key: of the inventory.
        name: in Dify, for messages.
        rule: segmentation of new documents.
    """

    on: Any
    dify: Dify
    key: str
    name: str
    dataset_id: str
    rule: ProcessRule

    def documents(self, plan: DocumentPlan) -> None:
        """Carry out a plan and wait until everything is indexed.

        Raises:
            TooLarge, UnsupportedFile: a file that the server would refuse; nothing was sent.
            HostError: documents could not be indexed; each is named with the server's text.
            IndexingStalled: the worker does nothing.
        """
        self._fit([step for step in plan.steps if step.action in (ADD, REPLACE)])
        self._adopt(plan)
        for step in plan.steps:
            if step.document and step.action != REMOVE and step.document.name != step.name:
                self.dify.documents.rename(self.dataset_id, step.document.id, step.name)
            if step.action == REMOVE and step.document:
                self._remove(step.document)
            elif step.action == ENABLE and step.document:
                self.dify.documents.enable(self.dataset_id, step.document.id)
        waiting = [step.document.id for step in plan.steps if step.action == WAIT and step.document]
        sent: dict[str, DocumentStep] = {}
        batches: list[str] = []
        for group in _groups([step for step in plan.steps if step.action in (ADD, REPLACE)], BATCH):
            batch = self._send(group)
            batches.append(batch.id)
            sent |= {document.id: step for document, step in _paired(batch, group)}
        self._wait(batches, waiting)
        self._judge(sent, plan)

    def _fit(self, steps: Sequence[DocumentStep]) -> None:
        """Everything that the server would refuse is refused here, before the first change."""
        if not steps:
            return
        limit = self.dify.files.limits().file_size_mb
        allowed = self.dify.files.allowed_extensions()
        for step in steps:
            assert step.local is not None
            size = step.local.size()
            if size > limit * MB:
                raise too_large(step.name, size, limit)
            extension = step.name.rpartition(".")[2].lower()
            if extension not in allowed:
                raise HostError(
                    f"{step.name}: this Dify reads no .{extension} files; it reads {', '.join(sorted(allowed))}",
                    where=f"knowledge base {self.name}",
                    hint="name it under exclude",
                )

    def _adopt(self, plan: DocumentPlan) -> None:
        """Remember what is there as it should be and was not remembered yet."""
        state = remembered.load(self.on)
        known = state.knowledge.get(self.key)
        if known is None or known.id != self.dataset_id:
            known = state.knowledge[self.key] = KnownKnowledge(self.dataset_id)
        for step in plan.steps:
            if step.document is None or step.action in (ADD, REPLACE, REMOVE):
                continue
            entry = known.documents.get(step.name)
            if entry is None or entry.id != step.document.id:
                # its segmentation is taken as it is; from now on a change of the declared one counts
                known.documents[step.name] = self._entry(step.document, step.document.file_id or "", step)
        remembered.save(self.on, state)

    def _remove(self, document: Document) -> None:
        self.dify.documents.delete(self.dataset_id, document.id)
        self._remember({document.name: None})

    def _send(self, steps: Sequence[DocumentStep]) -> Batch:
        """Upload some files and hand them to the worker."""
        for step in steps:
            if step.document and (not step.document.enabled or step.document.archived):
                # beside a disabled document of the name the server would make a second one
                self._remove(step.document)
        uploads = []
        for step in steps:
            assert step.local is not None
            report(self.on.name, f"knowledge base {self.name}: sending {step.name}")
            uploads.append(self.dify.files.upload(step.name, step.local.content()))
        batch = self.dify.documents.add(self.dataset_id, [each.id for each in uploads], self.rule)
        sent = {upload.name: upload.id for upload in uploads}
        self._remember(
            {
                document.name: self._entry(document, sent[document.name], step)
                for document, step in _paired(batch, steps)
            }
        )
        return batch

    def _entry(self, document: Document, file_id: str, step: DocumentStep) -> KnownDocument:
        return KnownDocument(
            document.id, file_id, step.sha256, fingerprint(self.rule), document.rule_id or ""
        )

    def _remember(self, changes: dict[str, KnownDocument | None]) -> None:
        state = remembered.load(self.on)
        known = state.knowledge.setdefault(self.key, KnownKnowledge(self.dataset_id))
        for name, entry in changes.items():
            if entry is None:
                known.documents.pop(name, None)
            else:
                known.documents[name] = entry
        remembered.save(self.on, state)

    def _wait(self, batches: Sequence[str], waiting: Sequence[str]) -> None:
        def look() -> list[IndexingStatus]:
            found = [
                status for batch in batches for status in self.dify.documents.status(self.dataset_id, batch)
            ]
            return found + [self.dify.documents.status_of(self.dataset_id, each) for each in waiting]

        def progress(statuses: Sequence[IndexingStatus]) -> None:
            done = sum(status.finished for status in statuses)
            segments = sum(status.completed_segments for status in statuses)
            report(
                self.on.name,
                f"knowledge base {self.name}: {done} of {len(statuses)} documents indexed, {segments} segments",
            )

        if batches or waiting:
            Watch(look, f"knowledge base {self.name}", stall=STALL, pause=1.0, progress=progress).run()

    def _judge(self, sent: dict[str, DocumentStep], plan: DocumentPlan) -> None:
        """Name what was not indexed. A later run finds it by its status, or by having no text, and sends it again."""
        steps = sent | {
            step.document.id: step for step in plan.steps if step.action == WAIT and step.document
        }
        failed = []
        for identity, step in steps.items():
            why = _failure(self.dify.documents.status_of(self.dataset_id, identity), step)
            if why:
                failed.append(f"{step.name}: {why}")
        if failed:
            raise HostError(
                f"{len(failed)} document(s) were not indexed: {'; '.join(failed)}",
                where=f"knowledge base {self.name}",
                hint=_advice(failed),
            )


def _failure(status: IndexingStatus, step: DocumentStep) -> str:
    if status.status != "completed":
        return status.error or status.status
    if status.total_segments == 0 and step.local is not None and step.local.content().strip():
        return "completed without any text in it (a scanned PDF, or an image?)"
    return ""


def _advice(failed: Sequence[str]) -> str:
    words = " ".join(failed).lower()
    if "weaviate" in words or "vector database" in words or "8080" in words:
        return "the vector store does not answer: docker logs --tail 50 dify-weaviate-1; then run apply again"
    if "11434" in words or "ollama" in words or "embed" in words:
        return (
            "the embedding model does not answer: difyfleet verify --role dify_models; then run apply again"
        )
    return "mend or exclude the files and run apply again; docker logs --tail 50 dify-worker-1 has the whole story"


def _groups(steps: Sequence[DocumentStep], size: int) -> Iterable[Sequence[DocumentStep]]:
    return (steps[start : start + size] for start in range(0, len(steps), size))


def _paired(batch: Batch, steps: Sequence[DocumentStep]) -> Iterable[tuple[Document, DocumentStep]]:
    by_name = {step.name: step for step in steps}
    return ((document, by_name[document.name]) for document in batch.documents if document.name in by_name)
