"""The programs that the lab needs on this machine: the apt tools and a running Docker daemon.

What is there is used; only what is missing is installed. A daemon that somebody else runs is never touched.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path

from lab import cache

# program -> Debian package that has it
PACKAGES = {
    "busybox": "busybox-static",
    "chromium": "chromium",
    "cpio": "cpio",
    "createrepo_c": "createrepo-c",
    "depmod": "kmod",
    "docker": "docker.io",
    "docker-registry": "docker-registry",
    "dockerd": "docker.io",
    "dpkg-deb": "dpkg",
    "g++": "g++",
    "gcc": "gcc",
    "ip": "iproute2",
    "iptables": "iptables",
    "mke2fs": "e2fsprogs",
    "mmdebstrap": "mmdebstrap",
    "nsenter": "util-linux",
    "openssl": "openssl",
    "qemu-img": "qemu-utils",
    "qemu-system-x86_64": "qemu-system-x86",
    "rpmbuild": "rpm",
    "ssh": "openssh-client",
    "strip": "binutils",
}
_PATH = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"


class LabError(RuntimeError):
    """Something on this machine keeps the lab from working; the message says what to do."""


def run(
    argv: list[str],
    *,
    timeout: float = 60,
    input: str | None = None,
    check: bool = True,
    env: dict[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run a program of this machine and keep its output.

    :param timeout: seconds after which it is killed.
    :raises LabError: if it fails, is missing or does not end in time; the message carries the end of its stderr.
    """
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=timeout, input=input, env=env)
    except FileNotFoundError:
        raise LabError(
            f"{argv[0]}: not installed on this machine; `python -m lab build` installs what is missing"
        ) from None
    except subprocess.TimeoutExpired:
        raise LabError(f"`{' '.join(argv)}` did not end within {timeout:.0f} s") from None
    if check and done.returncode:
        tail = "\n".join((done.stderr or done.stdout).strip().splitlines()[-12:])
        raise LabError(f"`{' '.join(argv)}` failed with status {done.returncode}: {tail}")
    return done


def require_root() -> None:
    """:raises LabError: unless we are root: namespaces, taps and mmdebstrap need it."""
    if os.geteuid() != 0:
        raise LabError(
            "the lab makes network namespaces and containers: run it as root (sudo python -m lab ...)"
        )


def missing(programs: list[str]) -> list[str]:
    """Of these programs, the ones that this machine lacks."""
    return [program for program in programs if shutil.which(program, path=_PATH) is None]


def ensure(*programs: str) -> None:
    """Install the packages of those programs that are missing (names as in ``PACKAGES``)."""
    os.environ["PATH"] = _PATH
    absent = missing(list(programs))
    if not absent:
        return
    _install(sorted({PACKAGES[program] for program in absent}))


def ensure_keyring(path: str) -> None:
    """Debian's archive keys, which Ubuntu has only as a package."""
    if not Path(path).exists():
        _install(["debian-archive-keyring"])


def _install(packages: list[str]) -> None:
    if shutil.which("apt-get") is None:
        raise LabError(
            f"this machine has no apt: install what these Debian packages hold: {' '.join(packages)}"
        )
    require_root()
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    install = ["apt-get", "install", "-y", "-q", "--no-install-recommends", *packages]
    if run(install, timeout=900, env=environment, check=False).returncode:
        run(["apt-get", "update", "-q"], timeout=300, env=environment)
        run(install, timeout=900, env=environment)


def _answers() -> bool:
    return (
        run(["docker", "version", "--format", "{{.Server.Version}}"], timeout=20, check=False).returncode == 0
    )


def ensure_docker(timeout: float = 60) -> None:
    """Make sure that a Docker daemon answers; start one in the background if none does.

    The daemon stays when the lab goes down: its images are the lab's warm start.

    :param timeout: seconds to wait for a daemon that was started here.
    """
    ensure("docker", "dockerd", "iptables")
    if _answers():
        return
    require_root()
    if Path("/run/systemd/system").is_dir():
        run(["systemctl", "start", "docker"], timeout=120)
    else:
        log = cache.root() / "dockerd.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as stream:
            subprocess.Popen(
                ["dockerd"], stdin=subprocess.DEVNULL, stdout=stream, stderr=stream, start_new_session=True
            )
    deadline = time.monotonic() + timeout
    while not _answers():
        if time.monotonic() > deadline:
            raise LabError(
                f"dockerd does not answer after {timeout:.0f} s; see {cache.root() / 'dockerd.log'}"
            )
        time.sleep(0.2)
