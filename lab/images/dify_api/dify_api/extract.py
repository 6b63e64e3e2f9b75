"""Texts of a file, one per page, heading or row, as the real server's extractors cut them."""

from __future__ import annotations

import csv
import io
import re
import zipfile
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

_ENCODINGS = ("utf-8", "gb18030", "latin-1")
_WORD = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
_SHEET = "{http://schemas.openxmlformats.org/spreadsheetml/2006/main}"
_OFFICE = "{http://schemas.openxmlformats.org/officeDocument/2006/relationships}"


class ExtractError(Exception):
    """A file cannot be read; the text goes into the document's ``error``."""


def texts(path: Path, extension: str) -> list[str]:
    """The texts of a file, in their order.

    :raises ExtractError: if it is broken or its format is not read here.
    """
    reader = _READERS.get(extension.lower(), _plain)
    try:
        return list(reader(path))
    except FileNotFoundError:
        raise ExtractError(f"File not found: {path.name}") from None
    except (zipfile.BadZipFile, ElementTree.ParseError, KeyError) as error:
        raise ExtractError(f"{type(error).__name__}: {error}") from None


def _decoded(path: Path) -> str:
    """Text with the line ends of Python; a byte order mark stays, as in the real server."""
    data = path.read_bytes()
    for encoding in _ENCODINGS:
        try:
            text = data.decode(encoding)
        except UnicodeDecodeError:
            continue
        if encoding == "gb18030" and not _chinese(data, text):
            continue
        return text.replace("\r\n", "\n").replace("\r", "\n")
    raise ExtractError(f"Could not detect encoding for {path.name}")


def _chinese(data: bytes, text: str) -> bool:
    """Bytes of Latin-1 often pass for GB 18030 too; but in Chinese nearly all high bytes come in pairs, and accents alone."""
    runs = re.findall(rb"[\x80-\xff]+", data)
    paired, high = sum(len(run) // 2 * 2 for run in runs), sum(map(len, runs))
    return paired >= high * 0.8 and not re.search("[\ue000-\uf8ff]", text)


def _plain(path: Path) -> Iterator[str]:
    yield _decoded(path)


def _markdown(path: Path) -> Iterator[str]:
    """One text per heading; the marks are dropped, code fences are no headings."""
    heading: str | None = None
    lines: list[str] = []
    fenced = False
    for line in [*_decoded(path).split("\n"), None]:
        if line is not None and line.startswith("```"):
            fenced = not fenced
        if line is None or (not fenced and re.match(r"#+\s", line)):
            body = re.sub(r"[^\S\n]+$", "", "\n".join(lines), flags=re.M).strip()
            if heading is not None:
                yield f"\n\n{heading}\n{body}"
            elif body:
                yield body
            heading, lines = re.sub("#", "", line or "").strip(), []
        else:
            lines.append(line)


class _Html(HTMLParser):
    """Character data outside of scripts and styles."""

    def __init__(self) -> None:
        super().__init__()
        self.text = ""
        self._skipped = 0

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self._skipped += tag in ("script", "style")

    def handle_endtag(self, tag: str) -> None:
        self._skipped -= tag in ("script", "style") and self._skipped > 0

    def handle_data(self, data: str) -> None:
        if not self._skipped:
            self.text += data


def _html(path: Path) -> Iterator[str]:
    parser = _Html()
    parser.feed(_decoded(path))
    parser.close()
    yield parser.text.strip()


def _csv(path: Path) -> Iterator[str]:
    for row in csv.DictReader(io.StringIO(_decoded(path).removeprefix("\ufeff"))):
        yield ";".join(f"{(name or '').strip()}: {str(value).strip()}" for name, value in row.items())


def _pdf(path: Path) -> Iterator[str]:
    """One text per page, with the line ends of PDFium. An encrypted file cannot be read."""
    import pypdf  # Debian's python3-pypdf; slow to load, so only here

    try:
        reader = pypdf.PdfReader(path)
        for page in reader.pages:
            yield page.extract_text().strip("\n").replace("\n", "\r\n")
    except Exception as error:
        raise ExtractError("Failed to load document (PDFium: Data format error).") from error


def _xml(data: bytes) -> ElementTree.Element:
    """The root of a file inside an Office document; Python's parser fetches nothing from outside."""
    return ElementTree.fromstring(data)  # noqa: S314 - Debian has no defusedxml in this image, and the lab its own files


def _docx(path: Path) -> Iterator[str]:
    """Paragraphs and tables in their order; a table as Markdown."""
    with zipfile.ZipFile(path) as archive:
        body = _xml(archive.read("word/document.xml")).find(f"{_WORD}body")
    pieces = []
    for element in body if body is not None else ():
        if element.tag == f"{_WORD}p":
            text = _runs(element)
            if text.strip():
                pieces.append(text)
        elif element.tag == f"{_WORD}tbl":
            rows = [
                [" ".join(_runs(cell).split()) for cell in row.iter(f"{_WORD}tc")]
                for row in element.iter(f"{_WORD}tr")
            ]
            pieces += ["| " + " | ".join(row) + " |" for row in rows]
    yield "\n".join(pieces)


def _runs(element: ElementTree.Element) -> str:
    parts = []
    for node in element.iter():
        if node.tag == f"{_WORD}t":
            parts.append(node.text or "")
        elif node.tag in (f"{_WORD}br", f"{_WORD}cr"):
            parts.append("\n")
        elif node.tag == f"{_WORD}tab":
            parts.append("\t")
    return "".join(parts)


def _xlsx(path: Path) -> Iterator[str]:
    """One text per row below the first, of all sheets: ``"column":"value";...``."""
    with zipfile.ZipFile(path) as archive:
        strings = _shared_strings(archive)
        for name in _sheets(archive):
            rows = [_cells(row, strings) for row in _xml(archive.read(name)).iter(f"{_SHEET}row")]
            filled = [row for row in rows if any(value.strip() for value in row.values())]
            for row in filled[1:]:
                named = [(filled[0].get(column, ""), value) for column, value in row.items() if value.strip()]
                if named:
                    yield ";".join(f'"{title}":"{value}"' for title, value in named)


def _shared_strings(archive: zipfile.ZipFile) -> list[str]:
    if "xl/sharedStrings.xml" not in archive.namelist():
        return []
    root = _xml(archive.read("xl/sharedStrings.xml"))
    return [
        "".join(text.text or "" for text in item.iter(f"{_SHEET}t")) for item in root.findall(f"{_SHEET}si")
    ]


def _sheets(archive: zipfile.ZipFile) -> list[str]:
    """Files of the sheets, in the workbook's order."""
    relations = {
        relation.get("Id"): (relation.get("Target") or "").lstrip("/").removeprefix("xl/")
        for relation in _xml(archive.read("xl/_rels/workbook.xml.rels"))
    }
    book = _xml(archive.read("xl/workbook.xml"))
    return [f"xl/{relations[sheet.get(f'{_OFFICE}id')]}" for sheet in book.iter(f"{_SHEET}sheet")]


def _cells(row: ElementTree.Element, strings: list[str]) -> dict[str, str]:
    """Values by the letters of their column."""
    values = {}
    for number, cell in enumerate(row.findall(f"{_SHEET}c")):
        column = re.sub(r"\d", "", cell.get("r") or "") or str(number)
        value = cell.findtext(f"{_SHEET}v") or ""
        if cell.get("t") == "s":
            value = strings[int(value)]
        elif cell.get("t") == "inlineStr":
            value = "".join(text.text or "" for text in cell.iter(f"{_SHEET}t"))
        values[column] = value
    return values


def _xls(path: Path) -> Iterator[str]:
    """As :func:`_xlsx`, of the older binary format."""
    import xlrd  # Debian's python3-xlrd

    try:
        book = xlrd.open_workbook(str(path))
    except Exception as error:
        raise ExtractError(f"{type(error).__name__}: {error}") from error
    for sheet in book.sheets():
        rows = [[_cell_text(value) for value in sheet.row_values(n)] for n in range(sheet.nrows)]
        filled = [row for row in rows if any(row)]
        for row in filled[1:]:
            yield ";".join(
                f'"{title}":"{value}"' for title, value in zip(filled[0], row, strict=False) if value
            )


def _cell_text(value: object) -> str:
    """Whole numbers without their fraction, which the format always has."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value).strip()


_READERS: dict[str, Callable[[Path], Iterator[str]]] = {
    "md": _markdown, "markdown": _markdown, "html": _html, "htm": _html, "csv": _csv, "pdf": _pdf, "docx": _docx,
    "xlsx": _xlsx, "xls": _xls,
}  # fmt: skip
