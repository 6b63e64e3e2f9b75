"""A knowledge base's documents on this machine: which files it has, under which names they go to Dify, and what they hold."""

from __future__ import annotations

import hashlib
import json
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from difyfleet.spec.content import DOCUMENT_FORMATS, Knowledge

LONGEST_NAME = 200  # Dify cuts longer file names, and then no longer finds them by name
MB = 1024 * 1024


@dataclass(frozen=True)
class LocalDocument:
    """One file of a knowledge base.

    Args:
        name: document name in Dify.
        path: the file.
    """

    name: str
    path: Path

    @property
    def converted(self) -> bool:
        """Whether Dify gets another form of the file than is on the disk."""
        return self.path.suffix.lower() == ".jsonl"

    def content(self) -> bytes:
        """What Dify gets.

        Raises:
            ValueError: a JSONL file holds something else (the line is named).
            OSError: it cannot be read.
        """
        data = self.path.read_bytes()
        return jsonl_text(data).encode() if self.converted else data

    def size(self) -> int:
        """Bytes that Dify gets."""
        return len(self.content()) if self.converted else self.path.stat().st_size


def sha256(content: bytes) -> str:
    """The hash by which a document is known to be unchanged."""
    return hashlib.sha256(content).hexdigest()


@dataclass(frozen=True)
class Listing:
    """What the declared folders hold.

    Args:
        documents: sorted by name.
        problems: sentences about what cannot be taken as it is.
        skipped: files that were left out because Dify reads no such format.
    """

    documents: tuple[LocalDocument, ...]
    problems: tuple[str, ...]
    skipped: tuple[Path, ...]


def documents_of(knowledge: Knowledge) -> Listing:
    """The files of a knowledge base. Hidden files are left out; files named one by one are taken whatever the globs say."""
    found: dict[str, LocalDocument] = {}
    problems: list[str] = []
    skipped: list[Path] = []
    for path, named in _candidates(knowledge):
        extension = path.suffix.lower().removeprefix(".")
        if extension not in DOCUMENT_FORMATS:
            if named or knowledge.include:
                problems.append(
                    f"{path.name}: Dify reads no .{extension or '(none)'} files; it reads {', '.join(DOCUMENT_FORMATS)}"
                )
            else:
                skipped.append(path)
            continue
        document = LocalDocument(document_name(path.name), path)
        other = found.get(document.name)
        if other is not None and other.path != path:
            problems.append(
                f"{other.path} and {path} would both be the document {document.name}; rename one of them"
            )
        elif len(document.name) > LONGEST_NAME:
            problems.append(
                f"{path.name}: a name of more than {LONGEST_NAME} characters is cut by Dify; shorten it"
            )
        else:
            found[document.name] = document
    return Listing(tuple(sorted(found.values(), key=lambda each: each.name)), tuple(problems), tuple(skipped))


def document_name(file_name: str) -> str:
    """The document's name in Dify. Accents are composed, as macOS does not; a JSONL file goes as text."""
    name = unicodedata.normalize("NFC", file_name)
    return f"{name}.txt" if name.lower().endswith(".jsonl") else name


def _candidates(knowledge: Knowledge) -> Iterator[tuple[Path, bool]]:
    for source in knowledge.sources:
        if source.is_dir():
            for path in sorted(source.rglob("*")):
                below = path.relative_to(source)
                hidden = any(part.startswith(".") for part in below.parts)
                if path.is_file() and not hidden and _taken(knowledge, below):
                    yield path, False
        elif source.is_file():
            yield source, True


def _taken(knowledge: Knowledge, below: Path) -> bool:
    def matches(globs: list[str]) -> bool:
        return any(fnmatch(str(below), glob) or fnmatch(below.name, glob) for glob in globs)

    return (not knowledge.include or matches(knowledge.include)) and not matches(knowledge.exclude)


def jsonl_text(data: bytes) -> str:
    """JSON lines as text that can be searched and read: one paragraph for each line, `key: value` for each member.

    Raises:
        ValueError: a line is not JSON.
    """
    paragraphs = []
    for number, line in enumerate(data.decode("utf-8-sig").splitlines(), 1):
        if not line.strip():
            continue
        try:
            paragraphs.append("\n".join(_members(json.loads(line))))
        except json.JSONDecodeError as error:
            raise ValueError(f"line {number} is not JSON ({error.msg})") from None
    return "\n\n".join(paragraphs) + "\n" if paragraphs else ""


def _members(value: Any, name: str = "") -> Iterator[str]:
    if isinstance(value, dict):
        for key, below in value.items():
            yield from _members(below, f"{name}.{key}" if name else str(key))
    elif isinstance(value, list):
        for below in value:
            yield from _members(below, name)
    else:
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        yield f"{name}: {text}" if name else text
