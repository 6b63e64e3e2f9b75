"""Parts of a multipart/form-data body."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from .http import ApiError, Request


@dataclass
class File:
    """An uploaded file."""

    name: str
    content_type: str
    content: bytes


@dataclass
class Form:
    """Text fields and files by their names."""

    fields: dict[str, str] = field(default_factory=dict)
    files: dict[str, File] = field(default_factory=dict)

    def file(self, name: str = "file") -> File:
        """:raises ApiError: 400 if it was not sent."""
        if name not in self.files:
            raise ApiError(
                400, "bad_request_key_error",
                "The browser (or proxy) sent a request that this server could not understand.",
            )  # fmt: skip
        return self.files[name]


def _parts(body: bytes, mark: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Head and content of each part; a large file is copied once only."""
    place = body.find(mark)
    while place >= 0:
        start = place + len(mark)
        place = body.find(b"\r\n" + mark, start)
        middle = body.find(b"\r\n\r\n", start)
        if place < 0 or middle < 0 or middle > place:
            return
        yield body[start:middle], body[middle + 4 : place]
        place += 2


def parse(request: Request) -> Form:
    """The form of a request; empty if its body is of another type."""
    form = Form()
    match = re.search(r'boundary="?([^";]+)"?', request.headers.get("Content-Type", ""))
    if not match or "multipart/form-data" not in request.headers.get("Content-Type", ""):
        return form
    for head, content in _parts(request.body, b"--" + match[1].encode()):
        headers = head.decode("utf-8", "replace")
        name = re.search(r'\bname="([^"]*)"', headers)
        filename = re.search(r'filename="((?:[^"\\]|\\.)*)"', headers)
        if name is None:
            continue
        if filename is None:
            form.fields[name[1]] = content.decode("utf-8", "replace")
        elif filename[1]:
            kind = re.search(r"(?im)^Content-Type:\s*([^;\r\n]+)", headers)
            form.files[name[1]] = File(
                re.sub(r"\\(.)", r"\1", filename[1]),
                kind[1].strip() if kind else "application/octet-stream",
                content,
            )
    return form
