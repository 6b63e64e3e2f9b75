"""Debian packages of a given release, downloaded beside the machine's own apt state and never installed."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from pathlib import Path

from lab import cache, engine

KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
SUITE = "bookworm"  # rootfs and kernel: dnf 4.14.0 and rpm 4.18 are those of openEuler 22.03, systemd and glibc close


def mirror() -> tuple[str, str]:
    """Base URLs of the Debian archive and of its security archive.

    Taken from ``DIFYFLEET_LAB_DEBIAN_MIRROR`` (security: the same URL with ``-security`` appended), else from this
    machine's own apt sources.

    :raises LabError: on a machine that is not Debian and has no such variable.
    """
    configured = os.environ.get("DIFYFLEET_LAB_DEBIAN_MIRROR", "").rstrip("/")
    if configured:
        return configured, f"{configured}-security"
    fields = "$(ORIGIN)|$(LABEL)|$(COMPONENT)|$(REPO_URI)"
    archive = security = ""
    for line in engine.run(["apt-get", "indextargets", "--format", fields], check=False).stdout.splitlines():
        origin, label, component, uri = line.split("|", 3)
        if origin == "Debian" and component == "main":
            if label == "Debian-Security":
                security = security or uri.rstrip("/")
            else:
                archive = archive or uri.rstrip("/")
    if not archive:
        raise engine.LabError(
            "no Debian archive among this machine's apt sources: set DIFYFLEET_LAB_DEBIAN_MIRROR to the URL of one"
        )
    return archive, security or f"{archive}-security"


def sources(suite: str) -> list[str]:
    """apt source lines of one release: main, updates, security."""
    archive, security = mirror()
    return [
        f"deb [signed-by={KEYRING}] {uri} {name} main"
        for uri, name in ((archive, suite), (archive, f"{suite}-updates"), (security, f"{suite}-security"))
    ]


class Archive:
    """One release's package lists in a private folder.

    :param folder: an empty folder for apt's state; the caller removes it.
    """

    def __init__(self, folder: Path, suite: str) -> None:
        self.suite = suite
        self.folder = folder
        for sub in ("lists/partial", "cache/archives/partial", "etc"):
            (folder / sub).mkdir(parents=True)
        (folder / "etc" / "sources.list").write_text("\n".join(sources(suite)) + "\n")
        (folder / "status").touch()
        options = {
            "Dir::State": folder,
            "Dir::State::lists": folder / "lists",
            "Dir::State::status": folder / "status",
            "Dir::Cache": folder / "cache",
            "Dir::Etc::sourcelist": folder / "etc" / "sources.list",
            "Dir::Etc::sourceparts": "-",
            "APT::Sandbox::User": "root",
            "Acquire::Languages": "none",
            "Acquire::Retries": "3",
        }
        self._options = [part for name, value in options.items() for part in ("-o", f"{name}={value}")]
        engine.run(["apt-get", *self._options, "update", "-q"], timeout=300)

    def download(self, target: Path, *packages: str) -> dict[str, Path]:
        """Fetch packages; returns the unpacked tree of each, below ``target``."""
        debs = target / "debs"
        debs.mkdir(parents=True, exist_ok=True)
        engine.run(
            [
                "sh",
                "-c",
                'cd "$1"; shift; exec apt-get "$@"',
                "sh",
                str(debs),
                *self._options,
                "download",
                "-q",
                *packages,
            ],
            timeout=900,
        )
        trees = {}
        for package in packages:
            trees[package] = target / package
            (deb,) = debs.glob(f"{package}_*.deb")
            engine.run(["dpkg-deb", "-x", str(deb), str(trees[package])], timeout=300)
        return trees

    def version(self, package: str) -> str:
        """Version of a package in this release, as apt says it (``26.1.5+dfsg1-9+b9``)."""
        shown = engine.run(["apt-cache", *self._options, "show", "--no-all-versions", package]).stdout
        for line in shown.splitlines():
            if line.startswith("Version: "):
                return line.removeprefix("Version: ")
        raise engine.LabError(f"Debian {self.suite} has no package {package}")

    def depends(self, package: str, prefix: str) -> str:
        """The one dependency whose name starts with ``prefix``: a meta package's real kernel image."""
        shown = engine.run(["apt-cache", *self._options, "depends", package]).stdout
        for line in shown.splitlines():
            name = line.strip().removeprefix("Depends: ")
            if "Depends: " in line and name.startswith(prefix):
                return name
        raise engine.LabError(f"Debian {self.suite}: {package} depends on no {prefix}*")


def fetch(name: str, suite: str, *packages: str) -> Path:
    """Cached: unpacked packages of one release.

    :param name: name of the cache step.
    :returns: folder with ``<package>/`` trees and a file ``VERSIONS`` of ``package version`` lines.
    """

    def build(folder: Path) -> None:
        with tempfile.TemporaryDirectory(prefix="difyfleet-lab-apt-") as state:
            archive = Archive(Path(state) / "apt", suite)
            archive.download(folder, *packages)
            versions = "".join(f"{package} {archive.version(package)}\n" for package in packages)
            (folder / "VERSIONS").write_text(versions)
        shutil.rmtree(folder / "debs")

    return cache.step(name, [suite, *packages], build)


def versions(folder: Path) -> dict[str, str]:
    """Upstream versions of the packages in a fetched folder: ``{"docker.io": "26.1.5"}``."""
    lines = (line.split() for line in (folder / "VERSIONS").read_text().splitlines())
    return {package: upstream_version(version) for package, version in lines}


def upstream_version(version: str) -> str:
    """The upstream part of a Debian version: ``26.1.5+dfsg1-9+b9`` and ``1.7.24~ds1-6`` lose what Debian added."""
    return re.split(r"[+~]", version.split(":", 1)[-1].rsplit("-", 1)[0])[0]
