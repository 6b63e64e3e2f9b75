"""Every image the host runs, pulled by the host itself through its mirrors or (offline) loaded from what was pushed."""

from __future__ import annotations

from collections.abc import Iterator

from difyfleet.checks import Check
from difyfleet.facts.pushed import PUSH
from difyfleet.operations import canary, image_work, images, jobs, pushed
from difyfleet.spec.models import HostSpec
from difyfleet.stack import Part

NAME = "images"


def wanted(spec: HostSpec) -> bool:
    return bool(spec.wanted_images)


def converge(spec: HostSpec) -> None:
    """All of them begin to come. Only Ollama's is waited for: its models are most of what a first install downloads."""
    everything, locked = spec.wanted_images, spec.locked_images
    if spec.offline:
        models_dir = f"{spec.ollama.data_dir}/models"
        pushed.loaded(everything, models_dir, locked, name=f"{len(everything)} images")
        jobs.forgotten("image", name="no jobs left over")
        return
    first = (spec.ollama.image,) if spec.ollama.enabled else ()
    images.begun(everything, locked, first, name="pulls under way")
    if first:
        images.pulled(everything, spec.docker.data_root, locked, first, name="Ollama's image")


def wait_for_all(spec: HostSpec) -> None:
    """The second part, after Ollama's start; and proof that a modern image can start a thread."""
    if not spec.offline:
        name = f"{len(spec.wanted_images)} images"
        images.pulled(spec.wanted_images, spec.docker.data_root, spec.locked_images, name=name)
        jobs.forgotten("take", name="no transfers left over")
    canary.thread(canary.trials(spec), spec.docker.version, name="canary: a container can start a thread")


all_there = Part(NAME, wanted, wait_for_all)


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
