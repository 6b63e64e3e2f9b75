"""`difyfleet lock INVENTORY`: find out what tags and versions mean, from the hosts that have it, else from registries asked by a host.

What a provisioned host runs is what was tried, so it is asked first. Only for what no host has (and for what is to be moved, `--update`)
a registry is asked. Nothing is changed on a host.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any

from difyfleet.facts.docker import Docker as DockerFact
from difyfleet.facts.engine import StaticEngineFiles
from difyfleet.facts.images import LocalImages
from difyfleet.facts.mirrors import MirrorRecord
from difyfleet.facts.ollama import HASH_TIMEOUT, OllamaStore
from difyfleet.facts.registry import TIMEOUT, Answer, Place, RegistryAnswers, image_places, model_places
from difyfleet.fleet.each import Outcome, on_each
from difyfleet.remote.upload import sha256_of
from difyfleet.spec.engine_files import engine_files
from difyfleet.spec.lock import Entry, Lock, LockedImage, LockedModel, same, text_of
from difyfleet.spec.models import HostSpec
from difyfleet.spec.pins import Pin, described, pins
from difyfleet.spec.values import model_name, repository, stands_for

Key = tuple[str, str]  # kind and name, as in Lock.entries()


@dataclass(frozen=True)
class Move:
    """One line of what locking changed; old or new is None where there was, or is, nothing."""

    kind: str
    name: str
    old: str | None
    new: str | None
    source: str = ""  # the host that has it, or `registry (asked by HOST)`

    def __str__(self) -> str:
        what = f"{described(self.kind, self.name)}:"
        if self.new is None:
            return f"{what} dropped, no host declares it"
        came = f" from {self.source}" if self.source else ""
        return f"{what} {self.new}{came}" if self.old is None else f"{what} {self.old} -> {self.new}{came}"


@dataclass(frozen=True)
class Locking:
    """What was found out: the new lock, or why there is none."""

    lock: Lock | None
    moves: tuple[Move, ...] = ()
    problems: tuple[str, ...] = ()


Ask = Callable[[Sequence[HostSpec], Callable[[Any, HostSpec], Any]], list[Outcome[Any]]]


def make(
    fleet: Sequence[HostSpec],
    chosen: Sequence[HostSpec],
    previous: Lock | None,
    *,
    update: AbstractSet[str] = frozenset(),
    installed: bool = False,
    ask: Ask = on_each,
) -> Locking:
    """Lock everything that the fleet declares.

    Args:
        fleet: all hosts of the inventory, loaded without its lock file.
        chosen: those that may be asked.
        previous: the lock so far; its entries stand.
        update: groups (pins.GROUPS) whose entries do not.
        installed: take what the hosts have, ask no registry.
        ask: calls a function on each of some hosts.
    """
    declared = {pin.key: pin for spec in fleet for pin in pins(spec)}
    before = previous.entries() if previous else {}
    moving = {pin.key for spec in fleet for pin in pins(spec) if pin.group in update}
    entries: dict[Key, Entry] = {key: before[key] for key in declared if key in before and key not in moving}
    found = _Found(entries)
    found.given(fleet, declared)
    if found.open(declared):
        of_hosts = set(declared) if installed else set(declared) - moving
        found.on_hosts(
            [spec for spec in chosen if _keys(spec) & found.open(declared) & of_hosts], of_hosts, ask
        )
    if found.open(declared) and not installed and not found.problems:
        found.in_registries(chosen, found.open(declared), ask)
    if not found.problems:
        found.problems += [f"{declared[key]}: no host has it" for key in sorted(found.open(declared))]
    if found.problems:
        return Locking(None, problems=tuple(found.problems))
    return Locking(Lock.of(entries), tuple(_moves(before, entries, found.sources)))


def _keys(spec: HostSpec) -> set[Key]:
    return {pin.key for pin in pins(spec)}


def _moves(
    before: Mapping[Key, Entry], after: Mapping[Key, Entry], sources: Mapping[Key, str]
) -> Iterable[Move]:
    for key in sorted({*before, *after}):
        old, new = (text_of(side[key]) if key in side else None for side in (before, after))
        if before.get(key) != after.get(key):
            yield Move(*key, old, new, sources.get(key, ""))


class _Found:
    """Entries as they are found out, with their sources and what went wrong."""

    def __init__(self, entries: dict[Key, Entry]) -> None:
        self.entries = entries
        self.sources: dict[Key, str] = {}
        self.problems: list[str] = []

    def open(self, declared: Mapping[Key, Pin]) -> set[Key]:
        return set(declared) - set(self.entries)

    def given(self, fleet: Iterable[HostSpec], declared: Mapping[Key, Pin]) -> None:
        """Hashes that stand in the inventory, and of files that lie on the controller: nobody has to be asked."""
        files = {(file.kind, file.version): file for spec in fleet for file in engine_files(spec.docker)}
        for key, file in files.items():
            if key in declared:
                sha256 = file.sha256 or (sha256_of(file.file) if file.file else None)
                if sha256 is not None:
                    if key not in self.entries:
                        self.sources[key] = "the inventory"
                    self.entries[key] = f"sha256:{sha256}"

    def on_hosts(self, specs: Sequence[HostSpec], keys: set[Key], ask: Ask) -> None:
        """What the hosts have. Two that differ cannot both be right."""
        wanted = keys - set(self.entries)
        if not specs:
            return
        for outcome in ask(specs, lambda on, spec: has(on, spec, wanted)):
            if outcome.error:
                self.problems.append(f"{outcome.host}: {outcome.error}")
            for key, entry in (outcome.value or {}).items():
                self._take(key, entry, outcome.host)

    def _take(self, key: Key, entry: Entry, host: str) -> None:
        other = self.entries.get(key)
        if other is None:
            self.entries[key], self.sources[key] = entry, host
        elif same(entry, other):
            self.entries[key] = _merged(other, entry)
        else:
            self.problems.append(
                f"{described(*key)}: {self.sources[key]} has {text_of(other)}, {host} has {text_of(entry)}; "
                "say with --limit which host is right"
            )

    def in_registries(self, chosen: Sequence[HostSpec], keys: set[Key], ask: Ask) -> None:
        """What registries say; each is asked by the first host that declares the thing, else by the first of all."""
        shares: dict[str, set[Key]] = {}
        for key in keys:
            asking = next((spec for spec in chosen if key in _keys(spec)), chosen[0])
            shares.setdefault(asking.name, set()).add(key)
        specs = [spec for spec in chosen if spec.name in shares]
        for outcome in ask(specs, lambda on, spec: asked(on, spec, shares[spec.name])):
            if outcome.error:
                self.problems.append(f"{outcome.host}: {outcome.error}")
            for key, answer in (outcome.value or {}).items():
                self._answered(key, answer, outcome.host, chosen)

    def _answered(self, key: Key, answer: Answer, host: str, chosen: Sequence[HostSpec]) -> None:
        digests = {wanted for spec in chosen for wanted in declared_digests(spec, key)}
        if answer.error is not None:
            self.problems.append(f"{described(*key)}: not to be found out; asked by {host}: {answer.error}")
        elif any(not answer.digest.removeprefix("sha256:").startswith(wanted) for wanted in digests):
            self.problems.append(
                f"{described(*key)}: {answer.place} has {answer.digest[7:19]}, ollama.models says {min(digests)[:12]}"
            )
        else:
            self.entries[key] = entry_of(key[0], answer)
            self.sources[key] = f"{answer.place} (asked by {host})"


def _merged(one: Entry, other: Entry) -> Entry:
    if isinstance(one, LockedImage) and isinstance(other, LockedImage):
        return LockedImage(digest=one.digest or other.digest, id=one.id or other.id)
    return one


def declared_digests(spec: HostSpec, key: Key) -> list[str]:
    """Digests (or their first digits) that the inventory itself gives a model."""
    return [
        model.digest
        for model in spec.ollama.declared()
        if key == ("model", model.name) and model.digest is not None
    ]


def entry_of(kind: str, answer: Answer) -> Entry:
    """A registry's answer as an entry."""
    if kind == "image":
        return LockedImage(digest=answer.digest, id=answer.config)
    return LockedModel(digest=answer.digest, blobs=dict(answer.blobs)) if kind == "model" else answer.digest


def has(on: Any, spec: HostSpec, keys: AbstractSet[Key]) -> dict[Key, Entry]:
    """Which of these a host has, and what they are there. Reads only."""
    names: dict[str, list[str]] = {}
    for pin in pins(spec):
        if pin.key in keys:
            names.setdefault(pin.kind, []).append(pin.name)
    found: dict[Key, Entry] = {}
    if "image" in names:
        images = tuple(dict.fromkeys(names["image"]))
        found.update(_images(on, images))
    if "model" in names:
        store = on.get_fact(OllamaStore, data_dir=spec.ollama.data_dir, _timeout=HASH_TIMEOUT)
        for name in map(model_name, names["model"]):
            model = store.models.get(name)
            right = declared_digests(spec, ("model", name))
            if model and model.complete and all(model.digest.startswith(digest) for digest in right):
                blobs = {blob.digest: blob.size for blob in model.blobs}
                found["model", name] = LockedModel(digest=f"sha256:{model.digest}", blobs=blobs)
    if "engine" in names or "compose" in names:
        record = on.get_fact(StaticEngineFiles, paths=()).manifest or {}
        for kind, version, digest in (
            ("engine", "version", "archive_sha256"),
            ("compose", "compose_version", "compose_sha256"),
        ):
            if record.get(version) in names.get(kind, ()) and record.get(digest):
                found[kind, record[version]] = f"sha256:{record[digest]}"
    return found


def _images(on: Any, references: tuple[str, ...]) -> dict[Key, Entry]:
    found: dict[Key, Entry] = {}
    there = on.get_fact(LocalImages, names=references)
    if not there:
        return found
    info = on.get_fact(DockerFact).info
    for reference in references:
        image = next((one for one in there if stands_for(reference, one.tags, one.digests)), None)
        if image is None:
            continue
        here = f"{repository(reference)}@"
        pulled = sorted(one.partition("@")[2] for one in image.digests if one.startswith(here))
        by_manifest = image.id in pulled or bool(info and info.storage_driver == "overlayfs")
        asked_for = reference.partition("@")[2]
        digest = image.id if by_manifest else asked_for or (pulled[0] if pulled else None)
        found["image", reference] = LockedImage(digest=digest, id=None if by_manifest else image.id)
    return found


def asked(on: Any, spec: HostSpec, keys: AbstractSet[Key]) -> dict[Key, Answer]:
    """What registries say of these, asked from a host. Reads only."""
    record = on.get_fact(MirrorRecord)
    docker = spec.docker
    mirrors = [
        url
        for url in dict.fromkeys(url.rstrip("/") for url in docker.mirrors)
        if url not in record or record[url].alive
    ]
    unsafe: dict[Key, Answer] = {}
    questions: list[tuple[Key, list[Place]]] = []
    files = {(file.kind, file.version): file for file in engine_files(docker)}
    for key in sorted(keys):
        url = files[key].url if key in files else None
        if key[0] == "image":
            places = image_places(
                key[1], mirrors, insecure=docker.insecure_registries, timeout=docker.mirror_timeout
            )
        elif key[0] == "model":
            places = model_places(key[1])
        elif url and url.startswith("https://"):
            places = [{"file": url}]
        else:
            words = f"no SHA-256 for {url}, and http cannot be trusted without one; set {files[key].key}"
            unsafe[key] = Answer(error=words if url else "not declared by this host")
            continue
        questions.append((key, places))
    answers = dict(unsafe)
    if questions:
        answers |= on.get_fact(RegistryAnswers, questions=tuple(questions), _timeout=TIMEOUT)
    silent = Answer(error="the host gave no answer (is python3 there?)")
    return {key: answers.get(key, silent) for key in sorted(keys)}
