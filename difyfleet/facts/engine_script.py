"""Runs ON THE HOST as root (Python >= 3.7, standard library): what Docker's engine is installed from, to the byte as the shell commands tell it."""

from __future__ import annotations

import grp
import os
import stat

from difyfleet.facts.files_script import cat, group, looked_at, user
from difyfleet.known_script import known, output, program, state_of
from difyfleet.light_script import dumps

DATABASES = ("/var/lib/rpm", "/usr/lib/sysimage/rpm")
PASSING = (".rpm.lock", "__db.", ".dbenv.lock")  # files that reading touches
DOCKERD = "/usr/bin/dockerd"


def static_files(manifest: str, *paths: str) -> bytes:
    """See facts.engine.StaticEngineFiles."""
    lines = []
    for path in paths:
        seen = looked_at(path)
        if seen is not None:
            lines.append(
                f"{path}|{stat.S_IMODE(seen.st_mode):o}|{user(seen.st_uid)}:{group(seen.st_gid)}|{seen.st_size}"
                f"|{int(seen.st_mtime_ns // 10**9)}|{int(seen.st_ctime_ns // 10**9)}|{seen.st_ino}"
            )
    lines.append("##group")
    try:
        grp.getgrnam("docker")
        lines.append("yes")
    except KeyError:
        pass
    lines.append("##owner")
    owner = ""
    if program("rpm") and os.path.exists(DOCKERD):
        owner = known("owner of dockerd", lambda: packages_and(DOCKERD), _owner)
    return b"##manifest\n" + cat(manifest) + ("\n##files\n" + "\n".join(lines) + "\n" + owner).encode()


def _owner() -> str:
    said = output("rpm", "-qf", "--qf", "%{NAME}\\n", DOCKERD)[1].decode("ascii")
    return "".join(line for line in said.splitlines(keepends=True) if "not owned" not in line)


def packages(*names: str) -> str:
    """Lines NAME|VERSION-RELEASE of those of these packages that are installed."""
    return known("packages " + " ".join(names), packages_and, lambda: _packages(names))


def _packages(names: tuple[str, ...]) -> str:
    said = output("rpm", "-q", "--qf", "%{NAME}|%{VERSION}-%{RELEASE}\\n", *names)[1].decode("ascii")
    return "".join(line for line in said.splitlines(keepends=True) if "|" in line)


def packages_and(*paths: str) -> str | None:
    """State of rpm's database, of rpm, and of files; None = nobody can say."""
    states = [state_of(program("rpm") or "", *paths)]
    for folder in DATABASES:
        try:
            names = sorted(os.listdir(folder))
        except FileNotFoundError:
            continue
        lasting = [
            name for name in names if not name.startswith(PASSING) and not _passing(f"{folder}/{name}")
        ]
        states += [dumps(lasting), state_of(*(f"{folder}/{name}" for name in lasting))]
    if len(states) < 2 or None in states:
        return None
    return dumps(states)


def _passing(path: str) -> bool:
    """SQLite's index of a log, and a log with nothing in it: reading touches both."""
    return path.endswith("-shm") or (path.endswith("-wal") and os.stat(path).st_size == 0)
