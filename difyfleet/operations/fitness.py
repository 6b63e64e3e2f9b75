"""Judging a host before the first change to it: pure functions from what was read to named checks."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from difyfleet.checks import Check
from difyfleet.facts.fitness import CONFLICTING, UPSTREAM, Fitness
from difyfleet.spec.models import HostSpec

Network = ipaddress.IPv4Network

MAX_SKEW = 120  # seconds; beyond that TLS and signed tokens fail in ways that name neither
OLDEST_ENGINE = (
    20,
    10,
    10,
)  # its seccomp profile is the first to answer clone3 with ENOSYS: older ones break glibc >= 2.34
GIB = 1024**3
IMAGE_SHARE = 13.5 / (13.5 + 6.7)  # of the disk asked for: the document's images against its models
SPARE_GIB = 2.0  # free room below which a host that has everything is warned of
_WILD = {"0.0.0.0", "*", "[::]", "::", ""}


@dataclass(frozen=True)
class WantedPort:
    """A host port that the stack is going to publish."""

    address: str
    port: int
    use: str


def wanted_ports(spec: HostSpec) -> tuple[WantedPort, ...]:
    """The ports this host is to publish."""
    found = []
    if spec.ollama.enabled:
        found.append(WantedPort(spec.ollama.bind, spec.ollama.port, "Ollama"))
    if spec.openwebui.enabled:
        found.append(WantedPort(spec.openwebui.bind, spec.openwebui.port, "Open WebUI"))
    if spec.dify.enabled:
        found.append(WantedPort(spec.dify.bind, spec.dify.http_port, "Dify HTTP"))
        if spec.dify.https.enabled:
            found.append(WantedPort(spec.dify.bind, spec.dify.https.port, "Dify HTTPS"))
    return tuple(found)


def data_folders(spec: HostSpec) -> tuple[str, ...]:
    """Folders whose file systems must have room, Docker's first."""
    folders = [spec.docker.data_root]
    if spec.ollama.enabled:
        folders.append(spec.ollama.data_dir)
    return tuple(dict.fromkeys(folders))


def judge(seen: Fitness, spec: HostSpec, now: float) -> list[Check]:
    """All checks of one host, failures that `preflight.skip` names turned into warnings.

    Args:
        now: seconds since 1970 by the controller's clock, at the moment the host was read.
    """
    found: list[Check] = []
    for _, judges in JUDGES.items():
        for judged in judges(seen, spec, now):
            skipped = not judged.ok and name_of(judged) in spec.preflight.skip
            found.append(
                replace(judged, warn_only=True, evidence=f"{judged.evidence} (skipped)")
                if skipped
                else judged
            )
    unknown = sorted(set(spec.preflight.skip) - set(JUDGES))
    if unknown:
        found.append(
            Check(
                "skip: names of checks",
                False,
                f"no such check: {', '.join(unknown)}",
                f"known names: {', '.join(JUDGES)}",
            )
        )
    return found


def name_of(check: Check) -> str:
    """The name that `preflight.skip` uses: what stands before the colon."""
    return check.name.split(":", 1)[0]


def _os(seen: Fitness, spec: HostSpec, now: float) -> Iterator[Check]:
    pretty = (
        seen.os.get("PRETTY_NAME")
        or " ".join(filter(None, (seen.os.get("NAME"), seen.os.get("VERSION"))))
        or "unknown"
    )
    if spec.os == "any":
        yield Check("os: any distribution accepted", True, pretty)
        return
    # ID is "openEuler" with a capital E; VERSION_ID is the bare "22.03", the service pack stands only in VERSION.
    fits = seen.os.get("ID", "").lower() == "openeuler" and seen.os.get("VERSION_ID") == "22.03"
    yield Check(
        "os: openEuler 22.03",
        fits,
        pretty,
        "use an openEuler 22.03 LTS host, or say `os: any` to try this one",
    )
    if fits and "SP3" not in seen.os.get("VERSION", ""):
        yield Check(
            "os: service pack 3",
            False,
            pretty,
            "difyfleet is tried on SP3; other service packs should work",
            True,
        )


def _machine(seen: Fitness, spec: HostSpec, now: float) -> Iterator[Check]:
    yield Check(
        "machine: x86_64",
        seen.machine == "x86_64",
        seen.machine,
        "Docker's archive and the images are for x86_64",
    )


def _avx(seen: Fitness, spec: HostSpec, now: float) -> Iterator[Check]:
    wish = spec.preflight.cpu_avx
    if wish != "ignore" and spec.ollama.enabled:
        yield Check(
            "avx: CPU has AVX",
            seen.avx,
            "avx" if seen.avx else "no avx in /proc/cpuinfo",
            "Ollama is very slow without AVX: give the VM the host's CPU model (libvirt: host-passthrough)",
            warn_only=wish == "warn",
        )


def _memory(seen: Fitness, spec: HostSpec, now: float) -> Iterator[Check]:
    wanted = spec.preflight.memory_mib
    yield Check(
        f"memory: at least {wanted} MiB",
        seen.memory_mib >= wanted,
        f"{seen.memory_mib} MiB",
        "give the VM more RAM, or set preflight.memory_mib (smaller models need less)",
    )


def _disk(seen: Fitness, spec: HostSpec, now: float) -> Iterator[Check]:
    """Free room for what is still missing. A host that has everything is only warned when it runs full."""
    folders = data_folders(spec)
    needs = dict(zip(folders, missing_gib(seen, spec), strict=False))
    by_file_system: dict[str, list[str]] = {}
    for folder in folders:
        if folder in seen.disk:
            by_file_system.setdefault(seen.disk[folder].fs, []).append(folder)
    for here in by_file_system.values():
        free = seen.disk[here[0]].free / GIB
        need = sum(needs.get(folder, 0.0) for folder in here)
        floor = min(SPARE_GIB, float(spec.preflight.disk_gib))
        yield Check(
            f"disk: room for {' and '.join(here)}",
            free >= max(need, floor),
            f"{free:.1f} GiB free on {seen.disk[here[0]].mount}, {need:.1f} GiB needed for what is not there yet",
            "grow the file system, point docker.data_root or ollama.data_dir at a larger one, or set preflight.disk_gib",
            warn_only=need < floor,
        )


def missing_gib(seen: Fitness, spec: HostSpec) -> tuple[float, ...]:
    """GiB still needed per folder of data_folders(): preflight.disk_gib shared out over the images and models not there yet."""
    total = float(spec.preflight.disk_gib)
    wanted = [with_tag(image) for image in spec.wanted_images]
    images = sum(image not in seen.images for image in wanted) / max(1, len(wanted))
    if not spec.ollama.enabled:
        return (total * images,)
    models = spec.ollama.declared()
    absent = sum(manifest_path(model.name) not in seen.models for model in models) / max(1, len(models))
    needs = (total * IMAGE_SHARE * images, total * (1 - IMAGE_SHARE) * absent)
    return needs if spec.docker.data_root != spec.ollama.data_dir else (sum(needs),)


def with_tag(reference: str) -> str:
    """An image reference as `docker image ls` shows it: no docker.io/library/, no digest, a tag."""
    name = reference.split("@", 1)[0]
    name = name.removeprefix("docker.io/").removeprefix("index.docker.io/").removeprefix("library/")
    return name if ":" in name.rsplit("/", 1)[-1] else f"{name}:latest"


def manifest_path(model: str) -> str:
    """Where Ollama keeps a model's manifest, below models/manifests."""
    path, _, tag = model.rpartition(":")
    parts = path.split("/")
    registry = parts.pop(0) if len(parts) > 2 else "registry.ollama.ai"
    return "/".join([registry, *(parts if len(parts) > 1 else ["library", *parts]), tag])


def _ports(seen: Fitness, spec: HostSpec, now: float) -> Iterator[Check]:
    for want in wanted_ports(spec):
        name = f"ports: {want.port}/tcp free for {want.use}"
        if seen.listeners is None:
            yield Check(
                name,
                False,
                "ss is not installed, so nobody could be asked",
                "dnf install iproute",
                warn_only=True,
            )
            continue
        holder = port_holder(seen, spec, want)
        yield Check(
            name,
            holder is None,
            f"held by {holder}" if holder else "free or ours",
            f"stop {holder}, or give {want.use} another port in the inventory" if holder else None,
        )


def port_holder(seen: Fitness, spec: HostSpec, want: WantedPort) -> str | None:
    """Who holds a port that we want; None when it is free or one of our own containers has it."""
    for container in seen.containers:
        if any(port == want.port and _overlap(address, want.address) for address, port in container.ports):
            return (
                None
                if is_ours(container.working_dir, container.project, spec)
                else f"container {container.name}"
            )
    for listener in seen.listeners or ():
        if listener.port == want.port and _overlap(listener.address, want.address):
            return (
                f"{listener.process or 'a process'} (pid {listener.pid})"
                if listener.pid
                else (listener.process or "a process")
            )
    return None


def is_ours(working_dir: str, project: str, spec: HostSpec) -> bool:
    """Whether a compose project is one of the stack's: by its folder, since project names are anybody's."""
    ours = (
        spec.dify.directory,
        spec.ollama.data_dir,
        spec.openwebui.data_dir,
        "/opt/difyfleet",
        "/etc/difyfleet",
    )
    return bool(project) and any(
        working_dir == folder or working_dir.startswith(f"{folder}/") for folder in ours
    )


def _overlap(one: str, other: str) -> bool:
    return one in _WILD or other in _WILD or one.strip("[]") == other.strip("[]")


def _subnets(seen: Fitness, spec: HostSpec, now: float) -> Iterator[Check]:
    try:
        ours = docker_networks(spec)
    except (ValueError, TypeError, KeyError) as error:
        yield Check(
            "subnets: Docker's networks clash with nothing",
            False,
            f"docker.daemon: {error}",
            "correct bip or default-address-pools",
        )
        return
    clashes = [
        f"{net} with {what}" for net in ours for what, other in foreign_networks(seen) if net.overlaps(other)
    ]
    yield Check(
        "subnets: Docker's networks clash with nothing",
        not clashes,
        "; ".join(clashes) or ", ".join(map(str, ours)),
        "set docker.bip and docker.address_pools to ranges that this site does not use; a clash cuts the SSH session"
        if clashes
        else None,
    )


def docker_networks(spec: HostSpec) -> list[Network]:
    """Networks that dockerd may take: docker0's and the pools'. docker.daemon wins, as it does in daemon.json."""
    bip = spec.docker.daemon.get("bip", spec.docker.bip)
    pools = spec.docker.daemon.get("default-address-pools", spec.docker.address_pools)
    found = [ipaddress.ip_interface(bip).network] if bip else []
    found += [ipaddress.ip_network(pool["base"], strict=False) for pool in pools]
    return [net for net in found if isinstance(net, Network)]


def foreign_networks(seen: Fitness) -> Iterator[tuple[str, Network]]:
    """Networks that are in use on the host or on the way to it, Docker's own bridges left out."""
    for interface, address in seen.addresses:
        if not _dockers(interface):
            yield f"{address} on {interface}", Network(address, strict=False)
    for destination, interface in seen.routes:
        if destination != "default" and not _dockers(interface):
            yield f"the route to {destination}", Network(destination, strict=False)
    if seen.client and ":" not in seen.client:
        yield f"the controller's address {seen.client}", Network(seen.client)


def _dockers(interface: str) -> bool:
    return interface in ("docker0", "docker_gwbridge", "lo") or interface.startswith(("br-", "veth"))


def _clock(seen: Fitness, spec: HostSpec, now: float) -> Iterator[Check]:
    skew = seen.time - now
    yield Check(
        f"clock: within {MAX_SKEW} s of the controller's",
        abs(skew) <= MAX_SKEW,
        f"{abs(skew):.0f} s {'ahead' if skew > 0 else 'behind'}",
        "set the clock (chronyc makestep, or timedatectl set-time); TLS and tokens fail on a wrong clock",
    )


def _packages(seen: Fitness, spec: HostSpec, now: float) -> Iterator[Check]:
    """Other engines. Docker's own packages are in the way of the static archive only."""
    found = conflicting(seen, spec)
    listed = ", ".join(f"{name}-{version}" for name, version in found.items())
    remove = spec.preflight.remove_conflicting_packages
    yield Check(
        "packages: no other container engine",
        not found,
        f"{listed} will be removed" if found and remove else listed or "none",
        f"dnf remove {' '.join(found)}   (look at their containers first), or preflight.remove_conflicting_packages: true"
        if found
        else None,
        warn_only=remove,
    )
    if spec.docker.method == "static" and not found:
        upstream = {name: seen.packages[name] for name in UPSTREAM if name in seen.packages}
        yield Check(
            "packages: Docker is not installed from packages",
            not upstream,
            ", ".join(f"{name}-{version}" for name, version in upstream.items()) or "none",
            "keep them with docker.method: rpm, or remove them (containers stay in the data root)"
            if upstream
            else None,
        )
    # what a package installed was judged above; a dockerd that nobody owns counts by its version
    if seen.dockerd and not found and not seen.managed:
        old = tuple(int(part) for part in seen.dockerd.split(".")) < OLDEST_ENGINE
        yield Check(
            "packages: no dockerd older than 20.10.10",
            not old or spec.docker.method == "static",
            f"dockerd {seen.dockerd}",
            "its seccomp profile keeps modern images from starting threads (clone3): remove it",
            warn_only=not old,
        )


def conflicting(seen: Fitness, spec: HostSpec) -> dict[str, str]:
    """Installed packages that cannot stand beside Docker CE, with their versions."""
    return {name: seen.packages[name] for name in CONFLICTING if name in seen.packages}


def _iptables(seen: Fitness, spec: HostSpec, now: float) -> Iterator[Check]:
    yield Check(
        "iptables: installed", bool(seen.iptables), seen.iptables or "not found", "dnf install iptables"
    )


def _systemd(seen: Fitness, spec: HostSpec, now: float) -> Iterator[Check]:
    alive = seen.init == "systemd" and seen.init_state in ("running", "degraded", "starting")
    evidence = f"PID 1 is {seen.init or 'unknown'}, {seen.init_state or 'state unknown'}"
    yield Check(
        "systemd: PID 1 and running",
        alive,
        evidence,
        "the stack's services are systemd units: boot the host with systemd",
    )
    if alive and seen.init_state == "degraded":
        yield Check("systemd: no failed units", False, "degraded", "systemctl --failed", warn_only=True)


def _python(seen: Fitness, spec: HostSpec, now: float) -> Iterator[Check]:
    version = tuple(int(part) for part in seen.python.split(".")[:2] if part.isdigit())
    yield Check(
        "python3: 3.6 or later",
        version >= (3, 6),
        seen.python or "not found",
        "dnf install python3 (dnf itself needs it)",
    )


def _forwarding(seen: Fitness, spec: HostSpec, now: float) -> Iterator[Check]:
    yield Check(
        "forwarding: net.ipv4.ip_forward", True, f"{seen.forward or 'unknown'}; the docker role keeps it at 1"
    )


def _traits(seen: Fitness, spec: HostSpec, now: float) -> Iterator[Check]:
    evidence = f"umask {seen.umask or '?'}, /tmp on {seen.tmp or '?'}, SELinux {seen.selinux or 'absent'}"
    yield Check(
        "traits: umask, /tmp, SELinux",
        True,
        f"{evidence}; modes are set explicitly and nothing large goes through /tmp",
    )


Judge = Callable[[Fitness, HostSpec, float], Iterator[Check]]
# Name (as in preflight.skip) -> judge. Their order is the order of the report.
JUDGES: dict[str, Judge] = {
    "os": _os,
    "machine": _machine,
    "systemd": _systemd,
    "python3": _python,
    "clock": _clock,
    "memory": _memory,
    "avx": _avx,
    "disk": _disk,
    "packages": _packages,
    "iptables": _iptables,
    "ports": _ports,
    "subnets": _subnets,
    "forwarding": _forwarding,
    "traits": _traits,
}
