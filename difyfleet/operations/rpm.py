"""The engine from an RPM repository: base URL written out, key checked by fingerprint, versions pinned and looked up afterwards."""

from __future__ import annotations

import re
import shlex
from collections.abc import Generator
from pathlib import Path
from typing import Any

from pyinfra import host

from difyfleet.errors import HostError
from difyfleet.facts.engine import MANIFEST, InstalledPackages, RpmEngine, RpmEngineState
from difyfleet.facts.files import PathState
from difyfleet.facts.fitness import CONFLICTING
from difyfleet.operations.base import Change, call, declaring, operation
from difyfleet.operations.files import file_changes, put_command
from difyfleet.operations.onhost import execute
from difyfleet.operations.render import render
from difyfleet.operations.restart import mark
from difyfleet.spec.models import Docker

REPO = "/etc/yum.repos.d/difyfleet-docker.repo"
KEY = "/etc/pki/rpm-gpg/RPM-GPG-KEY-difyfleet-docker"
_KEY_SCRIPT = Path(__file__).with_name("import_key_script.py")
_DNF_SECONDS = 1800


def wanted_versions(docker: Docker) -> dict[str, str | None]:
    """Package -> version; None = whatever the repository has (containerd.io is chosen by docker-ce's own needs)."""
    return {
        "docker-ce": docker.version,
        "docker-ce-cli": docker.version,
        "containerd.io": None,
        "docker-compose-plugin": docker.compose_version,
    }


def fits(found: str | None, wanted: str | None) -> bool:
    """Whether an installed version is the wanted one. Builds may add a suffix (`26.1.5+dfsg1`), never another digit."""
    return found is not None and (
        wanted is None or re.fullmatch(re.escape(wanted) + r"([^\d.].*)?", found) is not None
    )


def differences(docker: Docker, seen: RpmEngine) -> list[str]:
    """Why packages have to be installed, up- or downgraded or put right."""
    found = []
    for name, version in wanted_versions(docker).items():
        if not fits(seen.versions.get(name), version):
            found.append(
                f"{name}: {seen.versions.get(name, 'not installed')}, wanted {version or 'any version'}"
            )
    return found + [f"{path}: not as its package had it" for path in seen.changed]


def restart_reasons(docker: Docker) -> list[str]:
    """What installing would restart the daemon for: all but the command line and the Compose plugin."""
    quiet = ("docker-compose-plugin", "docker-ce-cli", "/usr/libexec/docker/cli-plugins", "/usr/bin/docker:")
    return [why for why in differences(docker, host.get_fact(RpmEngineState)) if not why.startswith(quiet)]


@operation
@declaring(lambda docker: (docker.rpm, render("docker/docker.repo.j2", rpm=docker.rpm, key=KEY)))
def repository(docker: Docker) -> Generator[Any, None, None]:
    """The repository file and, with a gpgkey, rpm's trust in the key with the given fingerprint.

    The repository is disabled for everybody else, so that a plain `dnf upgrade` does not move the pinned engine.

    Raises:
        HostError: the key has another fingerprint.
    """
    text = render("docker/docker.repo.j2", rpm=docker.rpm, key=KEY)
    state = host.get_fact(PathState, path=REPO)
    fingerprint = (docker.rpm.gpg_fingerprint or "").replace(" ", "").lower()
    if docker.rpm.gpgkey and not _trusted(fingerprint):
        yield Change(f"rpm: signing key {fingerprint[-16:] or docker.rpm.gpgkey} not trusted yet")
        yield call(import_key, docker.rpm.gpgkey, fingerprint)
    differing = file_changes(REPO, state, text)
    yield from differing
    if differing:
        yield put_command(REPO, text.encode(), mode="0644", owner="root", group="root")


def _trusted(fingerprint: str) -> bool:
    """Whether the key is there. Without a fingerprint in the inventory any key counts that was fetched once."""
    if host.get_fact(PathState, path=KEY) is None:
        return False
    return not fingerprint or fingerprint[-8:] in host.get_fact(RpmEngineState).keys


def import_key(on: Any, url: str, fingerprint: str) -> None:
    """Fetch a key on the host, compare its fingerprint there, then have rpm trust it."""
    words = " ".join(map(shlex.quote, (url, fingerprint, KEY)))
    ok, said = execute(
        on,
        f"umask 022; mkdir -p {KEY.rpartition('/')[0]} && python3 - {words} && rpm --import {KEY}",
        stdin=_KEY_SCRIPT.read_text(),
        timeout=120,
    )
    if not ok:
        raise HostError(
            said,
            where=url,
            hint="check docker.rpm.gpgkey and docker.rpm.gpg_fingerprint; no key was imported",
        )


@operation
@declaring(lambda docker: (docker.rpm, wanted_versions(docker)))
def packages(docker: Docker) -> Generator[Any, None, None]:
    """Docker's packages in exactly the versions of the inventory. pyinfra's dnf operation does not look at versions, so this does.

    Raises:
        HostError: dnf failed (its own words), or another version is there afterwards; difyfleet's static installation is here.
    """
    seen = host.get_fact(RpmEngineState)
    if seen.static:
        raise HostError(
            "Docker is here from the static archive",
            where=MANIFEST,
            hint="say docker.method: static, or stop Docker, remove the files that this manifest lists and the manifest itself",
        )
    why = differences(docker, seen)
    if not why:
        return
    for line in why:
        yield Change(line)
    reasons = restart_reasons(docker) if seen.versions else []
    yield call(_install, docker, bool(seen.changed), f"other programs: {reasons[0]}" if reasons else "")


def dnf_command(verb: str, specs: list[str], restart: str = "") -> str:
    """dnf as a systemd unit on the host: a cut SSH session must not end a transaction in its middle. Its words go to a file.

    Args:
        restart: the reason for a restart of Docker that the unit leaves behind when dnf succeeded.
    """
    log = "/run/difyfleet/dnf.log"
    then = f" && {mark(restart)}" if restart else ""
    dnf = f"dnf -y --enablerepo=difyfleet-docker --setopt=install_weak_deps=False {verb} {' '.join(map(shlex.quote, specs))}"
    return (
        f"mkdir -p -m 0755 /run/difyfleet; while systemctl -q is-active difyfleet-dnf.service; do sleep 1; done; "
        f"systemd-run --quiet --wait --collect --unit=difyfleet-dnf --setenv=LC_ALL=C "
        f"sh -c {shlex.quote(f'{dnf} >{log} 2>&1{then}')}; r=$?; [ $r = 0 ] || grep -v '^Last metadata' {log} | tail -n 12 >&2; exit $r"
    )


def _install(on: Any, docker: Docker, damaged: bool, restart: str) -> None:
    specs = [f"{name}-{version}*" if version else name for name, version in wanted_versions(docker).items()]
    ok, words = execute(on, dnf_command("install", specs, "" if damaged else restart), timeout=_DNF_SECONDS)
    if ok and damaged:
        ok, words = execute(
            on, dnf_command("reinstall", list(wanted_versions(docker)), restart), timeout=_DNF_SECONDS
        )
    if not ok:
        raise HostError(
            f"dnf failed: {words}",
            where=docker.rpm.baseurl,
            hint="check docker.rpm.baseurl and docker.version; on the host: dnf --enablerepo=difyfleet-docker list --showduplicates docker-ce",
        )
    left = differences(docker, on.get_fact(RpmEngineState))
    if left:
        raise HostError(
            f"dnf ended well, but: {'; '.join(left)}",
            where=docker.rpm.baseurl,
            hint="see /run/difyfleet/dnf.log on the host",
        )


@operation
def conflicting_absent() -> Generator[Any, None, None]:
    """Other container engines' packages removed (preflight.remove_conflicting_packages asks for it)."""
    found = host.get_fact(InstalledPackages, names=CONFLICTING)
    for name, version in found.items():
        yield Change(f"package {name}-{version}: installed, wanted absent", loses_data=True)
    if found:
        yield call(_remove, tuple(found))


def _remove(on: Any, names: tuple[str, ...]) -> None:
    ok, words = execute(
        on, f"LC_ALL=C dnf -y remove {' '.join(map(shlex.quote, names))}", timeout=_DNF_SECONDS
    )
    if not ok:
        raise HostError(
            f"dnf failed: {words}", where=f"packages {', '.join(names)}", hint="remove them by hand"
        )
