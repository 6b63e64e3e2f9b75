"""Images and models out of the store that `difyfleet bundle push` has filled: how hosts with `offline: true` get them.

Nothing here reaches for a network. The work is a job of the host's, as a pull is: cut the connection and it goes on.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Generator, Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pyinfra import host

from difyfleet.errors import HostError
from difyfleet.facts.ollama import Store
from difyfleet.facts.pushed import BLOBS, PUSH, InstalledParts, Pushed, PushedBundle, PushedModel
from difyfleet.operations.base import Change, call, operation
from difyfleet.operations.image_work import NO_LOCK, Locked, work
from difyfleet.operations.images import assumed, record, retag, see
from difyfleet.operations.onhost import execute
from difyfleet.remote.jobs import Job, run_to_end
from difyfleet.spec.values import with_tag

LOAD_SECONDS = 2 * 3600  # a 5 GB image on a slow disk: hashed, copied by docker load, unpacked
_SCRIPT = Path(__file__).with_name("load_script.py")


@operation
def loaded(images: tuple[str, ...], models_dir: str, locked: Locked = NO_LOCK) -> Generator[Any, None, None]:
    """Every image there, loaded from what was pushed, under the ID that the lock file or the bundle names.

    Args:
        models_dir: Ollama's folder `models`, for what Ollama has already.

    Raises:
        HostError: an image is neither there nor pushed, or the pushed one is not the locked one.
    """
    there, recorded = see(images, locked)
    seen = assumed(images, recorded) if there is None else there
    todo = work(images, seen, recorded, locked)
    lacking = [image for image in images if work((image,), seen, recorded, locked).pull]
    pushed: Pushed = host.get_fact(PushedBundle) if lacking else Pushed()
    if lacking and (there is not None or not recorded):  # of a stopped Docker nobody knows its layers
        installed = host.get_fact(InstalledParts, models=models_dir, folders=())
        _require(lacking, pushed, () if installed.containerd else installed.chains, locked)
    for image, note in _notes(todo.notes, lacking, pushed):
        yield Change(f"{note}; loaded from the pushed bundle" if image in lacking else note)
    for image in lacking:
        yield call(load, image)
    known = tuple(pair for pair in todo.retag if pair[1] not in lacking)
    if known:
        yield call(retag, known)
    if todo.notes:
        yield call(record, images, locked)


def _notes(notes: Iterable[str], lacking: Iterable[str], pushed: Pushed) -> Iterable[tuple[str, str]]:
    """Each note with the image it is about; that of a lacking image without the words that are a registry's."""
    by_start = {f"image {image}: ": image for image in lacking}
    for note in notes:
        start = next((each for each in by_start if note.startswith(each)), "")
        image = by_start.get(start, "")
        if image in pushed.contents.images:
            size = pushed.contents.size_of(pushed.contents.images[image].digests)
            note = f"{note.removesuffix('; pulled by its digest and tagged')} ({size / 1e6:.0f} MB)"
        yield image, note


def _require(
    images: Iterable[str], pushed: Pushed, chains: tuple[tuple[str, ...], ...], locked: Locked
) -> None:
    lost = []
    for image in images:
        found = pushed.contents.images.get(image)
        if found is None:
            lost.append(f"image {image}: neither on the host nor in what was pushed")
            continue
        pin = locked.get(image)
        if pin is not None and not ({found.id, found.manifest} & {pin.id, pin.digest}):
            lost.append(f"image {image}: pushed is {found.id[7:19]}, locked is {pin}")
            continue
        missing = pushed.missing((found.id, found.manifest, *found.layers_beyond(chains)))
        if missing:
            lost.append(f"image {image}: {len(missing)} of its blobs are not on the host")
    if lost:
        raise HostError("cannot be loaded\n  " + "\n  ".join(lost), where="images", hint=PUSH)


def load(on: Any, image: str) -> None:
    """Have the host load an image, and wait for it; afterwards the store keeps nothing of it that no other image needs.

    Raises:
        HostError: it failed, with the words of the host.
    """
    pushed: Pushed = on.get_fact(PushedBundle)
    found = pushed.contents.images.get(image)
    if found is None:
        raise HostError("was not pushed", where=f"image {image}", hint=PUSH)
    others = [
        other.digests
        for other in pushed.contents.images.values()
        if other.reference != image and not pushed.missing((other.id,))
    ]
    plain = {**asdict(found), "tag": with_tag(image)}
    _run(on, "image", image, {"store": BLOBS, "image": plain, "release": _only(found.digests, others)})


def bring_in(on: Any, name: str, data_dir: str, remove: list[str]) -> None:
    """Have the host move a pushed model into Ollama's folder: blobs first, the manifest last; and wait for it.

    Args:
        remove: damaged files to take away first.

    Raises:
        HostError: it failed, with the words of the host.
    """
    pushed: Pushed = on.get_fact(PushedBundle)
    found = pushed.contents.models.get(name)
    if found is None:
        raise HostError("was not pushed", where=f"model {name}", hint=PUSH)
    others = [other.digests for other in pushed.contents.models.values() if other.name != name]
    release = _only(found.digests, others)
    job = {"store": BLOBS, "model": asdict(found), "models": f"{data_dir}/models", "release": release}
    for path in remove:
        ok, words = execute(on, f"rm -f {shlex.quote(path)}", timeout=60)
        if not ok:
            raise HostError(f"could not be removed: {words}", where=path)
    _run(on, "model", name, job)


def _only(own: Iterable[str], others: Iterable[Iterable[str]]) -> list[str]:
    """Those digests that none of the others has."""
    kept = {digest for each in others for digest in each}
    return [digest for digest in own if digest not in kept]


def require_model(name: str, digest: str | None, store: Store) -> PushedModel:
    """The pushed model, all of whose parts are on the host, in the pushed store or in Ollama's.

    Args:
        digest: the manifest digest that it must have, at least its beginning; None = any.

    Raises:
        HostError: it is not, or it is another one than declared.
    """
    pushed: Pushed = host.get_fact(PushedBundle)
    found, where = pushed.contents.models.get(name), f"model {name}"
    if found is None:
        raise HostError("neither on the host nor in what was pushed", where=where, hint=PUSH)
    if digest and not found.manifest[7:].startswith(digest):
        raise HostError(
            f"pushed is {found.manifest[7:19]}, the inventory wants {digest[:12]}", where=where, hint=PUSH
        )
    missing = set(pushed.missing(found.digests)) - set(_in_ollama(store))
    if missing:
        raise HostError(f"{len(missing)} of its blobs are not on the host", where=where, hint=PUSH)
    return found


def _in_ollama(store: Store) -> Iterable[str]:
    for model in store.models.values():
        yield from (blob.digest for blob in model.blobs if blob.state == "ok")
    yield from (name.replace("-", ":", 1) for name in store.strays)


def _run(on: Any, kind: str, subject: str, job: Mapping[str, Any]) -> None:
    argv = ("python3", "-c", _SCRIPT.read_text(), json.dumps(job))
    run_to_end(on, Job(kind, subject, argv, LOAD_SECONDS), describe=_progress, explain=_explain)


def _progress(tail: str) -> str:
    lines = [line for line in tail.splitlines() if line.endswith(" %")]
    return lines[-1] if lines else ""


def _explain(tail: str, result: str) -> tuple[str, str]:
    """What went wrong, and what to do.

    Args:
        tail: the end of the job's log.
        result: systemd's word for how it ended.
    """
    lines = [line.strip() for line in tail.splitlines() if line.strip()]
    ours = [line.removeprefix("difyfleet: ") for line in lines if line.startswith("difyfleet: ")]
    what = ours[-1] if ours else f"it ended with {result}" + (f": {lines[-1]}" if lines else "")
    if "no space left" in what.lower():
        return what, "make room where Docker and the models lie (df -h), then run apply again"
    return what, PUSH if "damaged" in what or "not on the host" in what else "run apply again"
