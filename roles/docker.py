"""Docker Engine, the Compose plugin, daemon.json with the registry mirrors that answer."""

from __future__ import annotations

from collections.abc import Iterator

from pyinfra import host

from difyfleet.checks import Check
from difyfleet.facts.docker import Docker as DockerFact
from difyfleet.operations import daemon_json, docker_checks, engine, rpm, service
from difyfleet.spec.models import HostSpec

NAME = "docker"


def wanted(spec: HostSpec) -> bool:
    return True


def converge(spec: HostSpec) -> None:
    docker, images = spec.docker, spec.wanted_images

    if spec.preflight.remove_conflicting_packages:
        rpm.conflicting_absent(name="other container engines removed")
    service.forwarding(name="IPv4 forwarding")

    if docker.method == "rpm":
        rpm.repository(docker, name="package repository")
        rpm.packages(
            docker, name=f"Docker {docker.version} and Compose {docker.compose_version} from packages"
        )
    else:
        engine.static(
            docker,
            spec.offline,
            name=f"Docker {docker.version} and Compose {docker.compose_version} from the static archive",
        )

    service.unit(name="docker.service")
    daemon_json.configured(docker, images, name="daemon.json with the mirrors that answer")
    service.running(docker, images, name="Docker running with these settings")


def checks(spec: HostSpec) -> Iterator[Check]:
    yield from docker_checks.engine(spec, host.get_fact(DockerFact))
    yield from docker_checks.settings(spec, host.get_fact(DockerFact))
    yield from docker_checks.mirrors(spec)
