"""The lab's folder of documents: those of its files that cannot be written by hand (DOCX, XLSX, PDF), made from text.

They are committed in inventory/documents so that the lab's inventory is whole; `python -m lab.documents` writes them anew, always with the
same bytes, and a test compares.
"""

from __future__ import annotations

import io
import sys
import zipfile
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

FOLDER = Path(__file__).resolve().parent.parent / "inventory" / "documents"

INSTALLATION = (
    "云帆 YF-200 安装手册",
    "安装方式：用导轨固定在电控柜内，上下各留 5 厘米散热。",
    "接线：电源接 24 V 直流，正极接 V+，负极接 V-。串口 A 线接 A，B 线接 B，屏蔽层单端接地。",
    "第一次通电：等待 90 秒，三个指示灯由黄变绿，表示启动完成。",
    "拧紧端子的力矩是 0.5 牛米，过大会损坏端子。",
)
PRICES = (
    ("型号", "含税单价", "交货期"),
    ("YF-200S", "2680 元", "7 天"),
    ("YF-200P", "3280 元", "15 天"),
    ("YF-PS24 电源", "160 元", "3 天"),
)
WARRANTY = (
    "云帆 YF-200 保修条款",
    "YF-200 的保修期是 36 个月，从发货日起算。",
    "保修期内返修不收费，来回运费由本公司承担。",
    "雷击、进水、自行拆机不在保修范围内。",
)


def documents() -> dict[str, bytes]:
    """File name -> content."""
    return {"安装手册.docx": docx(INSTALLATION), "价格表.xlsx": xlsx(PRICES), "保修条款.pdf": pdf(WARRANTY)}


def docx(paragraphs: Sequence[str]) -> bytes:
    """A Word document of plain paragraphs."""
    body = "".join(f"<w:p><w:r><w:t>{escape(text)}</w:t></w:r></w:p>" for text in paragraphs)
    main = "application/vnd.openxmlformats-officedocument.wordprocessingml.document.main+xml"
    return _package(
        {
            "word/document.xml": (
                main,
                f'<w:document xmlns:w="{_OOXML}/wordprocessingml/2006/main"><w:body>{body}</w:body></w:document>',
            )
        },
        "word/document.xml",
    )


def xlsx(rows: Sequence[Sequence[str]]) -> bytes:
    """A workbook with one sheet of texts."""
    lines = "".join(
        "<row>" + "".join(f'<c t="inlineStr"><is><t>{escape(cell)}</t></is></c>' for cell in row) + "</row>"
        for row in rows
    )
    space = f'xmlns="{_OOXML}/spreadsheetml/2006/main"'
    kind = "application/vnd.openxmlformats-officedocument.spreadsheetml.{}+xml"
    relation = f'xmlns:r="{_OOXML}/officeDocument/2006/relationships"'
    book = f'<workbook {space} {relation}><sheets><sheet name="Sheet1" sheetId="1" r:id="rId1"/></sheets></workbook>'
    return _package(
        {
            "xl/workbook.xml": (kind.format("sheet.main"), book),
            "xl/worksheets/sheet1.xml": (
                kind.format("worksheet"),
                f"<worksheet {space}><sheetData>{lines}</sheetData></worksheet>",
            ),
        },
        "xl/workbook.xml",
        {"xl/_rels/workbook.xml.rels": [("worksheet", "worksheets/sheet1.xml")]},
    )


_OOXML = "http://schemas.openxmlformats.org"
_XML = '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n'


def _package(
    parts: Mapping[str, tuple[str, str]],
    start: str,
    relations: Mapping[str, Sequence[tuple[str, str]]] | None = None,
) -> bytes:
    """An Office package: parts with their content types, and how to get from one to the next."""
    types = "".join(
        f'<Override PartName="/{name}" ContentType="{kind}"/>' for name, (kind, _) in parts.items()
    )
    default = (
        '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
    )
    default += '<Default Extension="xml" ContentType="application/xml"/>'
    files = {
        "[Content_Types].xml": f'<Types xmlns="{_OOXML}/package/2006/content-types">{default}{types}</Types>'
    }
    for path, targets in {"_rels/.rels": [("officeDocument", start)], **(relations or {})}.items():
        each = "".join(
            f'<Relationship Id="rId{n}" Type="{_OOXML}/officeDocument/2006/relationships/{kind}" Target="{target}"/>'
            for n, (kind, target) in enumerate(targets, 1)
        )
        files[path] = f'<Relationships xmlns="{_OOXML}/package/2006/relationships">{each}</Relationships>'
    files |= {name: text for name, (_, text) in parts.items()}
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in files.items():
            archive.writestr(
                zipfile.ZipInfo(name, (2024, 12, 15, 0, 0, 0)), _XML + text, zipfile.ZIP_DEFLATED
            )
    return packed.getvalue()


def pdf(lines: Sequence[str]) -> bytes:
    """A page of text without an embedded font: glyphs are numbered as they come, and a ToUnicode map says what they mean."""
    glyphs = {character: number for number, character in enumerate(dict.fromkeys("".join(lines)), 1)}
    shown = "".join(
        f"1 0 0 1 50 {780 - 24 * n} Tm <{''.join(f'{glyphs[c]:04x}' for c in line)}> Tj\n"
        for n, line in enumerate(lines)
    )
    page = f"BT /F1 11 Tf\n{shown}ET"
    pairs = [
        f"<{number:04x}> <{character.encode('utf-16-be').hex()}>" for character, number in glyphs.items()
    ]
    blocks = [pairs[start : start + 100] for start in range(0, len(pairs), 100)]
    mapping = "".join(f"{len(block)} beginbfchar\n" + "\n".join(block) + "\nendbfchar\n" for block in blocks)
    to_unicode = (
        "/CIDInit /ProcSet findresource begin 12 dict begin begincmap /CMapName /Lab def /CMapType 2 def\n"
        f"1 begincodespacerange <0000> <ffff> endcodespacerange\n{mapping}endcmap end end"
    )
    font = "<< /Type /Font /Subtype /Type0 /BaseFont /Lab /Encoding /Identity-H /DescendantFonts [6 0 R] /ToUnicode 7 0 R >>"
    descendant = (
        "<< /Type /Font /Subtype /CIDFontType2 /BaseFont /Lab /CIDSystemInfo << /Registry (Adobe) /Ordering (Identity) "
        "/Supplement 0 >> /FontDescriptor 8 0 R /DW 1000 >>"
    )
    descriptor = (
        "<< /Type /FontDescriptor /FontName /Lab /Flags 4 /FontBBox [0 -200 1000 900] /ItalicAngle 0 /Ascent 900 /Descent -200 "
        "/CapHeight 700 /StemV 80 >>"
    )
    objects = [
        "<< /Type /Catalog /Pages 2 0 R >>",
        "<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents 4 0 R /Resources << /Font << /F1 5 0 R >> >> >>",
        _stream(page),
        font,
        descendant,
        _stream(to_unicode),
        descriptor,
    ]
    out, offsets = b"%PDF-1.4\n", []
    for number, text in enumerate(objects, 1):
        offsets.append(len(out))
        out += f"{number} 0 obj\n{text}\nendobj\n".encode()
    table = "".join(f"{offset:010d} 00000 n \n" for offset in offsets)
    end = f"xref\n0 {len(objects) + 1}\n0000000000 65535 f \n{table}trailer << /Root 1 0 R /Size {len(objects) + 1} >>\n"
    return out + f"{end}startxref\n{len(out)}\n%%EOF\n".encode()


def _stream(text: str) -> str:
    return f"<< /Length {len(text.encode())} >>\nstream\n{text}\nendstream"


def main() -> int:
    """Write the files."""
    for name, content in documents().items():
        (FOLDER / name).write_bytes(content)
        print(f"{name}: {len(content)} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
