"""The preflight's judgement of room on disk: asked for what is still missing only."""

from __future__ import annotations

from collections.abc import Iterator

from difyfleet.checks import Check
from difyfleet.facts.fitness import Fitness
from difyfleet.spec.models import HostSpec
from difyfleet.spec.values import with_tag

GIB = 1024**3
IMAGE_SHARE = 13.5 / (13.5 + 6.7)  # of the disk asked for: the document's images against its models
SPARE_GIB = 2.0  # free room below which a host that has everything is warned of


def data_folders(spec: HostSpec) -> tuple[str, ...]:
    """Folders whose file systems must have room, Docker's first."""
    folders = [spec.docker.data_root]
    if spec.ollama.enabled:
        folders.append(spec.ollama.data_dir)
    return tuple(dict.fromkeys(folders))


def disk(seen: Fitness, spec: HostSpec, now: float) -> Iterator[Check]:
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


def manifest_path(model: str) -> str:
    """Where Ollama keeps a model's manifest, below models/manifests."""
    path, _, tag = model.rpartition(":")
    parts = path.split("/")
    registry = parts.pop(0) if len(parts) > 2 else "registry.ollama.ai"
    return "/".join([registry, *(parts if len(parts) > 1 else ["library", *parts]), tag])
