"""One uploaded file from Dify's storage folder on the host."""

from __future__ import annotations

import shlex
from collections.abc import Iterable

from pyinfra.api import FactBase


class UploadedFile(FactBase[str | None]):
    """A file's content in base64; None = not there.

    Args:
        path: absolute path on the host.
    """

    def command(self, path: str) -> str:
        quoted = shlex.quote(path)
        return f"[ ! -f {quoted} ] || {{ echo =; base64 -w 76 < {quoted}; }}"

    @staticmethod
    def default() -> None:
        return None

    def process(self, output: Iterable[str]) -> str | None:
        lines = list(output)
        return "".join(lines[1:]) if lines and lines[0] == "=" else None
