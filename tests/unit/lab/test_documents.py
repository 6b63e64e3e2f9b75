"""The lab's folder of documents: all eight formats, the made ones as they are made, each of them small."""

from __future__ import annotations

import re
import zipfile
from io import BytesIO

import pytest

from difyfleet.spec.content import Knowledge
from difyfleet.spec.document_files import documents_of
from lab import documents


@pytest.mark.parametrize("name", documents.documents())
def test_committed_files_are_what_is_made(name: str) -> None:
    assert (documents.FOLDER / name).read_bytes() == documents.documents()[name], (
        "run: python -m lab.documents"
    )


def test_all_eight_formats_are_there() -> None:
    files = list(documents.FOLDER.iterdir())
    assert sorted(file.suffix for file in files) == [
        ".csv",
        ".docx",
        ".html",
        ".jsonl",
        ".md",
        ".pdf",
        ".txt",
        ".xlsx",
    ]
    assert max(file.stat().st_size for file in files) < 30_000
    listing = documents_of(Knowledge(documents=documents.FOLDER))
    assert (len(listing.documents), listing.problems, listing.skipped) == (8, (), ())


def test_office_files_hold_their_texts() -> None:
    made = documents.documents()
    with zipfile.ZipFile(BytesIO(made["安装手册.docx"])) as archive:
        text = archive.read("word/document.xml").decode()
    assert re.findall(r"<w:t>(.*?)</w:t>", text) == list(documents.INSTALLATION)
    with zipfile.ZipFile(BytesIO(made["价格表.xlsx"])) as archive:
        sheet = archive.read("xl/worksheets/sheet1.xml").decode()
    assert re.findall(r"<t>(.*?)</t>", sheet) == [cell for row in documents.PRICES for cell in row]


def test_the_pdf_says_what_its_glyphs_mean() -> None:
    text = documents.documents()["保修条款.pdf"].decode()
    mapping = {
        glyph: bytes.fromhex(meaning).decode("utf-16-be")
        for glyph, meaning in re.findall(r"^<([0-9a-f]{4})> <([0-9a-f]{4})>$", text, re.MULTILINE)
    }
    lines = [
        "".join(mapping[glyph] for glyph in re.findall("....", shown))
        for shown in re.findall(r"<([0-9a-f]+)> Tj", text)
    ]
    assert lines == list(documents.WARRANTY)
    for number, offset in enumerate(re.findall(r"^(\d{10}) 00000 n", text, re.MULTILINE), 1):
        assert documents.documents()["保修条款.pdf"][int(offset) :].startswith(f"{number} 0 obj".encode())
