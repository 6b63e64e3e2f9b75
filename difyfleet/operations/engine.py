"""The engine from Docker's static archive, and the Compose plugin: downloaded on the host, hash checked, unpacked, recorded.

Into /usr/bin: openEuler's sudo has a secure_path without /usr/local/bin, and systemd under SELinux runs what is labelled bin_t.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pyinfra import host

from difyfleet.errors import HostError
from difyfleet.facts.docker import PENDING
from difyfleet.facts.engine import DOWNLOADS, MANIFEST, FileHashes, StaticEngine, StaticEngineFiles
from difyfleet.operations.base import Change, call, declaring, operation, shell
from difyfleet.operations.onhost import execute
from difyfleet.remote.upload import send, sha256_of
from difyfleet.spec.engine_files import EngineFile, engine_files
from difyfleet.spec.models import Docker

BIN = "/usr/bin"
PLUGIN = "/usr/local/lib/docker/cli-plugins/docker-compose"  # searched before /usr/libexec, and no package's folder
PROGRAMS = (
    "containerd",
    "containerd-shim-runc-v2",
    "ctr",
    "docker",
    "docker-init",
    "docker-proxy",
    "dockerd",
    "runc",
)
PATHS = (*(f"{BIN}/{name}" for name in PROGRAMS), PLUGIN)
_SCRIPT = Path(__file__).with_name("install_engine_script.py")
_STALL = 60  # seconds with less than 1 KiB/s after which a download is given up and resumed


@dataclass(frozen=True)
class Source:
    """Where one file of the bundle comes from.

    Args:
        url: downloaded on the host; None = uploaded from `file`.
        sha256: hash it must have; None = nobody gave one.
        target: its name in the host's download folder.
    """

    url: str | None
    file: Path | None
    sha256: str | None
    target: str

    @property
    def words(self) -> str:
        return self.url or f"{self.file} on the controller"


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


def differences(docker: Docker, seen: StaticEngine) -> list[str]:
    """Why the static installation has to be made (again); empty = it is as wanted. Hashes files whose inode data changed."""
    record = seen.manifest
    if record is None or record.get("method") != "static" or not isinstance(record.get("files"), dict):
        present = f"{BIN}/dockerd" in seen.files
        return [
            f"docker: {'there, but not installed by difyfleet' if present else 'not installed'}, wanted {docker.version}"
        ]
    archive, compose = sources(docker, record)
    found = []
    if record.get("version") != docker.version:
        found.append(f"docker: version {record.get('version')}, wanted {docker.version}")
    elif archive.sha256 not in (None, record.get("archive_sha256")):
        found.append(
            f"docker {docker.version}: installed from another archive ({str(record.get('archive_sha256'))[:12]})"
        )
    if record.get("compose_version") != docker.compose_version:
        found.append(
            f"compose plugin: version {record.get('compose_version')}, wanted {docker.compose_version}"
        )
    elif compose.sha256 not in (None, record.get("compose_sha256")):
        found.append(
            f"compose plugin {docker.compose_version}: another file ({str(record.get('compose_sha256'))[:12]})"
        )
    if not seen.group:
        found.append("group docker: absent")
    return found + list(_changed_files(record["files"], seen))


def _changed_files(recorded: Mapping[str, Any], seen: StaticEngine) -> Iterator[str]:
    doubtful = []
    for path, entry in recorded.items():
        state = seen.files.get(path)
        if state is None:
            yield f"{path}: absent"
        elif (state.mode, state.owner) != ("0755", "root:root"):
            yield f"{path}: mode {state.mode} {state.owner}, wanted 0755 root:root"
        elif state.stamp != entry.get("stamp"):
            doubtful.append(path)
    if doubtful:
        hashes = host.get_fact(FileHashes, paths=tuple(doubtful))
        for path in doubtful:
            found, wanted = str(hashes.get(path)), str(recorded[path].get("sha256"))
            if found != wanted:
                yield f"{path}: another program than the one installed (SHA-256 {found[:12]}, wanted {wanted[:12]})"


def restart_reasons(docker: Docker) -> list[str]:
    """What installing would restart the daemon for: all but the Compose plugin, the group and modes."""
    quiet = ("compose plugin", PLUGIN, "group")
    seen = host.get_fact(StaticEngineFiles, paths=PATHS)
    return [why for why in differences(docker, seen) if not why.startswith(quiet) and ": mode " not in why]


@operation
@declaring(lambda docker: (docker.version, docker.compose_version, docker.bundle))
def static(docker: Docker) -> Generator[Any, None, None]:
    """Docker's static archive and the Compose plugin, exactly the versions of the inventory.

    Raises:
        HostError: a package owns /usr/bin/dockerd; a hash is wrong or missing; the archive is not what it should be.
    """
    seen = host.get_fact(StaticEngineFiles, paths=PATHS)
    if seen.owner:
        raise HostError(
            f"/usr/bin/dockerd belongs to the package {seen.owner}",
            hint=f"say docker.method: rpm, or remove the package (dnf remove {seen.owner}); containers stay in the data root",
        )
    why = differences(docker, seen)
    if not why:
        return
    for line in why:
        yield Change(line)
    archive, compose = sources(docker, seen.manifest)
    for source in (archive, compose):
        if source.sha256 is None:
            yield Change(
                f"{source.target}: no hash given; trusted on first use of {source.url}, held to afterwards"
            )
    yield shell(
        f"umask 022; mkdir -p {DOWNLOADS} /etc/difyfleet && chmod 0755 /var/lib/difyfleet {DOWNLOADS} /etc/difyfleet"
    )
    for source in (archive, compose):
        yield call(bring, source)
    reasons = restart_reasons(docker)
    yield call(install, docker, archive, compose, f"other programs: {reasons[0]}" if reasons else "")


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


def bring(on: Any, source: Source) -> None:
    """Get one file of the bundle into the host's download folder.

    Raises:
        HostError: it could not be downloaded or uploaded.
    """
    path = f"{DOWNLOADS}/{source.target}"
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


def install(on: Any, docker: Docker, archive: Source, compose: Source, restart: str) -> None:
    """Check, unpack and record. Raises HostError with the script's words; then nothing or whole files were replaced.

    Args:
        restart: the reason for a restart of Docker that goes with it, "" = none.
    """
    job = {
        "version": docker.version,
        "compose_version": docker.compose_version,
        "archive": f"{DOWNLOADS}/{archive.target}",
        "archive_sha256": archive.sha256,
        "compose": f"{DOWNLOADS}/{compose.target}",
        "compose_sha256": compose.sha256,
        "bin": BIN,
        "plugin": PLUGIN,
        "manifest": MANIFEST,
        "source": {"archive": archive.words, "compose": compose.words},
        "restart": restart,
        "pending": PENDING,
        "pinned": archive.sha256 is not None and compose.sha256 is not None,
    }
    ok, words = execute(
        on, f"python3 - {shlex.quote(json.dumps(job))}", stdin=_SCRIPT.read_text(), timeout=600
    )
    if not ok:
        raise HostError(
            words.removeprefix("difyfleet: ") or "the installation failed without a word",
            where=archive.words,
            hint="check docker.version and docker.bundle (url, sha256, sha256sums) and the lock file, then run apply again",
        )
