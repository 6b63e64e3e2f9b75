"""Judging a host before the first change to it: pure functions from what was read to named checks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from difyfleet.checks import Check
from difyfleet.facts.fitness import CONFLICTING, UPSTREAM, Fitness
from difyfleet.operations import fitness_disk, fitness_network
from difyfleet.spec.models import HostSpec

MAX_SKEW = 120  # seconds; beyond that TLS and signed tokens fail in ways that name neither
OLDEST_ENGINE = (
    20,
    10,
    10,
)  # its seccomp profile is the first to answer clone3 with ENOSYS: older ones break glibc >= 2.34


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
    "disk": fitness_disk.disk,
    "packages": _packages,
    "iptables": _iptables,
    "ports": fitness_network.ports,
    "subnets": fitness_network.subnets,
    "forwarding": _forwarding,
    "traits": _traits,
}
