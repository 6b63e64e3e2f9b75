"""What the Docker engine is installed from: files of the static archive with their manifest, or packages."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pyinfra.api import FactBase

from difyfleet.facts.fitness import sections
from difyfleet.host_calls import Command

MANIFEST = "/etc/difyfleet/engine.json"
DOWNLOADS = "/var/lib/difyfleet/downloads"
PACKAGES = ("docker-ce", "docker-ce-cli", "containerd.io", "docker-compose-plugin")


@dataclass(frozen=True)
class FileStat:
    """A file by its inode data. A changed content always shows in ctime, so the 250 MB of programs are hashed only when this differs."""

    mode: str  # four octal digits
    owner: str  # "root:root"
    size: int
    mtime: int
    ctime: int
    inode: int

    @property
    def stamp(self) -> str:
        return f"{self.size} {self.mtime} {self.ctime} {self.inode}"


@dataclass(frozen=True)
class StaticEngine:
    """The static archive's files on the host."""

    manifest: Mapping[str, Any] | None = (
        None  # what install_engine_script.py wrote; None = not installed by difyfleet
    )
    files: Mapping[str, FileStat] = field(default_factory=dict)  # path -> state, absent ones left out
    group: bool = False  # group docker exists
    owner: str = ""  # package that owns /usr/bin/dockerd, "" = none


class StaticEngineFiles(FactBase[StaticEngine]):
    """Manifest and files of a static installation."""

    def command(self, paths: tuple[str, ...]) -> Command:
        listed = " ".join(map(shlex.quote, paths))
        text = (
            f"(export LC_ALL=C; echo '##manifest'; cat {MANIFEST} 2>/dev/null; echo; echo '##files'; "
            f"stat -c '%n|%a|%U:%G|%s|%Y|%Z|%i' {listed} 2>/dev/null; echo '##group'; getent group docker >/dev/null && echo yes; "
            "echo '##owner'; command -v rpm >/dev/null && [ -e /usr/bin/dockerd ] && rpm -qf --qf '%{NAME}\\n' /usr/bin/dockerd 2>/dev/null "
            "| grep -v 'not owned'; true)"
        )
        return Command(text, "difyfleet.facts.engine_script", "static_files", MANIFEST, *paths)

    @staticmethod
    def default() -> StaticEngine:
        return StaticEngine()

    def process(self, output: Iterable[str]) -> StaticEngine:
        part = sections(output)
        files = {}
        for line in part.get("files", []):
            path, mode, owner, size, mtime, ctime, inode = line.split("|")
            files[path] = FileStat(mode.rjust(4, "0"), owner, int(size), int(mtime), int(ctime), int(inode))
        return StaticEngine(
            manifest=parse_json("\n".join(part.get("manifest", []))),
            files=files,
            group="yes" in part.get("group", []),
            owner=(part.get("owner") or [""])[0].strip(),
        )


def parse_json(text: str) -> Mapping[str, Any] | None:
    """A JSON object, or None for anything else: a record that somebody broke counts as absent."""
    try:
        found = json.loads(text)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


class FileHashes(FactBase[dict[str, str]]):
    """SHA-256 of files, absent ones left out."""

    def command(self, paths: tuple[str, ...]) -> str:
        return f"LC_ALL=C sha256sum -- {' '.join(map(shlex.quote, paths))} 2>/dev/null; true"

    @staticmethod
    def default() -> dict[str, str]:
        return {}

    def process(self, output: Iterable[str]) -> dict[str, str]:
        pairs = (line.split(None, 1) for line in output if line)
        return {path.lstrip("*"): digest for digest, path in pairs}


@dataclass(frozen=True)
class RpmEngine:
    """Docker's packages on the host."""

    versions: Mapping[str, str] = field(default_factory=dict)  # name -> version without epoch and release
    changed: tuple[str, ...] = ()  # files that differ from their package, as `rpm -V` names them
    keys: frozenset[str] = frozenset()  # key ids (8 hex digits) that rpm trusts
    static: bool = False  # difyfleet's static installation is here


class RpmEngineState(FactBase[RpmEngine]):
    """Installed versions and files that are not as their packages had them.

    `rpm -V` reads the programs (250 MB); configuration and documentation are left out, and so are mode, owner and times of links.
    """

    def command(self) -> str:
        names = " ".join(PACKAGES)
        return (
            "(export LC_ALL=C; command -v rpm >/dev/null || exit 0; echo '##versions'; "
            f"rpm -q --qf '%{{NAME}}|%{{VERSION}}\\n' {names} 2>/dev/null | grep '|'; echo '##changed'; "
            f"rpm -V --nodeps --noscripts --nomtime {names} 2>/dev/null | grep -v ' [cd] ' | grep /; echo '##keys'; "
            f"rpm -q gpg-pubkey --qf '%{{VERSION}}\\n' 2>/dev/null | grep -v ' '; echo '##static'; [ -e {MANIFEST} ] && echo yes; true)"
        )

    @staticmethod
    def default() -> RpmEngine:
        return RpmEngine()

    def process(self, output: Iterable[str]) -> RpmEngine:
        part = sections(output)
        return RpmEngine(
            versions=dict(line.split("|", 1) for line in part.get("versions", []) if line),
            changed=tuple(line[line.index("/") :] for line in part.get("changed", []) if "/" in line),
            keys=frozenset(line.strip().lower() for line in part.get("keys", []) if line.strip()),
            static="yes" in part.get("static", []),
        )


class InstalledPackages(FactBase[dict[str, str]]):
    """Which of these packages are installed, with version and release."""

    def command(self, names: tuple[str, ...]) -> str:
        listed = " ".join(map(shlex.quote, names))
        return f"command -v rpm >/dev/null && LC_ALL=C rpm -q --qf '%{{NAME}}|%{{VERSION}}-%{{RELEASE}}\\n' {listed} 2>/dev/null | grep '|'; true"

    @staticmethod
    def default() -> dict[str, str]:
        return {}

    def process(self, output: Iterable[str]) -> dict[str, str]:
        return dict(line.split("|", 1) for line in output if "|" in line)
