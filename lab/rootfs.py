"""The root file system of a lab host: Debian 12 made to look and bite like openEuler 22.03 SP3."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from lab import cache, debian, engine, packages, pki

OVERLAY = Path(__file__).parent / "overlay"

_PACKAGES = (
    "systemd", "systemd-sysv", "udev", "dbus", "openssh-server", "dnf", "rpm", "dnf-plugins-core", "python3",
    "iptables", "nftables", "firewalld", "conntrack", "libnss-myhostname", "libseccomp2", "ca-certificates", "openssl",
    "iproute2", "iputils-ping", "procps", "psmisc", "curl", "wget", "sudo", "kmod", "gzip", "xz-utils", "less", "passwd",
    "login", "hostname", "selinux-utils", "bash-completion",
)  # fmt: skip
_TAR = ("tar", "--numeric-owner", "--xattrs", "--xattrs-include=*")
_UNUSED_FILES = ("/usr/share/man/*", "/usr/share/doc/*", "/usr/share/locale/*", "/usr/share/info/*")


def scratch(needed: int) -> Path | None:
    """A memory-backed folder for temporary trees, if it has ``needed`` bytes free: dpkg's fsyncs cost minutes on disk."""
    shm = Path("/dev/shm")
    return shm if shm.is_dir() and shutil.disk_usage(shm).free > needed else None


def scratch_environment(needed: int) -> dict[str, str]:
    """The environment with ``TMPDIR`` at :func:`scratch`, for programs that make big temporary trees."""
    folder = scratch(needed)
    return {**os.environ, "TMPDIR": str(folder)} if folder else dict(os.environ)


def _debian() -> Path:
    """Cached: the plain Debian tree as ``debian.tar``; about half a minute, most of it apt's and dpkg's."""

    def build(folder: Path) -> None:
        engine.require_root()
        argv = [
            "mmdebstrap", "--mode=root", "--variant=minbase", f"--include={','.join(_PACKAGES)}",
            *(f"--dpkgopt=path-exclude={pattern}" for pattern in _UNUSED_FILES),
            "--dpkgopt=force-unsafe-io", '--aptopt=Acquire::Languages "none"',
            '--aptopt=APT::Install-Recommends "false"',
            debian.SUITE, str(folder / "debian.tar"), *debian.sources(debian.SUITE),
        ]  # fmt: skip
        engine.run(argv, timeout=1200, env=scratch_environment(2 << 30))

    engine.ensure("mmdebstrap")
    return cache.step("debian", [debian.SUITE, *_PACKAGES, *_UNUSED_FILES], build) / "debian.tar"


def tarball() -> Path:
    """Cached: ``rootfs.tar``, the whole file system of a lab host, without a kernel."""
    plain = _debian()
    base = packages.base_rpms()
    authority = pki.ca() / "ca.crt"

    def build(folder: Path) -> None:
        engine.require_root()
        with tempfile.TemporaryDirectory(prefix="difyfleet-lab-root-", dir=scratch(2 << 30)) as work:
            tree = Path(work, "root")
            tree.mkdir()
            engine.run([*_TAR, "-xpf", str(plain), "-C", str(tree)], timeout=300)
            overlay = Path(work, "overlay")
            shutil.copytree(OVERLAY, overlay)
            engine.run(
                ["chmod", "-R", "u=rwX,go=rX", str(overlay)]
            )  # whatever umask the checkout was made with
            engine.run(["chown", "-R", "0:0", str(overlay)])
            # Debian has links where some of our files go (sshd.service): replace them, do not write through them.
            engine.run(["cp", "-a", "--remove-destination", f"{overlay}/.", str(tree)])
            (tree / "lab-rpm").mkdir()
            for rpm in base.glob("*.rpm"):
                shutil.copyfile(rpm, tree / "lab-rpm" / rpm.name)
            shutil.copyfile(authority, tree / "lab-ca.crt")
            engine.run(["chroot", str(tree), "sh", "/lab-setup"], timeout=300)
            (tree / "lab-setup").unlink()
            engine.run(
                [*_TAR, "--sort=name", "-cf", str(folder / "rootfs.tar"), "-C", str(tree), "."], timeout=300
            )

    return cache.step("rootfs", [OVERLAY, plain, base, authority], build) / "rootfs.tar"
