"""Everything that decides whether a host is fit for the stack, read in one trip."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from pyinfra.api import FactBase

from difyfleet.host_calls import Command

# Packages that bring their own dockerd, containerd or runc, or a `docker` command that is not Docker's.
CONFLICTING = ("docker-engine", "podman-docker", "podman", "runc", "containerd", "docker-runc", "libnetwork")
# Docker's own packages: fine with method rpm, in the way of method static.
UPSTREAM = ("docker-ce", "docker-ce-cli", "containerd.io", "docker-compose-plugin")

_SCRIPT = r"""
export LC_ALL=C
echo '##os'; cat /etc/os-release 2>/dev/null
echo '##machine'; uname -m
echo '##avx'; grep -m1 -ow avx /proc/cpuinfo
echo '##memory'; awk '/^MemTotal:/{print $2}' /proc/meminfo
echo '##init'; cat /proc/1/comm; systemctl is-system-running 2>/dev/null
echo '##python'; python3 --version 2>&1
echo '##disk'
for d in $FOLDERS; do p=$d; while [ ! -e "$p" ]; do p=${p%/*}; p=${p:-/}; done
df -PB1 "$p" | awk -v d="$d" -v f="$(stat -f -c %i "$p")" 'NR==2{print d "|" $4 "|" $6 "|" f}'; done
echo '##umask'; umask
echo '##tmp'; stat -f -c %T /tmp
echo '##forward'; cat /proc/sys/net/ipv4/ip_forward
echo '##iptables'; command -v iptables >/dev/null && iptables --version 2>&1
echo '##selinux'; command -v getenforce >/dev/null && getenforce
echo '##packages'; command -v rpm >/dev/null && rpm -q --qf '%{NAME}|%{VERSION}-%{RELEASE}\n' $PACKAGES 2>/dev/null | grep '|'
echo '##dockerd'; command -v dockerd >/dev/null && dockerd --version 2>&1
echo '##managed'; [ -e /etc/difyfleet/engine.json ] && echo yes
echo '##addresses'; ip -o -4 addr show 2>/dev/null
echo '##routes'; ip -4 route show 2>/dev/null
echo '##client'; p=$$; while [ "${p:-0}" -gt 1 ]; do
c=$(tr '\0' '\n' <"/proc/$p/environ" 2>/dev/null | sed -n 's/^SSH_CONNECTION=//p')
[ -n "$c" ] && { echo "${c%% *}"; break; }
p=$(sed -n 's/^PPid:[[:space:]]*//p' "/proc/$p/status" 2>/dev/null); done
echo '##listeners'; if command -v ss >/dev/null; then ss -Hltnp 2>/dev/null | awk '{ $2 = 0; $3 = 0; print }' | sort; else echo 'no ss'; fi
up=; [ -e /run/docker.pid ] && kill -0 "$(cat /run/docker.pid)" 2>/dev/null && up=1
echo '##containers'; [ -n "$up" ] && timeout 15 docker ps -q --no-trunc 2>/dev/null | sort | xargs -r timeout 15 docker inspect --format \
'{{.Name}}|{{range $p, $all := .NetworkSettings.Ports}}{{range $all}}{{.HostIp}}:{{.HostPort}}->{{$p}}, {{end}}{{end}}|'\
'{{index .Config.Labels "com.docker.compose.project"}}|{{index .Config.Labels "com.docker.compose.project.working_dir"}}' 2>/dev/null
echo '##images'; [ -n "$up" ] && timeout 15 docker image ls --format '{{.Repository}}:{{.Tag}}' 2>/dev/null | sort -u
echo '##models'; [ -d "$MODELS/models/manifests" ] && cd "$MODELS/models/manifests" && find . -type f | sort
echo '##time'; date +%s.%N
"""


@dataclass(frozen=True)
class Listener:
    """One listening TCP socket."""

    address: str  # "0.0.0.0", "*", "[::]", "127.0.0.1", ...
    port: int
    process: str  # "nginx", or "" where ss could not tell
    pid: int | None


@dataclass(frozen=True)
class Published:
    """A running container and the host ports it holds."""

    name: str
    project: str  # compose project, "" without one
    working_dir: str  # folder of the compose project on the host
    ports: tuple[tuple[str, int], ...]  # (host address, host port)


@dataclass(frozen=True)
class Disk:
    """Room for one folder: free bytes of the file system that holds it (or will hold it)."""

    free: int
    mount: str
    fs: str = ""  # file system id: two bind mounts of one file system share its room


@dataclass(frozen=True)
class Fitness:
    """A host before anything on it is changed."""

    os: Mapping[str, str] = field(default_factory=dict)
    machine: str = ""
    avx: bool = False
    memory_mib: int = 0
    init: str = ""
    init_state: str = ""
    python: str = ""
    disk: Mapping[str, Disk] = field(default_factory=dict)
    umask: str = ""
    tmp: str = ""
    forward: str = ""
    iptables: str = ""
    selinux: str = ""
    packages: Mapping[str, str] = field(default_factory=dict)
    dockerd: str = ""  # version of the dockerd in PATH, "" without one
    managed: bool = False  # difyfleet has installed the engine before
    addresses: tuple[tuple[str, str], ...] = ()  # (interface, address in CIDR form)
    routes: tuple[tuple[str, str], ...] = ()  # (destination, interface)
    client: str = ""  # the controller's address as the host's sshd sees it
    listeners: tuple[Listener, ...] | None = ()  # None = ss is missing
    containers: tuple[Published, ...] = ()
    images: frozenset[str] = frozenset()
    models: frozenset[str] = (
        frozenset()
    )  # manifest paths below models/manifests: registry/namespace/model/tag
    time: float = 0.0  # seconds since 1970 by the host's clock


class HostFitness(FactBase[Fitness]):
    """The host as the preflight judges it.

    The controller's address comes from SSH_CONNECTION of the nearest parent process that has it, because sudo clears it. Docker is
    only asked while dockerd runs: a connect to a systemd docker.socket would start it.
    """

    def command(self, folders: tuple[str, ...], models: str) -> Command:
        # In a subshell: `cd` and the variables must not leak into commands that a batch runs after this one.
        names = " ".join((*CONFLICTING, *UPSTREAM))
        wanted = " ".join(folders)
        text = f"(FOLDERS={shlex.quote(wanted)}; MODELS={shlex.quote(models)}; PACKAGES={shlex.quote(names)}{_SCRIPT}true)"
        return Command(text, "difyfleet.facts.fitness_script", "fitness", wanted, models, names)

    @staticmethod
    def default() -> Fitness:
        return Fitness()

    def process(self, output: Iterable[str]) -> Fitness:
        part = sections(output)

        def first(name: str) -> str:
            return part[name][0].strip() if part.get(name) else ""

        listeners = part.get("listeners", [])
        return Fitness(
            os=_os_release(part.get("os", [])),
            machine=first("machine"),
            avx=first("avx") == "avx",
            memory_mib=int(first("memory") or 0) // 1024,
            init=first("init"),
            init_state=part["init"][1].strip() if len(part.get("init", [])) > 1 else "",
            python=first("python").removeprefix("Python ") if first("python").startswith("Python ") else "",
            disk={
                name: Disk(int(free), mount, fs)
                for name, free, mount, fs in (line.split("|") for line in part.get("disk", []) if line)
            },
            umask=first("umask"),
            tmp=first("tmp"),
            forward=first("forward"),
            iptables=first("iptables"),
            selinux=first("selinux"),
            packages=dict(line.split("|", 1) for line in part.get("packages", []) if "|" in line),
            dockerd=engine_version(first("dockerd")),
            managed=first("managed") == "yes",
            addresses=tuple(
                (bits[1], bits[3]) for bits in map(str.split, part.get("addresses", [])) if len(bits) > 3
            ),
            routes=_routes(part.get("routes", [])),
            client=first("client"),
            listeners=None if listeners == ["no ss"] else tuple(filter(None, map(_listener, listeners))),
            containers=tuple(map(_container, filter(None, part.get("containers", [])))),
            images=frozenset(filter(None, part.get("images", []))),
            models=frozenset(line.removeprefix("./") for line in part.get("models", []) if line),
            time=float(first("time") or 0),
        )


def sections(output: Iterable[str]) -> dict[str, list[str]]:
    """Lines grouped by the `##name` line above them."""
    found: dict[str, list[str]] = {}
    current: list[str] = []
    for line in output:
        if line.startswith("##"):
            current = found.setdefault(line[2:].strip(), [])
        else:
            current.append(line)
    return found


def engine_version(text: str) -> str:
    """`26.1.5` out of `Docker version 26.1.5+dfsg1, build a72d7cd`; "" where there is none."""
    match = re.search(r"version (\d+\.\d+\.\d+)", text)
    return match[1] if match else ""


def _os_release(lines: Iterable[str]) -> dict[str, str]:
    pairs = (line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))
    return {key.strip(): value.strip().strip("\"'") for key, value in pairs}


def _routes(lines: Iterable[str]) -> tuple[tuple[str, str], ...]:
    found = []
    for bits in map(str.split, lines):
        device = bits[bits.index("dev") + 1] if "dev" in bits[:-1] else ""
        kinds = ("blackhole", "unreachable", "prohibit", "throw", "broadcast", "local")
        if bits and bits[0] not in kinds:
            found.append((bits[0], device))
    return tuple(found)


def _listener(line: str) -> Listener | None:
    bits = line.split()
    if len(bits) < 5 or bits[0] != "LISTEN":
        return None
    address, _, port = bits[3].rpartition(":")
    match = re.search(r'users:\(\("([^"]*)",pid=(\d+)', line)
    return Listener(
        address.split("%")[0], int(port), match[1] if match else "", int(match[2]) if match else None
    )


def _container(line: str) -> Published:
    name, ports, project, working_dir = line.split("|", 3)
    return Published(name.lstrip("/"), project, working_dir, published_ports(ports))


def published_ports(text: str) -> tuple[tuple[str, int], ...]:
    """(address, port) pairs of lists such as `0.0.0.0:80->80/tcp, :::80->80/tcp`, ranges written out, TCP only."""
    found: list[tuple[str, int]] = []
    for address, low, high in re.findall(r"(\S+?):(\d+)(?:-(\d+))?->\d+(?:-\d+)?/tcp", text):
        address = f"[{address}]" if ":" in address and address[0] != "[" else address
        found += [(address, port) for port in range(int(low), int(high or low) + 1)]
    return tuple(found)
