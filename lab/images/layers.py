"""Debian layers under the lab's images: one base, and on it one layer of packages per kind of program.

A layer is a plain local image without a command. It is made with ``docker run`` + ``docker commit`` instead of a
Dockerfile, because apt's sources, proxies and package lists are then bind mounts: they exist while the layer is built and
leave no trace in it.
"""

from __future__ import annotations

import subprocess
import tarfile
from dataclasses import dataclass
from pathlib import Path

from lab import cache, debian, engine, rootfs

REPOSITORY = "difyfleet-lab"

_UNUSED_FILES = (
    "/usr/share/man/*",
    "/usr/share/doc/*",
    "/usr/share/locale/*",
    "/usr/share/info/*",
    "/usr/share/lintian/*",
)
_BASE_PACKAGES = ("ca-certificates", "libstdc++6")
# As in Debian's own container image: nothing is started while packages are installed.
_NO_SERVICES = "printf '#!/bin/sh\\nexit 101\\n' > /usr/sbin/policy-rc.d; chmod 755 /usr/sbin/policy-rc.d; "


@dataclass(frozen=True)
class Layer:
    """Packages on top of another layer.

    :param before: shell commands before the packages, such as users with the numeric ids of the official image.
    :param after: shell commands after them, such as removing what the official image has not.
    """

    name: str
    parent: str
    packages: tuple[str, ...]
    before: str = ""
    after: str = ""

    def script(self) -> str:
        """What runs inside the container that becomes this layer."""
        return (
            "set -eu; export DEBIAN_FRONTEND=noninteractive APT_CONFIG=/mnt/apt.conf; "
            + _NO_SERVICES
            + self.before
            + f"\napt-get install -y -q --no-install-recommends {' '.join(self.packages)}\n"
            + self.after
            + "\nrm -rf /var/cache/apt/*.bin /var/cache/debconf/*-old /var/log/apt /var/log/dpkg.log /var/log/alternatives.log /usr/share/doc"
        )


_BUSYBOX_WGET = "ln -s /bin/busybox /usr/local/bin/wget"  # Alpine images have busybox's wget and no curl

LAYERS = {
    layer.name: layer
    for layer in (
        Layer(
            "nginx", "base", ("nginx-light", "curl", "gettext-base"),
            before="groupadd --system --gid 101 nginx; useradd --system --gid nginx --uid 101 --no-create-home "
            "--home-dir /nonexistent --shell /bin/false nginx",
            after="ln -sf /dev/stdout /var/log/nginx/access.log; ln -sf /dev/stderr /var/log/nginx/error.log",
        ),
        Layer(
            "postgres", "base", ("postgresql-15", "busybox"),
            # uid 70 is the official Alpine image's; data folders and backups carry it.
            before="groupadd --system --gid 70 postgres; useradd --system --gid postgres --uid 70 "
            "--home-dir /var/lib/postgresql --shell /bin/bash postgres; mkdir -p /etc/postgresql-common; "
            "echo 'create_main_cluster = false' > /etc/postgresql-common/createcluster.conf",
            # The JIT compiler is 150 MB of LLVM that no lab query uses.
            after="rm -rf /usr/lib/*/libLLVM* /usr/lib/postgresql/15/lib/bitcode /usr/lib/postgresql/15/lib/llvmjit* "
            f"/usr/lib/*/libz3*; {_BUSYBOX_WGET}",
        ),
        Layer(
            "redis", "base", ("redis-server", "busybox"),
            before="groupadd --system --gid 1000 redis; useradd --system --gid redis --uid 999 --no-create-home "
            "--home-dir /data --shell /bin/false redis",
            after=_BUSYBOX_WGET,
        ),
        Layer("squid", "base", ("squid", "ssl-cert"), after="rm -f /etc/ssl/private/ssl-cert-snakeoil.key"),
        Layer("python", "base", ("python3", "busybox"), after=f"{_BUSYBOX_WGET}; ln -s python3 /usr/bin/python"),
        Layer("python-curl", "python", ("curl", "jq")),
        Layer("python-dify", "python-curl", ("python3-psycopg2", "python3-redis", "python3-yaml", "python3-pypdf", "python3-xlrd")),
    )
}  # fmt: skip


def _build_base(folder: Path) -> None:
    engine.ensure("mmdebstrap")
    engine.run(
        [
            "mmdebstrap", "--mode=root", "--variant=minbase", f"--include={','.join(_BASE_PACKAGES)}",
            *(f"--dpkgopt=path-exclude={pattern}" for pattern in _UNUSED_FILES), "--dpkgopt=force-unsafe-io",
            '--aptopt=Acquire::Languages "none"', '--aptopt=APT::Install-Recommends "false"',
            '--customize-hook=rm -rf "$1"/usr/share/doc "$1"/etc/apt/sources.list "$1"/etc/apt/sources.list.d/*',
            debian.SUITE, str(folder / "base.tar"), *debian.sources(debian.SUITE),
        ],
        timeout=1200,
        env=rootfs.scratch_environment(1 << 30),
    )  # fmt: skip


def base_tarball() -> Path:
    """Cached: the root file system of the base layer; about 25 s to build."""
    return cache.step("image-base", [debian.SUITE, *_BASE_PACKAGES, *_UNUSED_FILES], _build_base) / "base.tar"


def _build_busybox(folder: Path) -> None:
    program = debian.fetch("busybox", debian.SUITE, "busybox-static") / "busybox-static" / "bin" / "busybox"
    with tarfile.open(folder / "busybox.tar", "w") as tar:
        for name in ("bin", "tmp"):
            entry = tarfile.TarInfo(name)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o1777 if name == "tmp" else 0o755
            tar.addfile(entry)
        tar.add(program, "bin/busybox")
        for applet in ("sh", "echo", "cat", "ls", "chown", "chmod", "mkdir", "sleep", "wget", "true"):
            link = tarfile.TarInfo(f"bin/{applet}")
            link.type, link.linkname = tarfile.SYMTYPE, "busybox"
            tar.addfile(link)


def busybox_tarball() -> Path:
    """Cached: a root file system of 2 MB, one static program, for images that are pulled only to see that a pull works."""
    return cache.step("image-busybox", [debian.SUITE], _build_busybox) / "busybox.tar"


ROOTS = {"base": base_tarball, "busybox": busybox_tarball}


def _apt_settings() -> str:
    """apt's proxy settings of this machine, and what keeps a layer small."""
    lines = engine.run(["apt-config", "dump"], timeout=30).stdout.splitlines()
    wanted = [
        line for line in lines if line.startswith("Acquire::") and ("Proxy" in line or "Check-" in line)
    ]
    return "\n".join([*wanted, 'APT::Sandbox::User "root";', 'Acquire::Retries "3";', ""])


def exists(image: str) -> bool:
    """Does the daemon have this image?"""
    return engine.run(["docker", "image", "inspect", image], check=False).returncode == 0


def tag(name: str) -> str:
    """The local name of a layer; the tag is the content key of the layer and all below it."""
    if name in ROOTS:
        return f"{REPOSITORY}/{name}:{ROOTS[name]().parent.name.rpartition('-')[2]}"
    layer = LAYERS[name]
    return f"{REPOSITORY}/{name}:{cache.key(name, [tag(layer.parent), layer.script()])[:16]}"


def ensure(name: str, apt_state: Path) -> str:
    """Build a layer, and those below it, unless the daemon has it.

    :param apt_state: scratch folder for package lists and archives, shared by all layers of one build.
    :returns: its local image name.
    """
    image = tag(name)
    if exists(image):
        return image
    if name in ROOTS:
        engine.run(["docker", "import", str(ROOTS[name]()), image], timeout=600)
        return image
    layer = LAYERS[name]
    parent = ensure(layer.parent, apt_state)
    _prepare(apt_state, parent)
    container = _run(parent, apt_state, layer.script())
    try:
        engine.run(["docker", "commit", "--change", "CMD []", container, image], timeout=600)
    finally:
        engine.run(["docker", "rm", "-f", container], timeout=120, check=False)
    return image


def _run(image: str, apt_state: Path, script: str) -> str:
    """Run a script in a container that is kept; returns the container's id.

    :raises LabError: with the end of apt's output if it fails; the container is then removed.
    """
    mounts = {
        "sources": "/etc/apt/sources.list.d",
        "lists": "/var/lib/apt/lists",
        "archives": "/var/cache/apt/archives",
        "conf": "/mnt",
    }
    volumes = [part for source, target in mounts.items() for part in ("-v", f"{apt_state / source}:{target}")]
    created = engine.run(
        ["docker", "create", "--network", "host", *volumes, image, "sh", "-c", script], timeout=120
    )
    container = created.stdout.strip()
    try:
        engine.run(["docker", "start", "--attach", container], timeout=900)
    except engine.LabError:
        subprocess.run(["docker", "rm", "-f", container], capture_output=True, timeout=120)
        raise
    return container


def _prepare(apt_state: Path, image: str) -> None:
    """Fill the scratch folder once per build: sources, settings, package lists."""
    if (apt_state / "lists").is_dir():
        return
    for sub in ("sources", "conf", "lists/partial", "archives/partial"):
        (apt_state / sub).mkdir(parents=True)
    (apt_state / "sources" / "lab.list").write_text("\n".join(debian.sources(debian.SUITE)) + "\n")
    (apt_state / "conf" / "apt.conf").write_text(_apt_settings())
    container = _run(image, apt_state, "APT_CONFIG=/mnt/apt.conf apt-get update -q")
    engine.run(["docker", "rm", "-f", container], timeout=120)
