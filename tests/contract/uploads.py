"""Files with the names and sizes of the recorded uploads; the contents were not recorded.

Those of the harbour are put together from the recorded previews and segments, byte for byte of the recorded size.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

BOUNDARY = "difyfleet-contract"

LIGHTHOUSE = (
    "The Blue Heron lighthouse stands on Marrow Point. It was built in 1874 by the engineer Ada Kestrel.\n\n"
    "The lamp of the Blue Heron lighthouse burns rapeseed oil and flashes green every eleven seconds.\n\n"
    "Visitors may climb the 203 steps on Tuesdays only. The keeper's name is Tobias Finch.\n"
)
RULES = (
    "# Harbour rules\n\n### Mooring\nBoats longer than twelve metres must moor at the north quay.\n\n"
    "### Fees\nThe mooring fee is 14 crowns per night. Fishing boats pay nothing.\n\n"
    "### Ünïcödé\nGrüße aus dem Hafen – naïve café 漁港 🚢.\n"
)
REBUILT = "The Blue Heron lighthouse was rebuilt in 1999 by the engineer Petra Gull, it says"
FERRY = (
    "The ferry Cormorant leaves Marrow Point at 07:15 and 18:40.",
    "A ferry ticket costs 9 crowns.",
    "Captain Isolde Brandt has commanded the ferry since 2003.",
)
TEXTS = {
    "novel.txt": "A wholly new paragraph about the tidal mill of Gannet Creek, owned by Sven Plover.\n",
    "novel2.txt": "Another new paragraph about the cooperage of Otto Teal at Marrow Point.\n",
    "broken.pdf": "%PDF-1.4\nthis is not really a pdf",
    "lighthouse.txt": LIGHTHOUSE,
    "harbour rules ünï.md": RULES,
    "harbour rules.md": RULES,
    "harbour.md": RULES,
}


def logbook(size: int) -> bytes:
    """600 paragraphs; the last is as long as need be."""
    cargo = ("salt", "rope")
    text = "\n\n".join(
        f"Entry {n}: on day {n} the cutter Whimbrel{n} sailed {n * 7 % 40} miles past buoy {n * 13 % 30} under captain Osprey{n}, "
        f"with {n % 9} passengers and a cargo of {cargo[n % 2]}."
        for n in range(600)
    )
    return text.encode() + b"." * (size - len(text))


def content(name: str, size: int) -> bytes:
    """The bytes of an upload."""
    if name == "logbook.txt":
        return logbook(size)
    if name == "ferry.pdf":
        return pdf(FERRY, size)
    if name == "lighthouse.txt" and size != len(LIGHTHOUSE):
        return REBUILT.encode()[:size]
    data = TEXTS.get(name, "").encode()
    return data if len(data) == size else (b"x" * size)


def pdf(lines: tuple[str, ...], size: int) -> bytes:
    """A PDF of one page with some lines of text, padded by a comment to an exact size."""
    text = "BT /F1 12 Tf 50 780 Td " + " ".join(f"({line}) Tj 0 -16 Td" for line in lines) + " ET"
    bodies = [
        "<</Type/Catalog/Pages 2 0 R>>",
        "<</Type/Pages/Kids[3 0 R]/Count 1>>",
        "<</Type/Page/Parent 2 0 R/MediaBox[0 0 595 842]/Contents 4 0 R/Resources<</Font<</F1 5 0 R>>>>>>",
        f"<</Length {len(text)}>>\nstream\n{text}\nendstream",
        "<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>",
    ]
    out, places = "%PDF-1.4\n", []
    for number, body in enumerate(bodies, 1):
        places.append(len(out))
        out += f"{number} 0 obj\n{body}\nendobj\n"
    table = "".join(f"{place:010d} 00000 n \n" for place in places)
    end = f"trailer << /Size {len(bodies) + 1} /Root 1 0 R >>\nstartxref\n{{start}}\n%%EOF\n"

    def whole(padding: str) -> bytes:
        head = out + padding
        return (
            head + f"xref\n0 {len(bodies) + 1}\n0000000000 65535 f \n{table}" + end.format(start=len(head))
        ).encode()

    missing = size - len(whole(""))
    return whole("%" + "-" * (missing - 2) + "\n") if missing > 1 else whole("")


def content_type(name: str) -> str:
    """What a client says a file is."""
    return {"txt": "text/plain", "md": "text/markdown", "pdf": "application/pdf"}.get(
        name.rpartition(".")[2], "application/octet-stream"
    )


def multipart(described: Mapping[str, Any], data: bytes | None = None) -> tuple[str, bytes]:
    """Content type and body of a recorded multipart request.

    :param data: the file's content if it is not to be made up by name and size.
    """
    parts = [_part(name, str(value).encode()) for name, value in described.get("form", {}).items()] + [
        _part(
            name,
            data if data is not None else content(file["filename"], file["size"]),
            file["filename"],
            file["content_type"],
        )
        for name, file in described.get("file_fields", {}).items()
    ]
    return f"multipart/form-data; boundary={BOUNDARY}", b"".join(parts) + f"--{BOUNDARY}--\r\n".encode()


def _part(name: str, data: bytes, filename: str = "", content_type: str = "") -> bytes:
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"'
    if filename:
        head += f'; filename="{filename}"\r\nContent-Type: {content_type}'
    return head.encode() + b"\r\n\r\n" + data + b"\r\n"
