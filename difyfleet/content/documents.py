"""Documents of a knowledge base: the declared files compared with what is in Dify, one step for each."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from difyfleet.clients.dify import DifyError, Document
from difyfleet.clients.dify import errors as refused
from difyfleet.content.knowledge import fingerprint, rule_of
from difyfleet.content.state import KnownDocument, KnownKnowledge
from difyfleet.errors import HostError
from difyfleet.spec.content import Knowledge
from difyfleet.spec.document_files import LocalDocument, documents_of, sha256

# Why a document is replaced though what is in Dify is not what was sent from here.
_UNKNOWN = "nothing is known about its content"
_DIFFERS = "content differs from the file"
_REPLACED = "replaced in Dify by another upload"
_SEGMENTED = "segmented anew in Dify"
_NOT_OURS = (_UNKNOWN, _DIFFERS, _REPLACED, _SEGMENTED)

ADD, REPLACE, WAIT, ENABLE, RENAME, REMOVE, KEEP = (
    "add",
    "replace",
    "wait",
    "enable",
    "rename",
    "remove",
    "keep",
)


@dataclass(frozen=True)
class DocumentStep:
    """One document and what is to be done with it.

    Args:
        action: add, replace, wait (for the worker), enable, rename, remove or keep.
        why: for people; empty for keep.
        document: as it is in Dify; None for add.
        local: the file; None for remove.
        sha256: of the file's content.
        loses_data: what is in Dify is not from here (another upload, edited segments), or its file is gone: it exists only there.
    """

    name: str
    action: str
    why: str
    document: Document | None = None
    local: LocalDocument | None = None
    sha256: str = ""
    loses_data: bool = False


@dataclass(frozen=True)
class DocumentPlan:
    """All documents of a knowledge base. `foreign` are those in Dify that are not declared and not from here."""

    steps: tuple[DocumentStep, ...] = ()
    foreign: tuple[str, ...] = ()

    @property
    def changes(self) -> list[DocumentStep]:
        """The steps that do something."""
        return [step for step in self.steps if step.action != KEEP]


@dataclass(frozen=True)
class There:
    """What Dify has: its documents, and the SHA3-256 of uploads whose documents are not remembered."""

    documents: Sequence[Document] = ()
    sha3: Mapping[str, str] = field(default_factory=dict)  # by upload id


def unknown_uploads(known: KnownKnowledge | None, documents: Sequence[Document]) -> tuple[str, ...]:
    """Upload ids of documents that nothing is remembered about; their hashes decide whether they are adopted as they are."""
    known_ids = {entry.id for entry in known.documents.values()} if known else set()
    return tuple(each.file_id for each in documents if each.file_id and each.id not in known_ids)


def plan_documents(knowledge: Knowledge, known: KnownKnowledge | None, there: There) -> DocumentPlan:
    """What is to be done so that Dify has exactly the declared documents, and those of others stay.

    Raises:
        HostError: two documents of one name, none of which is known to be ours.
    """
    entries = known.documents if known else {}
    by_name: dict[str, list[Document]] = {}
    for one in there.documents:
        by_name.setdefault(one.name, []).append(one)
    steps = []
    rule = fingerprint(rule_of(knowledge))
    for local in documents_of(knowledge).documents:
        entry = entries.get(local.name)
        document = _one(local.name, by_name.get(local.name, []), entry, there.documents)
        steps.append(
            _step(
                local,
                document,
                entry if document and entry and entry.id == document.id else None,
                rule,
                there,
            )
        )
    declared = {step.name for step in steps}
    taken = {step.document.id for step in steps if step.document}
    foreign = []
    for name, same in sorted(by_name.items()):
        if name in declared:
            continue
        for each in same:
            if each.id in taken:  # one of ours under another name
                continue
            ours = name in entries and entries[name].id == each.id
            if ours or knowledge.remove_undeclared_documents:
                steps.append(
                    DocumentStep(
                        name,
                        REMOVE,
                        f"document {name}: in Dify, not declared any more",
                        each,
                        loses_data=True,
                    )
                )
            else:
                foreign.append(name)
    return DocumentPlan(tuple(steps), tuple(foreign))


def _one(
    name: str, documents: Sequence[Document], entry: KnownDocument | None, all_of_them: Sequence[Document]
) -> Document | None:
    ours = [each for each in all_of_them if entry and each.id == entry.id]  # also where it was renamed
    if ours:
        return ours[0]
    if len(documents) > 1:
        ids = ", ".join(each.id for each in documents)
        raise HostError(
            f"{len(documents)} documents have this name: {ids}",
            where=f"document {name}",
            hint="delete all but one in Dify",
        )
    return documents[0] if documents else None


def _step(
    local: LocalDocument, document: Document | None, entry: KnownDocument | None, rule: str, there: There
) -> DocumentStep:
    content = local.content()
    digest = sha256(content)

    def step(action: str, why: str = "", *, loses_data: bool = False) -> DocumentStep:
        words = f"document {local.name}: {why}" if why else ""
        return DocumentStep(local.name, action, words, document, local, digest, loses_data)

    if document is None:
        return step(ADD, "absent")
    why = _outdated(document, entry, rule, digest, content, there)
    if why:
        return step(REPLACE, why, loses_data=why in _NOT_OURS)
    if document.indexing_status in ("error", "paused"):
        return step(REPLACE, f"{document.indexing_status} {document.error or ''}".strip())
    if document.archived:
        return step(REPLACE, "archived in Dify")
    if document.indexing_status != "completed":
        return step(WAIT, f"{document.indexing_status}, not indexed yet")
    if document.word_count == 0 and content.strip():
        return step(REPLACE, "indexed without any text in it")
    if not document.enabled:
        return step(ENABLE, "switched off in Dify")
    if document.name != local.name:
        return step(RENAME, f"named {document.name} in Dify")
    return step(KEEP)


def _outdated(
    document: Document, entry: KnownDocument | None, rule: str, digest: str, content: bytes, there: There
) -> str:
    if entry is None:
        stored = there.sha3.get(document.file_id or "")
        if stored is None:
            return _UNKNOWN
        return "" if stored == hashlib.sha3_256(content).hexdigest() else _DIFFERS
    if entry.sha256 != digest:
        return "content changed"
    if entry.file_id != document.file_id:
        return _REPLACED
    if entry.rule_id and entry.rule_id != (document.rule_id or ""):
        return _SEGMENTED
    return "segmentation changed" if entry.rule and entry.rule != rule else ""


def too_large(name: str, size: int, limit_mb: int) -> DifyError:
    """The error for a file over the server's limit; raised before anything is sent."""
    return refused.TooLarge(f"{name} has {size / 1024 / 1024:.1f} MB, Dify takes {limit_mb} MB")
