"""Runs ON THE HOST as root (Python >= 3.7, standard library): facts.fitness to the byte, without the 25 programs of its shell command."""

from __future__ import annotations

import os
import sys
import time
from _socket import socket

from difyfleet.facts.docker_script import containers
from difyfleet.facts.engine_script import packages
from difyfleet.facts.engine_socket_script import get, like_the_client, running
from difyfleet.facts.files_script import cat, content
from difyfleet.facts.systemd_script import Systemd
from difyfleet.known_script import NotPlain, is_machine_code, known, output, program, state_of
from difyfleet.light_script import sha256

NETLINK, SOCK_RAW, SOCK_DIAG = 16, 3, 4
TCP, LISTEN, BY_FAMILY, DUMP, DONE = 6, 10, 20, 0x301, 3  # linux/inet_diag.h, linux/netlink.h
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Literal

LABELS = ("com.docker.compose.project", "com.docker.compose.project.working_dir")


def fitness(folders: str, models: str, names: str) -> bytes:
    """See facts.fitness.HostFitness; words are apart by spaces.

    Raises:
        NotPlain, OSError: something is not as usual.
    """
    up = running()
    parts = [
        ("os", cat("/etc/os-release").decode()),
        ("machine", f"{os.uname().machine}\n"),
        ("avx", "avx\n" if _has_avx() else ""),
        ("memory", _memory()),
        ("init", cat("/proc/1/comm").decode() + _state()),
        ("python", f"Python {sys.version.split()[0]}\n"),
        ("disk", "".join(map(_disk, folders.split()))),
        ("umask", _umask()),
        (
            "tmp",
            known(
                "type of /tmp",
                lambda: _mounts("/tmp"),
                lambda: output("stat", "-f", "-c", "%T", "/tmp")[1].decode(),
            ),
        ),
        ("forward", cat("/proc/sys/net/ipv4/ip_forward").decode()),
        ("iptables", _version("iptables")),
        ("selinux", output("getenforce")[1].decode() if program("getenforce") else ""),
        ("packages", packages(*names.split()) if program("rpm") else ""),
        ("dockerd", _version("dockerd")),
        ("managed", "yes\n" if os.path.exists("/etc/difyfleet/engine.json") else ""),
        ("addresses", output("ip", "-o", "-4", "addr", "show")[1].decode() if program("ip") else ""),
        ("routes", output("ip", "-4", "route", "show")[1].decode() if program("ip") else ""),
        ("client", _client()),
        ("listeners", _listeners() if program("ss") else "no ss\n"),
        ("containers", _containers() if up else ""),
        ("images", _images() if up else ""),
        ("models", _models(f"{models}/models/manifests")),
        ("time", f"{time.time():.9f}\n"),
    ]
    return "".join(f"##{name}\n{text}" for name, text in parts).encode()


def fitness_in_short(said: bytes) -> bytes:
    """What a plan turns on: without the clock, addresses' lifetimes and numbers of processes; free room to a sixteenth of itself. A
    clock that goes wrong and a disk that is short by less than that are for the next full look."""
    kept, part = [], b""
    for line in said.split(b"\n"):
        if line.startswith(b"##"):
            part = line
        elif part == b"##time":
            continue
        elif part == b"##disk" and line.count(b"|") == 3:
            name, free, mount, fs = line.split(b"|")
            small = max(int(free).bit_length() - 5, 0)
            line = b"|".join((name, b"%d<<%d" % (int(free) >> small, small), mount, fs))
        elif part == b"##addresses":
            line = b" ".join(line.partition(b"valid_lft")[0].split())
        elif part == b"##listeners":
            words = line.split(b" ", 5)
            holder = words[5].partition(b",pid=")[0] if len(words) > 5 else b""
            line = b" ".join((*words[:1], *words[3:5], holder))
        kept.append(line)
    return b"\n".join(kept)


def _has_avx() -> bool:
    with open("/proc/cpuinfo", "rb") as file:
        first = file.read(8192)  # the first processor's as a rule, and the kernel makes no more of it
        text = first if b" avx " in first else first + file.read()
    lines = text.split(b"\n")
    return any(b"avx" in line and b"avx" in line.split() for line in lines)


def _memory() -> str:
    lines = cat("/proc/meminfo").decode().split("\n")
    return "".join(f"{line.split()[1]}\n" for line in lines if line.startswith("MemTotal:"))


def _umask() -> str:
    lines = cat("/proc/self/status").decode().split("\n")
    found = next((line.split()[1] for line in lines if line.startswith("Umask:")), None)
    if found is None or len(found) != 4:
        raise NotPlain("umask")
    return found + "\n"


def _state() -> str:
    link = Systemd()
    try:
        return link.property("SystemState") + "\n"
    finally:
        link.close()


def _mounts(path: str) -> str:
    """State of what is mounted where, as far as it decides about a path."""
    mounts = content("/proc/self/mountinfo") or b""
    return f"{sha256(mounts).hexdigest()} {os.path.realpath(path)} {os.stat(path).st_dev}"


def _disk(folder: str) -> str:
    path = folder
    while not os.path.exists(path):
        path = path.rpartition("/")[0] or "/"
    room = os.statvfs(path)
    mount = known(f"mount of {path}", lambda: _mounts(path), lambda: _mount(path))
    number = ((room.f_fsid & 0xFFFFFFFF) << 32) | (room.f_fsid >> 32)
    return f"{folder}|{room.f_bavail * room.f_frsize}|{mount}|{number:x}\n"


def _mount(path: str) -> str:
    lines = output("df", "-PB1", path)[1].decode().split("\n")
    if len(lines) != 3:
        raise NotPlain(path)
    return lines[1].split()[5]


def _version(name: str) -> str:
    path = program(name)
    if path is None:
        return ""
    return known(
        f"version of {name}",
        lambda: _one_file(path),
        lambda: output(name, "--version", errors=True)[1].decode(),
    )


def _one_file(path: str) -> str | None:
    """State of a program; None = it may be made of others."""
    state = state_of(path) if is_machine_code(path) else None
    return None if state is None else f"{os.path.realpath(path)} {state}"


def _client() -> str:
    """The address at the far end of the SSH connection, of the nearest parent that knows it: sudo clears the environment."""
    process = os.getpid()
    while process > 1:
        found = b""
        try:
            with open(f"/proc/{process}/environ", "rb") as file:
                lines = file.read().replace(b"\0", b"\n").split(b"\n")
            found = b"\n".join(line[15:] for line in lines if line.startswith(b"SSH_CONNECTION="))
        except OSError:
            pass
        if found:
            return found.partition(b" ")[0].decode() + "\n"
        with open(f"/proc/{process}/status") as status:
            process = next(int(line.split()[1]) for line in status if line.startswith("PPid:"))
    return ""


def _listeners() -> str:
    """What `ss` said, while the same sockets listen and the processes that it named hold them still."""
    sockets = _listening()
    state = sha256(b"\n".join(sorted(sockets))).hexdigest()
    text, _, holders = known("listeners", lambda: state, _ask_ss).partition("\0")
    if holders != _held(text):
        text = _ask_ss().partition("\0")[0]
    return text


def _listening() -> list[bytes]:
    """Family, port, address and inode of each listening socket, from the kernel's own list: /proc/net/tcp walks through all connections."""
    order: Literal["little", "big"] = sys.byteorder
    found, link = [], socket(NETLINK, SOCK_RAW, SOCK_DIAG)
    try:
        link.settimeout(10)
        for family in (2, 10):
            body = bytes([family, TCP, 0, 0]) + (1 << LISTEN).to_bytes(4, order) + bytes(48)
            head = (
                (16 + len(body)).to_bytes(4, order) + BY_FAMILY.to_bytes(2, order) + DUMP.to_bytes(2, order)
            )
            link.send(head + bytes(8) + body)
            ended = False
            while not ended:
                data, at = link.recv(1 << 16), 0
                while at < len(data) and not ended:
                    size, kind = (
                        int.from_bytes(data[at : at + 4], order),
                        int.from_bytes(data[at + 4 : at + 6], order),
                    )
                    ended = kind == DONE
                    if not ended and (kind != BY_FAMILY or size < 16 + 72):
                        raise NotPlain("the kernel does not list sockets")
                    if not ended:
                        seen = data[at + 16 : at + size]
                        found.append(seen[:1] + seen[4:6] + seen[8:24] + seen[68:72])
                    at += size + -size % 4
    finally:
        link.close()
    return found


def _ask_ss() -> str:
    lines = output("ss", "-Hltnp")[1].decode("ascii").split("\n")
    words = (line.split() for line in lines if line)
    text = "".join(sorted(" ".join((word[0], "0", "0", *word[3:])) + "\n" for word in words))
    return f"{text}\0{_held(text)}"


def _held(text: str) -> str:
    """What the processes that are named there hold."""
    found = []
    for part in text.split('("')[1:]:
        name, _, rest = part.partition('",pid=')
        process, _, number = rest.partition(")")[0].partition(",fd=")
        try:
            held = os.readlink(f"/proc/{process}/fd/{number}")
            with open(f"/proc/{process}/comm") as file:
                is_called = file.read().rstrip("\n")
        except (FileNotFoundError, ProcessLookupError):
            held = is_called = "gone"
        found.append(f"{name} {process} {held} {is_called}")
    return "\n".join(found)


def _containers() -> str:
    like_the_client()
    lines = []
    for each in containers():
        ports = each["NetworkSettings"]["Ports"] or {}
        bound = [
            f"{one['HostIp']}:{one['HostPort']}->{port}, "
            for port in sorted(ports)
            for one in ports[port] or ()
        ]
        labels = each["Config"]["Labels"] or {}
        lines.append(
            "|".join((each["Name"], "".join(bound), *(labels.get(label, "") for label in LABELS))) + "\n"
        )
    return "".join(lines)


def _images() -> str:
    names = set()
    for each in get("/images/json") or ():
        tags, digests = each.get("RepoTags") or [], each.get("RepoDigests") or []
        tags, digests = (
            [tag for tag in tags if tag != "<none>:<none>"],
            [one for one in digests if one != "<none>@<none>"],
        )
        tagged = {tag.rpartition(":")[0] for tag in tags}
        names.update(tags)
        names.update(f"{name}:<none>" for name in {one.partition("@")[0] for one in digests} - tagged)
        if not tags and not digests:
            names.add("<none>:<none>")
    return "".join(sorted(f"{name}\n" for name in names))


def _models(folder: str) -> str:
    if not os.path.isdir(folder):
        return ""
    found = []
    for place, _, names in os.walk(folder, onerror=_raise):
        for name in names:
            path = os.path.join(place, name)
            if not os.path.islink(path) and os.path.isfile(path):
                found.append(f".{path[len(folder) :]}\n")
    if any("\n" in each[:-1] or not each.isascii() for each in found):
        raise NotPlain(folder)
    return "".join(sorted(found))


def _raise(error: OSError) -> None:
    raise error
