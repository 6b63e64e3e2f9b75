"""Files on the host: what is there, with owner, mode and text."""

from __future__ import annotations

import base64
import shlex
from collections.abc import Iterable
from dataclasses import dataclass

from pyinfra.api import FactBase

from difyfleet.host_calls import Command

_TEXT_LIMIT = 262_144  # bytes of content fetched for a diff; configuration is smaller, anything larger is compared by hash


@dataclass(frozen=True)
class FileState:
    """One path as it stands on the host."""

    kind: str  # "file", "directory", "link" or "other"
    mode: str  # four octal digits, e.g. "0644"
    owner: str
    group: str
    size: int = 0
    sha256: str | None = None  # of regular files
    content: bytes | None = None  # of regular files up to 256 KiB

    @property
    def text(self) -> str | None:
        """The content as text; None where it is not text."""
        if self.content is None:
            return None
        try:
            return self.content.decode()
        except UnicodeDecodeError:
            return None


class PathState(FactBase[FileState | None]):
    """State of one path; None = does not exist. Links are not followed."""

    def command(self, path: str) -> Command:
        quoted = shlex.quote(path)
        text = (
            f"p={quoted}; if [ -e $p ] || [ -L $p ]; then LC_ALL=C stat -c '%F|%a|%U|%G|%s' $p; "
            f"if [ -f $p ] && [ ! -L $p ]; then sha256sum < $p; "
            f"if [ $(stat -c %s $p) -le {_TEXT_LIMIT} ]; then base64 -w0 < $p; echo; fi; fi; fi"
        ).replace("$p", '"$p"')
        return Command(text, "difyfleet.facts.files_script", "file_state", path, str(_TEXT_LIMIT))

    @staticmethod
    def default() -> None:
        return None

    def process(self, output: Iterable[str]) -> FileState | None:
        lines = list(output)
        if not lines or not lines[0]:
            return None
        kind, mode, owner, group, size = lines[0].split("|")
        kinds = {
            "regular file": "file",
            "regular empty file": "file",
            "directory": "directory",
            "symbolic link": "link",
        }
        return FileState(
            kind=kinds.get(kind, "other"),
            mode=mode.rjust(4, "0"),
            owner=owner,
            group=group,
            size=int(size),
            sha256=lines[1].split()[0] if len(lines) > 1 else None,
            content=base64.b64decode(lines[2]) if len(lines) > 2 else None,
        )
