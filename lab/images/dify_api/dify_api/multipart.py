"""Parts of a multipart/form-data body."""

from __future__ import annotations

import re
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


def parse(request: Request) -> Form:
    """The form of a request; empty if its body is of another type."""
    form = Form()
    match = re.search(r'boundary="?([^";]+)"?', request.headers.get("Content-Type", ""))
    if not match or "multipart/form-data" not in request.headers.get("Content-Type", ""):
        return form
    mark = b"--" + match[1].encode()
    for part in (b"\r\n" + request.body).split(b"\r\n" + mark)[1:]:
        head, found, content = part.partition(b"\r\n\r\n")
        if not found or part.startswith(b"--"):
            continue
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
