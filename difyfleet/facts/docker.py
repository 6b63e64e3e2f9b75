"""The Docker service as it stands: its unit, what the daemon says of itself, what it still has to be restarted for."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pyinfra.api import FactBase

from difyfleet.facts import docker_script
from difyfleet.facts.fitness import sections
from difyfleet.host_calls import Command

# Reasons for a restart that have not been followed by one yet, one a line. In /run: a reboot is a restart, too.
PENDING = "/run/difyfleet/docker.restart"

# The daemon is only asked while it runs: a connect to a systemd docker.socket would start it, and facts change nothing.
RUNNING = '[ -e /run/docker.pid ] && kill -0 "$(cat /run/docker.pid)" 2>/dev/null'

_UNIT_KEYS = "LoadState,ActiveState,SubState,UnitFileState,FragmentPath,NeedDaemonReload,Result"

# What is looked at, without what changes all the time. With the daemon away there is nothing but the client's half.
_INFO = (
    "{{if .ServerVersion}}{"
    + ",".join(f'"{name}":{{{{json .{name}}}}}' for name in docker_script.INFO)
    + ',"Mirrors":{{json .RegistryConfig.Mirrors}},"Log":{{json .Plugins.Log}}'
    + ',"Compose":"{{range .ClientInfo.Plugins}}{{if eq .Name "compose"}}{{.Version}}{{end}}{{end}}"}{{end}}'
)

_SCRIPT = f"""
export LC_ALL=C
echo '##unit'; systemctl show docker.service -p {_UNIT_KEYS} 2>/dev/null | sort
echo '##socket'; systemctl is-enabled docker.socket 2>/dev/null | grep -x enabled; systemctl is-active docker.socket 2>/dev/null | grep -x active
echo '##pending'; cat {PENDING} 2>/dev/null
echo '##firewalld'; if command -v firewall-cmd >/dev/null; then systemctl is-active firewalld 2>/dev/null; else echo absent; fi
echo '##info'; if {RUNNING}; then timeout 20 docker info --format '{_INFO}' 2>/dev/null
echo '##chains'; if command -v iptables >/dev/null; then
if iptables -w 5 -t nat -nL DOCKER >/dev/null 2>&1 && iptables -w 5 -nL DOCKER >/dev/null 2>&1; then echo ok; else echo missing; fi; fi; fi
"""


@dataclass(frozen=True)
class DaemonInfo:
    """What `docker info` tells of the running daemon."""

    version: str
    mirrors: tuple[str, ...] = ()  # as in force, without the trailing slash that dockerd adds
    live_restore: bool = False
    log_driver: str = ""
    log_drivers: frozenset[str] = frozenset()  # those that the daemon knows, plugins included
    root: str = ""
    storage_driver: str = ""
    cgroup: str = ""  # "1/cgroupfs"
    containers: int = 0  # running or not
    compose: str = ""  # version of the compose plugin
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class DockerService:
    """docker.service and its daemon."""

    load: str = "not-found"  # loaded, not-found, masked, ...
    active: str = "inactive"
    sub: str = "dead"
    enabled: str = ""  # enabled, disabled, static, masked; "" without a unit
    fragment: str = ""  # the unit file in use
    need_reload: bool = False
    result: str = ""
    socket_enabled: bool = False
    socket_active: bool = False
    pending: tuple[str, ...] = ()
    firewalld: str = "absent"  # absent, inactive, active, ...
    chains: bool | None = None  # Docker's iptables chains exist; None = not asked (daemon down, no iptables)
    info: DaemonInfo | None = None  # None = the daemon does not answer

    @property
    def running(self) -> bool:
        return self.active in ("active", "reloading")


class Docker(FactBase[DockerService]):
    """State of the Docker service; the default is a host without one."""

    def command(self) -> Command:
        return Command(f"({_SCRIPT}true)", "difyfleet.facts.docker_script", "service", _UNIT_KEYS, PENDING)

    @staticmethod
    def default() -> DockerService:
        return DockerService()

    def process(self, output: Iterable[str]) -> DockerService:
        part = sections(output)
        unit = dict(line.split("=", 1) for line in part.get("unit", []) if "=" in line)
        socket = [line.strip() for line in part.get("socket", [])]
        chains = part.get("chains", [])
        return DockerService(
            load=unit.get("LoadState", "not-found"),
            active=unit.get("ActiveState", "inactive"),
            sub=unit.get("SubState", "dead"),
            enabled=unit.get("UnitFileState", ""),
            fragment=unit.get("FragmentPath", ""),
            need_reload=unit.get("NeedDaemonReload") == "yes",
            result=unit.get("Result", ""),
            socket_enabled="enabled" in socket,
            socket_active="active" in socket,
            pending=tuple(line for line in part.get("pending", []) if line),
            firewalld=(part.get("firewalld") or ["absent"])[0].strip(),
            chains=None if not chains else chains[0] == "ok",
            info=parse_info("".join(part.get("info", []))),
        )


def parse_info(text: str) -> DaemonInfo | None:
    """What _INFO makes of `docker info`; None = the daemon does not answer."""
    if not text.strip():
        return None
    raw: Mapping[str, Any] = json.loads(text)
    if not raw.get("ServerVersion"):
        return None
    return DaemonInfo(
        version=raw["ServerVersion"],
        mirrors=tuple(url.rstrip("/") for url in raw.get("Mirrors") or ()),
        live_restore=bool(raw.get("LiveRestoreEnabled")),
        log_driver=raw.get("LoggingDriver", ""),
        log_drivers=frozenset(raw.get("Log") or ()),
        root=raw.get("DockerRootDir", ""),
        storage_driver=raw.get("Driver", ""),
        cgroup=f"{raw.get('CgroupVersion', '')}/{raw.get('CgroupDriver', '')}",
        containers=int(raw.get("Containers") or 0),
        compose=str(raw.get("Compose") or "").removeprefix("v"),
        warnings=tuple(raw.get("Warnings") or ()),
    )


@dataclass(frozen=True)
class Forwarding:
    """net.ipv4.ip_forward: now, and where it is written."""

    value: str = ""
    lines: tuple[tuple[str, str], ...] = field(default=())  # (file, value) in no particular order


_SYSCTL = (
    "/proc/sys/net/ipv4/ip_forward",
    "/etc/sysctl.conf",
    "/etc/sysctl.d",
    "/run/sysctl.d",
    "/usr/lib/sysctl.d",
)


class IpForward(FactBase[Forwarding]):
    """IPv4 forwarding in the kernel and in the sysctl files."""

    def command(self) -> Command:
        call = ("difyfleet.facts.files_script", "forwarding", *_SYSCTL)
        pattern = r"^[[:space:]]*net[./]ipv4[./]ip_forward[[:space:]]*="
        places = " ".join([_SYSCTL[1], *(f"{folder}/*.conf" for folder in _SYSCTL[2:])])
        text = f"export LC_ALL=C; cat {_SYSCTL[0]} 2>/dev/null || echo; grep -HE '{pattern}' {places} 2>/dev/null; true"
        return Command(text, *call)

    @staticmethod
    def default() -> Forwarding:
        return Forwarding()

    def process(self, output: Iterable[str]) -> Forwarding:
        lines = list(output)
        pairs = []
        for line in lines[1:]:
            path, _, setting = line.partition(":")
            pairs.append((path, setting.partition("=")[2].strip()))
        return Forwarding(lines[0].strip(), tuple(pairs))
