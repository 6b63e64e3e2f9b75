"""What a lab host installs from: a dnf repository of Docker's RPMs, and Docker's static bundle.

Both hold the same programs: those of Debian 13, which need no more than glibc 2.34 (openEuler 22.03's own), and Debian
12's runc (Debian 13's needs 2.38). Package names, files and units are those of Docker's own RPMs for el8.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import shutil
import tarfile
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lab import cache, debian, engine

EPOCH = 1_700_000_000  # one fixed time stamp (s) for all that is packed here, so that checksums are the inputs' alone
UNITS = Path(__file__).parent / "units"
STATIC_PROGRAMS = (
    "containerd", "containerd-shim-runc-v2", "ctr", "docker", "docker-init", "docker-proxy", "dockerd", "runc",
)  # fmt: skip

OS_RELEASE = """\
NAME="openEuler"
VERSION="22.03 (LTS-SP3)"
ID="openEuler"
VERSION_ID="22.03"
PRETTY_NAME="openEuler 22.03 (LTS-SP3)"
ANSI_COLOR="0;31"
"""

# What Debian's files under the look-alike really supply, under openEuler's package names, so that dnf's resolver works on
# true facts. `tar` is deliberately not among them: a minimal openEuler has none, and it comes from the repository.
BASE_PROVIDES = (
    "/bin/sh", "/usr/sbin/groupadd", "bash = 5.1.8", "ca-certificates", "curl = 7.79.1", "device-mapper-libs = 8:1.02.181",
    "dnf = 4.14.0", "firewalld = 1.0.2", "glibc = 2.34", "gzip = 1.12", "iproute = 5.15.0", "iptables = 1.8.7",
    "libc.so.6()(64bit)", "libc.so.6(GLIBC_2.34)(64bit)", "libseccomp = 2.5.3", "libsystemd.so.0()(64bit)",
    "openssh-server = 8.8p1", "python3 = 3.9.9", "python3-dnf-plugins-core", "dnf-plugins-core = 4.0.24",
    "shadow = 2:4.9", "sudo = 1.9.8p2", "systemd = 249", "xz = 5.2.5",
)  # fmt: skip


@dataclass(frozen=True)
class Rpm:
    """One binary RPM made from a tree of files."""

    name: str
    version: str
    release: str
    tree: Path
    epoch: int | None = None
    requires: Sequence[str] = ()
    provides: Sequence[str] = ()
    noarch: bool = False
    scriptlets: str = ""
    headers: Sequence[str] = field(default=())

    def spec(self) -> str:
        """The spec file; the files are copied from ``tree`` as they are."""
        tree = self.tree
        files = sorted(
            f"/{path.relative_to(tree)}" for path in tree.rglob("*") if path.is_symlink() or path.is_file()
        )
        lines = [
            f"Name: {self.name}",
            f"Version: {self.version}",
            f"Release: {self.release}",
            *([f"Epoch: {self.epoch}"] if self.epoch is not None else []),
            f"Summary: {self.name} (difyfleet lab build)",
            "License: ASL 2.0",
            "AutoReqProv: no",
            *(["BuildArch: noarch"] if self.noarch else []),
            *(f"Requires: {item}" for item in self.requires),
            *(f"Provides: {item}" for item in self.provides),
            *self.headers,
            "%description",
            f"{self.name} for difyfleet's lab, made from Debian's programs.",
            "%install",
            f"cp -a {tree}/. %{{buildroot}}/",
            *([self.scriptlets] if self.scriptlets else []),
            "%files",
            *files,
        ]
        return "\n".join(lines) + "\n"


def rpmbuild(rpms: Sequence[Rpm], target: Path) -> None:
    """Build RPMs into a folder."""
    with tempfile.TemporaryDirectory(prefix="difyfleet-lab-rpm-") as work:
        for rpm in rpms:
            spec = Path(work) / f"{rpm.name}.spec"
            spec.write_text(rpm.spec())
            defines = {
                "_topdir": f"{work}/top",
                "_build_id_links": "none",
                "debug_package": "%{nil}",
                "__os_install_post": "%{nil}",
                "_binary_payload": "w1.zstdio",
                "_buildhost": "lab",
                "use_source_date_epoch_as_buildtime": "1",
                "clamp_mtime_to_source_date_epoch": "1",
                "source_date_epoch_from_changelog": "0",
            }
            options = [part for name, value in defines.items() for part in ("--define", f"{name} {value}")]
            arch = "noarch" if rpm.noarch else "x86_64"
            engine.run(
                ["rpmbuild", "-bb", "--quiet", "--target", arch, *options, str(spec)],
                timeout=300,
                env={**os.environ, "SOURCE_DATE_EPOCH": str(EPOCH)},
            )
        for path in sorted(Path(work, "top", "RPMS").rglob("*.rpm")):
            shutil.copy2(path, target / path.name)


def _place(tree: Path, *pairs: tuple[Path, str]) -> Path:
    """Copy files to absolute paths below a tree: programs 0755, the rest 0644, one time stamp."""
    for source, destination in pairs:
        path = tree / destination.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, path)
        path.chmod(0o755 if "/bin/" in destination or "cli-plugins" in destination else 0o644)
        os.utime(path, (EPOCH, EPOCH))
    return tree


def _write(tree: Path, destination: str, content: str, mode: int = 0o644) -> Path:
    path = tree / destination.lstrip("/")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    path.chmod(mode)
    os.utime(path, (EPOCH, EPOCH))
    return tree


def base_rpms() -> Path:
    """Cached: the RPMs that stand for the operating system itself."""

    def build(folder: Path) -> None:
        with tempfile.TemporaryDirectory(prefix="difyfleet-lab-base-") as work:
            release = _write(Path(work, "release"), "/usr/lib/os-release", OS_RELEASE)
            _write(release, "/etc/openEuler-release", "openEuler release 22.03 (LTS-SP3)\n")
            marker = _write(
                Path(work, "base"), "/usr/share/difyfleet-lab/base", "stands for Debian's files\n"
            )
            rpmbuild(
                [
                    Rpm(
                        "openEuler-release", "22.03LTS_SP3", "56.oe2203sp3", release,
                        provides=["system-release = 22.03LTS_SP3", "system-release(releasever) = 22.03LTS_SP3"],
                    ),
                    Rpm(
                        "openEuler-base", "22.03", "1.oe2203sp3", marker,
                        requires=["openEuler-release"], provides=BASE_PROVIDES, noarch=True,
                    ),
                ],
                folder,
            )  # fmt: skip

    engine.ensure("rpmbuild")
    return cache.step("base-rpms", [], build)


def programs() -> tuple[dict[str, Path], dict[str, str]]:
    """Docker's programs by their upstream file name, and the versions of the packages they come from."""
    trixie = debian.fetch(
        "docker-debs",
        "trixie",
        "containerd",
        "docker-buildx",
        "docker-cli",
        "docker-compose",
        "docker.io",
        "tini",
    )
    runc = debian.fetch("runc-deb", debian.SUITE, "runc", "tar")
    plugins = "usr/libexec/docker/cli-plugins"
    found = {
        "containerd": trixie / "containerd/usr/bin/containerd",
        "containerd-shim-runc-v2": trixie / "containerd/usr/bin/containerd-shim-runc-v2",
        "ctr": trixie / "containerd/usr/bin/ctr",
        "docker": trixie / "docker-cli/usr/bin/docker",
        "docker-init": trixie / "tini/usr/bin/tini-static",
        "docker-proxy": trixie / "docker.io/usr/sbin/docker-proxy",
        "dockerd": trixie / "docker.io/usr/sbin/dockerd",
        "runc": runc / "runc/usr/sbin/runc",
        "docker-compose": trixie / f"docker-compose/{plugins}/docker-compose",
        "docker-buildx": trixie / f"docker-buildx/{plugins}/docker-buildx",
        "tar": runc / "tar/bin/tar",
    }
    absent = [f"{name} ({path})" for name, path in found.items() if not path.is_file()]
    if absent:
        raise engine.LabError(f"Debian's packages no longer hold: {', '.join(absent)}")
    return found, {**debian.versions(trixie), **debian.versions(runc)}


def _docker_rpms(work: Path, program: dict[str, Path], version: dict[str, str]) -> list[Rpm]:
    plugins = "/usr/libexec/docker/cli-plugins"

    def tree(name: str, *pairs: tuple[Path, str]) -> Path:
        return _place(work / name, *pairs)

    containerd = tree(
        "containerd",
        *(
            (program[name], f"/usr/bin/{name}")
            for name in ("containerd", "containerd-shim-runc-v2", "ctr", "runc")
        ),
        (UNITS / "containerd.service", "/usr/lib/systemd/system/containerd.service"),
    )
    _write(containerd, "/etc/containerd/config.toml", 'disabled_plugins = ["cri"]\n')
    engine_tree = tree(
        "docker-ce",
        *((program[name], f"/usr/bin/{name}") for name in ("dockerd", "docker-proxy", "docker-init")),
        (UNITS / "docker.service", "/usr/lib/systemd/system/docker.service"),
        (UNITS / "docker.socket", "/usr/lib/systemd/system/docker.socket"),
    )
    # openEuler's own engine, for the refusal of it: its name, version and the two commands that a preflight may ask.
    old = _write(
        work / "old", "/usr/bin/docker", "#!/bin/sh\necho 'Docker version 18.09.0, build 384e3e9'\n", 0o755
    )
    _write(old, "/usr/bin/dockerd", "#!/bin/sh\necho 'Docker version 18.09.0, build 384e3e9'\n", 0o755)
    selinux = _write(work / "selinux", "/usr/share/difyfleet-lab/container-selinux", "no policy in the lab\n")
    docker = version["docker.io"]
    return [
        Rpm("tar", version["tar"], "5.oe2203sp3", tree("tar", (program["tar"], "/usr/bin/tar")), epoch=2),
        Rpm("container-selinux", "2.163", "1.oe2203sp3", selinux, epoch=2),
        Rpm("docker-engine", "18.09.0", "345.oe2203sp3", old),
        Rpm(
            "containerd.io", version["containerd"], "3.1.el8", containerd,
            requires=["systemd", "libseccomp", "container-selinux >= 2:2.74"],
        ),
        Rpm("docker-ce-cli", docker, "1.el8", tree("cli", (program["docker"], "/usr/bin/docker")), 1, ["/bin/sh"]),
        Rpm(
            "docker-compose-plugin", version["docker-compose"], "1.el8",
            tree("compose", (program["docker-compose"], f"{plugins}/docker-compose")), requires=["docker-ce-cli"],
        ),
        Rpm(
            "docker-buildx-plugin", version["docker-buildx"], "1.el8",
            tree("buildx", (program["docker-buildx"], f"{plugins}/docker-buildx")), requires=["docker-ce-cli"],
        ),
        Rpm(
            "docker-ce", docker, "1.el8", engine_tree, 3,
            requires=[
                "containerd.io >= 1.6.4", "docker-ce-cli", "iptables", "systemd", "tar", "xz", "container-selinux >= 2:2.74",
            ],
            headers=["Requires(pre): /usr/sbin/groupadd"],
            scriptlets="%pre\ngetent group docker >/dev/null || groupadd --system docker || :\n"
            "%post\nsystemctl daemon-reload >/dev/null 2>&1 || :",
        ),
    ]  # fmt: skip


def repository() -> Path:
    """Cached: a dnf repository (``createrepo_c``) of Docker's RPMs and of those that stand for the system."""
    engine.ensure("rpmbuild", "createrepo_c", "dpkg-deb")
    base = base_rpms()
    program, version = programs()

    def build(folder: Path) -> None:
        for path in base.glob("*.rpm"):
            shutil.copy2(path, folder / path.name)
        with tempfile.TemporaryDirectory(prefix="difyfleet-lab-docker-") as work:
            rpmbuild(_docker_rpms(Path(work), program, version), folder)
        engine.run(["createrepo_c", "-q", "--general-compress-type=gz", str(folder)], timeout=120)

    return cache.step(
        "rpm-repository", [base, UNITS, *(f"{k} {v}" for k, v in sorted(version.items()))], build
    )


def _add(archive: tarfile.TarFile, path: Path, name: str) -> None:
    entry = archive.gettarinfo(path, name)
    entry.mode, entry.mtime, entry.uid, entry.gid, entry.uname, entry.gname = (
        0o755,
        EPOCH,
        0,
        0,
        "root",
        "root",
    )
    with path.open("rb") as stream:
        archive.addfile(entry, stream)


def static_bundle() -> Path:
    """Cached: ``docker-VERSION.tgz`` in upstream's layout, the compose plugin beside it, and ``SHA256SUMS``."""
    engine.ensure("dpkg-deb")
    program, version = programs()

    def build(folder: Path) -> None:
        tarball = folder / f"docker-{version['docker.io']}.tgz"
        with (
            tarball.open("wb") as raw,
            gzip.GzipFile("", "wb", compresslevel=4, fileobj=raw, mtime=EPOCH) as packed,
            tarfile.open(fileobj=packed, mode="w", format=tarfile.GNU_FORMAT) as archive,
        ):
            top = tarfile.TarInfo("docker/")
            top.type, top.mode, top.mtime = tarfile.DIRTYPE, 0o755, EPOCH
            archive.addfile(top)
            for name in STATIC_PROGRAMS:
                _add(archive, program[name], f"docker/{name}")
        compose = folder / "docker-compose-linux-x86_64"
        shutil.copyfile(program["docker-compose"], compose)
        compose.chmod(0o755)
        sums = [
            f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in (compose, tarball)
        ]
        (folder / "SHA256SUMS").write_text("".join(sums))

    return cache.step("static-bundle", [f"{k} {v}" for k, v in sorted(version.items())], build)
