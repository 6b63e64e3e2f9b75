"""Every image the host runs, pulled by the host itself through its mirrors or (offline) loaded from what was pushed, and proof that a modern image can start a thread."""

from __future__ import annotations

from collections.abc import Iterator

from difyfleet.checks import Check
from difyfleet.facts.pushed import PUSH
from difyfleet.operations import canary, image_work, images, jobs, pushed
from difyfleet.spec.models import HostSpec

NAME = "images"


def wanted(spec: HostSpec) -> bool:
    return bool(spec.wanted_images)


def converge(spec: HostSpec) -> None:
    name = f"{len(spec.wanted_images)} images"
    if spec.offline:
        models_dir = f"{spec.ollama.data_dir}/models"
        pushed.loaded(spec.wanted_images, models_dir, spec.locked_images, name=name)
        jobs.forgotten("image", name="no jobs left over")
    else:
        images.pulled(spec.wanted_images, spec.docker.data_root, spec.locked_images, name=name)
        jobs.forgotten("take", name="no transfers left over")
    canary.thread(canary.trials(spec), spec.docker.version, name="canary: a container can start a thread")


def checks(spec: HostSpec) -> Iterator[Check]:
    locked = spec.locked_images
    seen, recorded = images.see(spec.wanted_images, locked)
    there = seen or ()
    for image in spec.wanted_images:
        found = image_work.present(image, there)
        wrong = image_work.Meant(image, locked.get(image), recorded.get(image)).difference(found)
        evidence = wrong or (found.id[7:19] if found else "absent")
        hint = PUSH if spec.offline else "run apply; it pulls or tags the image again"
        yield Check(f"image {image}: there", wrong is None, evidence, hint)
    version = spec.docker.version
    yield Check(
        "canary: a container can start a thread", canary.answered(version), f"Docker {version}", "run apply"
    )
