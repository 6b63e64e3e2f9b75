"""Small office files for the contract tests, written by hand: DOCX, XLSX and the older XLS."""

from __future__ import annotations

import io
import struct
import zipfile

_WORD = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
_SHEET = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
_RELATIONS = "http://schemas.openxmlformats.org/package/2006/relationships"
_OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"

Table = list[list[str]]


def _zipped(files: dict[str, str]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in files.items():
            archive.writestr(name, f'<?xml version="1.0" encoding="UTF-8"?>{text}')
    return buffer.getvalue()


def docx(*paragraphs: str) -> bytes:
    """A document of some paragraphs."""
    body = "".join(f"<w:p><w:r><w:t>{text}</w:t></w:r></w:p>" for text in paragraphs)
    return _zipped(
        {"word/document.xml": f'<w:document xmlns:w="{_WORD}"><w:body>{body}</w:body></w:document>'}
    )


def xlsx(table: Table) -> bytes:
    """A workbook of one sheet; its texts are shared strings."""
    strings = sorted({cell for row in table for cell in row})
    shared = "".join(f"<si><t>{text}</t></si>" for text in strings)
    rows = "".join(
        f'<row r="{n}">'
        + "".join(
            f'<c r="{chr(65 + m)}{n}" t="s"><v>{strings.index(cell)}</v></c>' for m, cell in enumerate(row)
        )
        + "</row>"
        for n, row in enumerate(table, 1)
    )
    return _zipped(
        {
            "xl/workbook.xml": f'<workbook xmlns="{_SHEET}" xmlns:r="{_OFFICE}"><sheets>'
            '<sheet name="Sheet1" sheetId="1" r:id="rId1"/></sheets></workbook>',
            "xl/_rels/workbook.xml.rels": f'<Relationships xmlns="{_RELATIONS}">'
            '<Relationship Id="rId1" Type="t" Target="worksheets/sheet1.xml"/></Relationships>',
            "xl/sharedStrings.xml": f'<sst xmlns="{_SHEET}">{shared}</sst>',
            "xl/worksheets/sheet1.xml": f'<worksheet xmlns="{_SHEET}"><sheetData>{rows}</sheetData></worksheet>',
        }
    )


def xls(table: Table) -> bytes:
    """A sheet in the oldest binary form (BIFF2): begin, one LABEL record per text, end."""
    out = struct.pack("<HHHH", 0x0009, 4, 2, 0x10)
    for n, row in enumerate(table):
        for m, cell in enumerate(row):
            text = cell.encode("ascii")
            record = struct.pack("<HH3sB", n, m, b"\0\0\0", len(text)) + text
            out += struct.pack("<HH", 0x0004, len(record)) + record
    return out + struct.pack("<HH", 0x000A, 0)
