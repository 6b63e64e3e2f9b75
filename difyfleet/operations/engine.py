"""The engine from Docker's static archive, and the Compose plugin: downloaded on the host, hash checked, unpacked, recorded.

Into /usr/bin: openEuler's sudo has a secure_path without /usr/local/bin, and systemd under SELinux runs what is labelled bin_t.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Generator, Iterator, Mapping
from pathlib import Path
from typing import Any

from pyinfra import host

from difyfleet.errors import HostError
from difyfleet.facts.docker import PENDING
from difyfleet.facts.engine import DOWNLOADS, MANIFEST, FileHashes, StaticEngine, StaticEngineFiles
from difyfleet.facts.pushed import PushedBundle
from difyfleet.operations.base import Change, call, declaring, operation, shell
from difyfleet.operations.engine_source import Source, bring, pushed_sources, sources
from difyfleet.operations.onhost import execute
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
@declaring(lambda docker, offline=False: (docker.version, docker.compose_version, docker.bundle))
def static(docker: Docker, offline: bool = False) -> Generator[Any, None, None]:
    """Docker's static archive and the Compose plugin, exactly the versions of the inventory.

    Args:
        offline: taken from what `difyfleet bundle push` has brought.

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
    archive, compose = (
        pushed_sources(docker, host.get_fact(PushedBundle)) if offline else sources(docker, seen.manifest)
    )
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
