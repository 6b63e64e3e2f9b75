"""Holding an inventory to its lock file: every declared image, model and engine must be in it, and each HostSpec gets what it says."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from difyfleet.errors import SpecError
from difyfleet.spec.annotations import without_empty_sections
from difyfleet.spec.document import Node, read
from difyfleet.spec.engine_files import engine_files
from difyfleet.spec.explain import explain, given
from difyfleet.spec.lock import VERSION, Lock
from difyfleet.spec.models import Docker, HostSpec, Model, Ollama
from difyfleet.spec.problems import Position, Problems
from difyfleet.spec.values import model_name

GROUPS = ("ollama", "dify", "openwebui", "models", "docker")  # what `lock --update` moves
_PLACES = {"engine": ("docker", "engine"), "compose": ("docker", "compose")}  # of a kind in the file


@dataclass(frozen=True)
class Pin:
    """One thing that a host declares and a lock file pins.

    Args:
        kind: engine, compose, image or model.
        name: version, reference, or model name with tag.
        group: one of GROUPS.
        at: section and key path below it.
    """

    kind: str
    name: str
    group: str
    at: tuple[str | int, ...]

    @property
    def key(self) -> tuple[str, str]:
        return self.kind, self.name

    def __str__(self) -> str:
        return described(*self.key)


def described(kind: str, name: str) -> str:
    """An entry in words: `image nginx:1.27.3`, `Docker Engine 28.5.2`."""
    return f"{ {'engine': 'Docker Engine', 'compose': 'Compose'}.get(kind, kind) } {name}"


def pins(spec: HostSpec) -> Iterator[Pin]:
    """All that a host declares. Packages (docker.method rpm) are pinned by their versions and signatures, not here."""
    if spec.docker.method == "static":
        yield Pin("engine", spec.docker.version, "docker", ("docker", "version"))
        yield Pin("compose", spec.docker.compose_version, "docker", ("docker", "compose_version"))
    if spec.ollama.enabled:
        yield Pin("image", spec.ollama.image, "ollama", ("ollama", "image"))
        for i, entry in enumerate(spec.ollama.models):
            name = model_name(entry if isinstance(entry, str) else entry.name)
            yield Pin("model", name, "models", ("ollama", "models", i))
    if spec.dify.enabled:
        for key, image in spec.dify.images:
            yield Pin("image", str(image), "dify", ("dify", "images", key))
    if spec.openwebui.enabled:
        yield Pin("image", spec.openwebui.image, "openwebui", ("openwebui", "image"))


def read_lock(path: Path, problems: Problems) -> tuple[Lock, Node] | None:
    """A lock file, or None where there is none or it is wrong (then `problems` says so, with positions).

    Raises:
        SpecError: it cannot be read at all.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError(f"cannot be read: {error}", where=str(path)) from None
    root = read(text, str(path), problems)
    if root is None or root.kind != "mapping":
        if not problems:
            at, words = (root.at, given(root)) if root else (Position(1, 1, str(path)), "nothing")
            problems.error(at, "", f"should hold a lock, not {words}; delete the file and lock again")
        return None
    version = root.child("version")
    if version is not None and version.value != VERSION and isinstance(version.value, int):
        text = f"is {version.value}; this difyfleet reads {VERSION}: use the difyfleet that wrote it, or delete it and lock again"
        problems.error(version.at, "version", text)
        return None
    try:
        plain = without_empty_sections(root, Lock)
        return Lock.model_validate_json(json.dumps(plain), strict=True), root
    except ValidationError as error:
        explain(error, Lock, root, problems)
        return None


def hold(
    spec: HostSpec,
    nodes: Mapping[str, Node | None],
    host: Node,
    lock: Lock,
    inventory: str,
    problems: Problems,
) -> HostSpec:
    """The spec with everything pinned; what is not in the lock file, or said otherwise by the inventory, becomes an error.

    Args:
        nodes: each section as written, None where all is default.
        host: the host's own entry.
        inventory: as the operator wrote it, for the command in errors.
    """
    place = _Places(nodes, host)
    entries = lock.entries()
    missing = [pin for pin in pins(spec) if pin.key not in entries]
    for pin in missing:
        text = f"{pin} is not in the lock file; run: difyfleet lock {inventory}"
        problems.error(*place(*pin.at), text)
    if missing:
        return spec
    return spec.model_copy(
        update={
            "docker": _docker(spec.docker, lock, place, problems),
            "ollama": _ollama(spec.ollama, lock, place, problems),
            "locked_images": {image: lock.images[image] for image in sorted(spec.wanted_images)},
        }
    )


class _Places:
    """Positions of what a host declares: where it is written, else the nearest thing around it."""

    def __init__(self, nodes: Mapping[str, Node | None], host: Node) -> None:
        self._nodes, self._host = nodes, host

    def __call__(self, section: str | int, *steps: str | int) -> tuple[Position, str]:
        path = ".".join(map(str, (section, *steps)))
        node = self._nodes.get(str(section))
        if node is None:
            return self._host.key_at, f"{self._host.path}.{path}"
        for step in steps:
            child = node.child(step)
            if child is None:
                return node.key_at, path
            node = child
        return node.at, node.path


def _docker(docker: Docker, lock: Lock, place: _Places, problems: Problems) -> Docker:
    if docker.method != "static":
        return docker
    update = {}
    for file, locked in zip(engine_files(docker), (lock.docker.engine, lock.docker.compose), strict=True):
        sha256 = locked[file.version].removeprefix("sha256:")
        if file.sha256 not in (None, sha256):
            key = file.key.rpartition(".")[2]
            text = f"{file.name}: the inventory says {str(file.sha256)[:12]}, the lock file {sha256[:12]}; --update docker locks it anew"
            problems.error(*place("docker", "bundle", key), text)
        update["sha256" if file.kind == "engine" else "compose_sha256"] = sha256
    return docker.model_copy(update={"bundle": docker.bundle.model_copy(update=update)})


def _ollama(ollama: Ollama, lock: Lock, place: _Places, problems: Problems) -> Ollama:
    if not ollama.enabled:
        return ollama
    models: list[Model | str] = []
    for i, entry in enumerate(ollama.models):
        model = Model(name=entry) if isinstance(entry, str) else entry
        locked = lock.models[model_name(model.name)]
        if model.digest and not locked.hex.startswith(model.digest):
            text = f"the inventory says {model.digest[:12]}, the lock file {locked.hex[:12]}; --update models locks it anew"
            problems.error(*place("ollama", "models", i, "digest"), text)
        models.append(model.model_copy(update={"digest": locked.hex}))
    return ollama.model_copy(update={"models": models})


def warn_of_leftovers(
    specs: Iterable[HostSpec], lock: Lock, node: Node, inventory: str, problems: Problems
) -> None:
    """Warn of entries that no host declares any more."""
    declared = {pin.key for spec in specs for pin in pins(spec)}
    for kind, name in lock.entries():
        if (kind, name) not in declared:
            found = node.find(*_PLACES.get(kind, (f"{kind}s",)), name)
            at = found.key_at if found else node.at
            text = f"{described(kind, name)}: no host declares it; difyfleet lock {inventory} drops it"
            problems.warn(at, "", text)
