"""Drift on a schedule: the texts of a systemd service and timer for the machine that runs difyfleet (`units` puts them in place).

The service runs the same command line that a person would type.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from difyfleet.errors import FleetError
from difyfleet.paths import state_dir
from difyfleet.spec.models import Environment

_LOOK_SECONDS, _CORRECT_SECONDS = 3600, 6 * 3600  # a look asks every model; a correction may pull gigabytes
_LARGEST_DELAY = (
    600  # seconds by which a run is put off at random, so that many controllers do not knock at once
)
_EVERY = re.compile(r"(\d+)(m|h|d)")


@dataclass(frozen=True)
class Timing:
    """When to run.

    Args:
        calendar: OnCalendar expression. Unlike OnUnitActiveSec it goes with Persistent: a run that was missed is made up for.
        delay: RandomizedDelaySec, seconds.
    """

    calendar: str
    delay: int


def timing(every: str) -> Timing:
    """The timing of `--every`.

    Raises:
        ValueError: it is no duration that fits a whole number of times into an hour or a day.
    """
    match = _EVERY.fullmatch(every.strip())
    count, unit = (int(match[1]), match[2]) if match else (0, "")
    if unit == "h" and count == 24:
        count, unit = 1, "d"
    if unit == "m" and count == 60:
        count, unit = 1, "h"
    if unit == "d" and count == 1:
        return Timing("*-*-* 03:00:00", _LARGEST_DELAY)
    if unit == "h" and 0 < count < 24 and 24 % count == 0:
        return Timing(f"*-*-* 00/{count}:00:00", _LARGEST_DELAY)
    if unit == "m" and 5 <= count < 60 and 60 % count == 0:
        return Timing(f"*-*-* *:00/{count}:00", min(_LARGEST_DELAY, count * 6))
    raise ValueError(f"{every!r} is not 5m, 10m, 15m, 20m, 30m, 1h, 2h, 3h, 4h, 6h, 8h, 12h or 1d")


def unit_name(inventory: Path) -> str:
    """The units' name without its suffix; by the inventory's name, which is the environment's."""
    return "difyfleet-drift-" + re.sub(r"[^A-Za-z0-9_.-]", "-", inventory.stem)


def program() -> Path:
    """The difyfleet that is running, as an absolute path: of a checkout's .venv, of uv tool, pipx or pip.

    Raises:
        FleetError: it was not started as a program of its own.
    """
    beside, found = Path(sys.executable).parent / "difyfleet", shutil.which("difyfleet")
    for candidate in (Path(os.path.abspath(sys.argv[0])), beside, *([Path(found)] if found else [])):
        if candidate.name == "difyfleet" and os.access(candidate, os.X_OK) and candidate.is_file():
            return candidate
    raise FleetError("the program difyfleet is not beside this Python", where=str(beside))


def command_line(
    difyfleet: Path, inventory: Path, *, correct: bool, limit: str | None, roles: Sequence[str]
) -> list[str]:
    """What the service runs."""
    words = [str(difyfleet), "drift", str(inventory), "--quick"]
    words += ["--limit", limit] if limit else []
    words += [word for role in roles for word in ("--role", role)]
    return words + (["--correct", "--yes", "--lock-wait", "600"] if correct else [])


def quoted(words: Sequence[str]) -> str:
    """A command line as ExecStart= wants it: systemd expands %, $ and backslashes, and takes blanks for separators."""
    found = []
    for word in words:
        text = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
        found.append(f'"{text}"' if re.search(r"[\s\"';\\]", word) or not word else text)
    return " ".join(found)


def environment_file(environment: Environment, system: bool) -> str:
    """Where variables with secrets are read from, as the unit says it; the file need not exist."""
    name = unit_name(environment.path).removeprefix("difyfleet-drift-")
    return f"/etc/difyfleet/{name}.env" if system else f"%h/.config/difyfleet/{name}.env"


def service_text(environment: Environment, words: Sequence[str], *, system: bool, correct: bool) -> str:
    """The service. What it may not do is what neither SSH nor a notification command needs."""
    path = _escaped(str(environment.path))
    lines = [
        "# Written by difyfleet schedule install. difyfleet schedule remove takes it away.",
        f"# inventory: {environment.path}",
        "[Unit]",
        f"Description=difyfleet: drift of {_escaped(environment.name)} ({path})",
        *(["Wants=network-online.target", "After=network-online.target"] if system else []),
        "",
        "[Service]",
        "Type=oneshot",
        f"ExecStart={quoted(words)}",
        "# drift (2), another run at work (4) and failed checks (5) are findings, not failures of the service",
        "SuccessExitStatus=2 4 5",
        *(["User=root"] if system else []),  # so that HOME is set
        f"WorkingDirectory={_escaped(str(environment.path.parent))}",
        f"Environment={quoted([f'DIFYFLEET_STATE_DIR={state_dir().absolute()}'])}",
        f"EnvironmentFile=-{environment_file(environment, system)}",
        f"TimeoutStartSec={_CORRECT_SECONDS if correct else _LOOK_SECONDS}",
        "Nice=10",
        "UMask=0077",
        "NoNewPrivileges=yes",
        "LockPersonality=yes",
        "RestrictRealtime=yes",
        "SystemCallArchitectures=native",
        "RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK",
    ]
    if system:  # a user's systemd may not make mount namespaces
        lines += [
            "PrivateTmp=yes",
            "ProtectSystem=full",
            "ProtectKernelModules=yes",
            "ProtectControlGroups=yes",
        ]
        lines += [f"ReadWritePaths={quoted([f'-{folder}'])}" for folder in _written_below_etc(environment)]
    return "\n".join(lines) + "\n"


def _written_below_etc(environment: Environment) -> Iterator[str]:
    """Folders that runs write to and that ProtectSystem=full closes: known_hosts grows, and metrics may lie anywhere."""
    files = [spec.ssh.known_hosts for spec in environment.hosts] + [environment.drift.metrics]
    folders = {str(path.parent) for path in files if path is not None} | {str(state_dir().absolute())}
    yield from sorted(folder for folder in folders if folder.startswith(("/etc", "/usr", "/boot", "/efi")))


def timer_text(environment: Environment, when: Timing) -> str:
    """The timer."""
    return f"""\
# Written by difyfleet schedule install. difyfleet schedule remove takes it away.
[Unit]
Description=difyfleet: look for drift of {_escaped(environment.name)}

[Timer]
OnCalendar={when.calendar}
RandomizedDelaySec={when.delay}
Persistent=true

[Install]
WantedBy=timers.target
"""


def _escaped(text: str) -> str:
    return text.replace("%", "%%")
