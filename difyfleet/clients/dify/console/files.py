"""Uploads for knowledge bases. One upload per document: deleting a knowledge base deletes the uploads of its documents, shared or not."""

from __future__ import annotations

from dataclasses import dataclass

from difyfleet.clients.dify.transport import Transport, Upload

_API = "/console/api/files"
# of our own, since the answers of Python's mimetypes differ between systems
_TYPES = {
    "txt": "text/plain",
    "md": "text/markdown",
    "markdown": "text/markdown",
    "csv": "text/csv",
    "html": "text/html",
    "htm": "text/html",
    "pdf": "application/pdf",
    "docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    "xls": "application/vnd.ms-excel",
}


@dataclass(frozen=True)
class UploadedFile:
    """A file that the server keeps. The same bytes again get another id."""

    id: str
    name: str
    size: int  # bytes
    extension: str
    mime_type: str


@dataclass(frozen=True)
class Limits:
    """How much a document may be. The batch limit is announced, not enforced."""

    file_size_mb: int
    batch_count: int


class Files:
    """Uploads."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def limits(self) -> Limits:
        """The server's limits."""
        data = self._transport.get(f"{_API}/upload")
        return Limits(
            file_size_mb=data.integer("file_size_limit"), batch_count=data.integer("batch_count_limit", 5)
        )

    def allowed_extensions(self) -> frozenset[str]:
        """Extensions of documents, in lower case, without a dot."""
        names = self._transport.get(f"{_API}/support-type").texts("allowed_extensions")
        return frozenset(name.lower() for name in names)

    def upload(self, name: str, content: bytes, *, timeout: float = 300.0) -> UploadedFile:
        """Upload a document for a knowledge base.

        Args:
            name: file name with extension, any language; the document will be called so.
            timeout: seconds without a byte, while the whole body is sent.

        Raises:
            UnsupportedFile: Dify cannot read this extension.
            TooLarge: over the server's or the proxy's limit.
        """
        upload = Upload(name, content, content_type(name))
        # without this form field the server takes any extension, and the document fails later
        data = self._transport.write(
            "POST", f"{_API}/upload", files={"file": upload}, form={"source": "datasets"}, timeout=timeout
        )
        return UploadedFile(
            id=data.text("id"),
            name=data.text("name"),
            size=data.integer("size"),
            extension=data.text("extension"),
            mime_type=data.text("mime_type", ""),
        )

    def preview(self, file_id: str) -> str:
        """The first 3000 characters of the text that Dify reads out of an upload."""
        return self._transport.get(f"{_API}/{file_id}/preview").text("content")


def content_type(name: str) -> str:
    """The MIME type of a document, by its extension."""
    return _TYPES.get(name.rpartition(".")[2].lower(), "application/octet-stream")
