"""The two files of a static engine on their way to the host: downloaded there, uploaded, or taken from what was pushed."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from difyfleet.errors import HostError
from difyfleet.facts.engine import DOWNLOADS
from difyfleet.facts.pushed import BLOBS, PUSH, Pushed
from difyfleet.operations.onhost import execute
from difyfleet.remote.upload import send, sha256_of
from difyfleet.spec.engine_files import EngineFile, engine_files
from difyfleet.spec.models import Docker

_STALL = 60  # seconds with less than 1 KiB/s after which a download is given up and resumed


@dataclass(frozen=True)
class Source:
    """Where one file of the bundle comes from.

    Args:
        url: downloaded on the host; None = uploaded from `file`, or (both None) taken from the pushed store.
        sha256: hash it must have; None = nobody gave one.
        target: its name in the host's download folder.
    """

    url: str | None
    file: Path | None
    sha256: str | None
    target: str

    @property
    def words(self) -> str:
        return self.url or (f"{self.file} on the controller" if self.file else "the pushed bundle")


def sources(docker: Docker, recorded: Mapping[str, Any] | None = None) -> tuple[Source, Source]:
    """The archive and the Compose plugin.

    Args:
        recorded: the host's manifest. Where no hash is given, the one recorded at the first installation of the same version counts.

    Raises:
        HostError: no hash, and a way that anybody can tamper with (plain http).
    """
    known = recorded or {}
    archive, compose = engine_files(docker)
    return (
        _source(
            archive,
            known.get("archive_sha256") if known.get("version") == docker.version else None,
        ),
        _source(
            compose,
            known.get("compose_sha256") if known.get("compose_version") == docker.compose_version else None,
        ),
    )


def _source(wanted: EngineFile, recorded: str | None) -> Source:
    sha256 = wanted.sha256 or (sha256_of(wanted.file) if wanted.file else None) or recorded
    if sha256 is None and wanted.url is not None and not wanted.url.startswith("https://"):
        raise HostError(
            f"no SHA-256 for {wanted.url}, and http cannot be trusted without one",
            hint=f"set {wanted.key}, or docker.bundle.sha256sums with a line for {wanted.name}",
        )
    return Source(wanted.url, wanted.file, sha256, wanted.kept_as)


def pushed_sources(docker: Docker, pushed: Pushed) -> tuple[Source, Source]:
    """The same two out of what `difyfleet bundle push` has brought.

    Raises:
        HostError: they are not there, of another version, or not those that the inventory or its lock file names.
    """
    archive, compose = engine_files(docker)
    return _pushed(archive, pushed), _pushed(compose, pushed)


def _pushed(wanted: EngineFile, pushed: Pushed) -> Source:
    found = pushed.contents.files.get(wanted.kind)
    if found is None or found.version != wanted.version or pushed.missing([found.digest]):
        if wanted.file is not None:  # on the controller: no network is needed for that either
            return _source(wanted, None)
        there = f"{found.version} was pushed" if found and found.version != wanted.version else "not pushed"
        raise HostError(f"{wanted.version} is not on the host ({there})", where=wanted.kind, hint=PUSH)
    if wanted.sha256 not in (None, found.digest[7:]):
        raise HostError(
            f"pushed is a file with SHA-256 {found.digest[7:19]}, wanted {str(wanted.sha256)[:12]}",
            where=f"{wanted.kind} {wanted.version}",
            hint=PUSH,
        )
    return Source(None, None, found.digest[7:], wanted.kept_as)


def _have(path: str, sha256: str) -> str:
    """A shell test: the file is there and has this hash."""
    return f'[ "$(sha256sum {path} 2>/dev/null | cut -c1-64)" = "{sha256}" ]'


def download_command(source: Source) -> str:
    """The shell command that has the host fetch a file, unless it is there already with the right hash.

    Kept under DOWNLOADS so that a damaged program can be mended without a network; a broken download is resumed.
    """
    path, part, url = (
        f"{DOWNLOADS}/{source.target}",
        f"{DOWNLOADS}/{source.target}.part",
        shlex.quote(source.url or ""),
    )
    curl = f"curl -fsSL --retry 3 --retry-delay 2 --connect-timeout 20 --speed-limit 1024 --speed-time {_STALL} -o {part}"
    python = shlex.quote(
        "import shutil,sys,urllib.request as u\nwith u.urlopen(sys.argv[1],timeout=60) as i, open(sys.argv[2],'wb') as o: shutil.copyfileobj(i,o,1<<20)"
    )
    have = _have(path, source.sha256) if source.sha256 else "false"
    return (
        f"umask 022; if {have}; then exit 0; fi; if command -v curl >/dev/null; then "
        f"{curl} -C - {url} || {{ rm -f {part}; {curl} {url}; }}; else python3 -c {python} {url} {part}; fi && mv -fT {part} {path}"
    )


def link_command(source: Source) -> str:
    """The shell command that takes a file from the pushed store, where it stays too, as a second name for the same bytes.

    A damaged one is removed, so that the next push brings it again.
    """
    path, blob = f"{DOWNLOADS}/{source.target}", f"{BLOBS}/{source.sha256}"
    return (
        f"if {_have(path, str(source.sha256))}; then exit 0; fi; "
        f"{_have(blob, str(source.sha256))} || {{ rm -f {blob}; echo 'damaged on the host, removed' >&2; exit 1; }}; "
        f"ln -fT {blob} {path} 2>/dev/null || cp -fT {blob} {path}"
    )


def bring(on: Any, source: Source) -> None:
    """Get one file of the bundle into the host's download folder.

    Raises:
        HostError: it could not be downloaded or uploaded.
    """
    path = f"{DOWNLOADS}/{source.target}"
    if source.file is None and source.url is None:
        ok, words = execute(on, link_command(source), timeout=600)
        if not ok:
            raise HostError(f"cannot be used: {words or 'damaged'}", where=source.target, hint=PUSH)
        return
    if source.file is not None:
        there, _ = execute(on, _have(path, str(source.sha256)))
        if not there:
            send(on, source.file, path)
        return
    ok, words = execute(on, download_command(source), timeout=1800)
    if not ok:
        raise HostError(
            f"download failed: {words or 'no words from curl'}",
            where=source.url,
            hint="check it from the host (curl -I URL), set docker.bundle.url to a mirror, or docker.bundle.file to upload a copy",
        )
