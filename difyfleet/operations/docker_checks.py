"""What can be asserted of Docker on a host. Reads only."""

from __future__ import annotations

from collections.abc import Iterator

from pyinfra import host

from difyfleet.checks import Check
from difyfleet.facts.docker import DockerService, IpForward
from difyfleet.facts.engine import RpmEngineState, StaticEngineFiles
from difyfleet.facts.mirrors import MirrorProbe
from difyfleet.operations import daemon_json, rpm, service
from difyfleet.operations import engine as static_engine
from difyfleet.operations import mirrors as registry_mirrors
from difyfleet.operations.fitness import OLDEST_ENGINE
from difyfleet.operations.rpm import fits
from difyfleet.spec.models import HostSpec

_APPLY = "run apply; it mends this"


def engine(spec: HostSpec, seen: DockerService) -> Iterator[Check]:
    """The service, the versions, the programs."""
    docker, info = spec.docker, seen.info
    state = f"{seen.active} ({seen.sub})"
    limited = seen.result == "start-limit-hit"
    hint = (
        "too many starts in 60 s: systemctl reset-failed docker; journalctl -u docker -n 50"
        if limited
        else _APPLY
    )
    yield Check(
        "docker.service: running",
        seen.running,
        f"{state}, {seen.result}" if seen.result not in ("", "success") else state,
        hint,
    )
    yield Check(
        "docker.service: enabled at boot", seen.enabled == "enabled", seen.enabled or "no unit", _APPLY
    )
    yield Check(
        "docker.service: the unit is difyfleet's",
        not service.unit_differences(),
        seen.fragment or "no unit",
        _APPLY,
    )
    yield Check(
        "docker: daemon answers",
        info is not None,
        f"version {info.version}" if info else "no answer",
        "journalctl -u docker -n 50",
    )
    version, compose = (info.version, info.compose) if info else ("", "")
    yield Check(
        f"docker: version {docker.version}", fits(version, docker.version), version or "unknown", _APPLY
    )
    numbers = tuple(
        int(part) for part in version.split("+")[0].split("-")[0].split(".")[:3] if part.isdigit()
    )
    yield Check(
        "docker: 20.10.10 or later",
        numbers >= OLDEST_ENGINE,
        version or "unknown",
        "older engines keep modern images from starting threads",
    )
    yield Check(
        f"compose: version {docker.compose_version}",
        fits(compose, docker.compose_version),
        compose or "no plugin",
        _APPLY,
    )
    if docker.method == "static":
        changed = static_engine.differences(
            docker, host.get_fact(StaticEngineFiles, paths=static_engine.PATHS)
        )
    else:
        changed = rpm.differences(docker, host.get_fact(RpmEngineState))
    yield Check("docker: programs as installed", not changed, "; ".join(changed) or docker.method, _APPLY)
    yield Check("docker: no restart outstanding", not seen.pending, "; ".join(seen.pending) or "none", _APPLY)


def settings(spec: HostSpec, seen: DockerService) -> Iterator[Check]:
    """daemon.json, what of it is in force, forwarding, the firewall."""
    decision = daemon_json.decide(spec.docker, spec.wanted_images)
    evidence = ", ".join(decision.changed) if decision.differs else f"{len(decision.new)} settings"
    yield Check("daemon.json: as the inventory wants it", not decision.differs, evidence, _APPLY)
    info, mirrors = seen.info, tuple(registry_mirrors.entry(decision.new.get("registry-mirrors")))
    if info is not None:
        yield Check(
            "daemon.json: mirrors in effect",
            info.mirrors == mirrors,
            ", ".join(info.mirrors) or "none",
            _APPLY,
        )
        live = bool(decision.new.get("live-restore", False))
        yield Check(
            "daemon.json: live-restore in effect",
            info.live_restore == live,
            str(info.live_restore).lower(),
            _APPLY,
        )
        driver = str(decision.new.get("log-driver", "json-file"))
        options = decision.new.get("log-opts") or {}
        rotated = driver != "json-file" or "max-size" in options
        yield Check(
            "daemon.json: log rotation in effect",
            info.log_driver == driver and rotated,
            f"{info.log_driver}, {options.get('max-size', 'no limit')} x {options.get('max-file', 1)}",
            _APPLY,
        )
        root = str(decision.new.get("data-root", daemon_json.DEFAULT_ROOT))
        yield Check(f"daemon.json: data root {root}", info.root == root, info.root, _APPLY)
    forward = host.get_fact(IpForward)
    written = "0" not in dict(forward.lines).get("/etc/sysctl.conf", "1")
    yield Check(
        "forwarding: on, and on after a boot",
        forward.value == "1" and written,
        f"ip_forward {forward.value}",
        _APPLY,
    )
    if seen.chains is not None:
        chains = "present" if seen.chains else "gone"
        hint = "firewalld or iptables was restarted after Docker; run apply, which restarts Docker"
        yield Check("firewall: Docker's chains", seen.chains, f"{chains}; firewalld {seen.firewalld}", hint)


def mirrors(spec: HostSpec) -> Iterator[Check]:
    """One warning per mirror that was left out, and per mirror in use that does not answer today."""
    docker = spec.docker
    found = registry_mirrors.known(docker, spec.wanted_images)
    hint = "take it out of docker.mirrors, or try all again: difyfleet apply INVENTORY --reprobe-mirrors"
    for url, reason in found.left_out.items():
        when = found.answers[url].when
        yield Check(
            f"mirror {url}: left out", False, f"{reason}{f' (asked {when})' if when else ''}", warn_only=True
        )
    if docker.mirror_probe and found.alive:
        image = registry_mirrors.probe_image(spec.wanted_images)
        today = host.get_fact(MirrorProbe, urls=found.alive, timeout=docker.mirror_timeout, image=image)
        for url in found.alive:
            answer = today.get(url)
            yield Check(
                f"mirror {url}: answers",
                bool(answer and answer.alive),
                answer.reason if answer else "not asked",
                hint,
                warn_only=True,
            )
    if docker.mirrors and docker.mirror_probe and not found.alive:
        yield Check(
            "mirrors: at least one answers", False, "Docker Hub is asked directly", hint, warn_only=True
        )
