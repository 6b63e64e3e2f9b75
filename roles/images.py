"""Every image the host runs, pulled by the host itself through its mirrors, and proof that a modern image can start a thread."""

from __future__ import annotations

from collections.abc import Iterator

from difyfleet.checks import Check
from difyfleet.operations import canary, images
from difyfleet.spec.models import HostSpec

NAME = "images"


def wanted(spec: HostSpec) -> bool:
    return bool(spec.wanted_images)


def converge(spec: HostSpec) -> None:
    images.pulled(spec.wanted_images, spec.docker.data_root, name=f"{len(spec.wanted_images)} images")
    canary.thread(canary.trials(spec), spec.docker.version, name="canary: a container can start a thread")


def checks(spec: HostSpec) -> Iterator[Check]:
    seen, recorded = images.see(spec.wanted_images)
    there = seen or ()
    for image in spec.wanted_images:
        found = images.present(image, there)
        known = recorded.get(image)
        same = found is not None and known in (None, found.id)
        evidence = (
            "absent"
            if found is None
            else found.id[7:19]
            if same
            else f"{found.id[7:19]}, {str(known)[7:19]} was pulled"
        )
        yield Check(f"image {image}: there", same, evidence, "run apply; it pulls or tags the image again")
    version = spec.docker.version
    yield Check(
        "canary: a container can start a thread", canary.answered(version), f"Docker {version}", "run apply"
    )
