"""The service and the timer of a schedule on this machine: put in place, looked at, taken away. systemd judges them first."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from difyfleet.errors import FleetError
from difyfleet.fleet.schedule import unit_name
from difyfleet.paths import write_whole

_SYSTEMCTL_SECONDS = 60


@dataclass(frozen=True)
class Units:
    """The two units of one environment on this machine.

    Args:
        name: without suffix.
        folder: where units lie.
        systemctl: program and arguments.
    """

    name: str
    folder: Path
    systemctl: tuple[str, ...]

    @property
    def service(self) -> Path:
        return self.folder / f"{self.name}.service"

    @property
    def timer(self) -> Path:
        return self.folder / f"{self.name}.timer"

    def install(self, inventory: Path, service: str, timer: str) -> bool:
        """Put both in place, enabled and running; True if anything was changed.

        Raises:
            FleetError: the name belongs to another inventory's units; systemd does not take them.
        """
        self.refuse_others(inventory)
        texts = {self.service: service, self.timer: timer}
        same = all(path.is_file() and path.read_text() == text for path, text in texts.items())
        if same and self._ask("is-enabled") == "enabled" and self._ask("is-active") == "active":
            return False
        self._verify(texts)
        for path, text in texts.items():
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o755)
            write_whole(path, text, 0o644)
        self._do("daemon-reload")
        self._do("enable", self.timer.name)
        self._do("restart", self.timer.name)
        return True

    def remove(self) -> bool:
        """Stop and delete both; True if there was anything."""
        there = [path for path in (self.timer, self.service) if path.exists()]
        if not there:
            return False
        self._do("disable", "--now", self.timer.name)
        for path in there:
            path.unlink()
        self._do("daemon-reload")
        return True

    def state(self) -> dict[str, str]:
        """What systemd says: properties of timer and service."""
        found: dict[str, str] = {}
        for unit, names in (
            (self.timer.name, "LoadState,UnitFileState,ActiveState,NextElapseUSecRealtime,LastTriggerUSec"),
            (self.service.name, "ActiveState,Result,ExecMainStatus,ExecMainExitTimestamp"),
        ):
            kind = unit.rsplit(".", 1)[1]
            said = self._run("show", unit, f"--property={names}").stdout
            pairs = (line.partition("=") for line in said.splitlines())
            found |= {f"{kind}.{name}": value for name, _, value in pairs if name}
        return found

    def refuse_others(self, inventory: Path) -> None:
        """Refuse a name that units of another inventory have."""
        if not self.service.exists():
            return
        match = re.search(r"^# inventory: (.*)$", self.service.read_text(), re.MULTILINE)
        if match is None or match[1] != str(inventory):
            whose = match[1] if match else "not written by difyfleet"
            raise FleetError(
                f"this unit is of another inventory: {whose}",
                where=str(self.service),
                hint=f"difyfleet schedule remove {whose}, or give one of the two files another name",
            )

    def _verify(self, texts: dict[Path, str]) -> None:
        """Have systemd judge the units before they are put in place."""
        if shutil.which("systemd-analyze") is None:
            return
        with tempfile.TemporaryDirectory() as folder:
            paths = [Path(folder) / path.name for path in texts]
            for path, text in zip(paths, texts.values(), strict=True):
                path.write_text(text)
            user = [word for word in self.systemctl if word == "--user"]
            command = ["systemd-analyze", *user, "verify", *map(str, paths)]
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=_SYSTEMCTL_SECONDS, check=False
            )
        ours = [line for line in done.stderr.splitlines() if self.name in line]
        if done.returncode != 0 and ours:
            raise FleetError(f"systemd does not take the unit: {'; '.join(ours)}", where=str(self.service))

    def _ask(self, verb: str) -> str:
        return self._run(verb, self.timer.name).stdout.strip()

    def _do(self, *words: str) -> None:
        done = self._run(*words)
        if done.returncode != 0:
            hint = "is there a systemd for this user (loginctl)?" if "--user" in self.systemctl else None
            raise FleetError(
                done.stderr.strip() or "failed", where=" ".join((*self.systemctl, *words)), hint=hint
            )

    def _run(self, *words: str) -> subprocess.CompletedProcess[str]:
        try:
            return subprocess.run(
                [*self.systemctl, *words],
                capture_output=True,
                text=True,
                timeout=_SYSTEMCTL_SECONDS,
                check=False,
            )
        except FileNotFoundError:
            raise FleetError(
                "this machine has no systemd",
                hint="put `difyfleet drift INVENTORY` into your scheduler (cron, CI)",
            ) from None


def units_of(inventory: Path) -> Units:
    """The units of an inventory: the system's for root, else the user's."""
    name = unit_name(inventory)
    if is_system():
        return Units(name, Path("/etc/systemd/system"), ("systemctl",))
    base = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    return Units(name, base / "systemd" / "user", ("systemctl", "--user"))


def is_system() -> bool:
    """Whether this user's units are the system's."""
    return os.geteuid() == 0
