"""Images: pulled by the host itself (image_pulls.py), or taken from another host of the fleet.

The ID of each image is recorded when it is first seen, so that a tag that was moved by hand is noticed and moved back. Where there is
a lock file it says which image is meant; such an image is pulled by digest and then tagged.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Generator, Mapping, Sequence
from typing import Any

from pyinfra import host

from difyfleet.errors import HostError
from difyfleet.facts.engine import parse_json
from difyfleet.facts.files import FileState, PathState
from difyfleet.facts.images import Image, LocalImages
from difyfleet.operations import share
from difyfleet.operations.base import Change, call, operation
from difyfleet.operations.image_pulls import begin, pull_all
from difyfleet.operations.image_work import NO_LOCK, Locked, Meant, Work, present, work
from difyfleet.operations.onhost import execute
from difyfleet.operations.share_images import Images, WantedImage
from difyfleet.spec.values import repository, with_tag

RECORD = "/etc/difyfleet/images.json"  # reference -> image ID


def recorded_ids(state: FileState | None) -> dict[str, str]:
    """The record; a broken one counts as empty."""
    raw = (parse_json(state.text) if state is not None and state.text else None) or {}
    return {name: value for name, value in raw.items() if isinstance(value, str)}


def see(images: tuple[str, ...], locked: Locked = NO_LOCK) -> tuple[tuple[Image, ...] | None, dict[str, str]]:
    """The images that are there (by reference, recorded ID or locked digest; None = Docker is down), and the record."""
    recorded = recorded_ids(host.get_fact(PathState, path=RECORD))
    names = [*images, *(recorded[image] for image in images if image in recorded)]
    for image in images:
        if image in locked:
            names += locked[image].names(image)
    return host.get_fact(LocalImages, names=tuple(dict.fromkeys(names))), recorded


def assumed(images: tuple[str, ...], recorded: Mapping[str, str]) -> tuple[Image, ...]:
    """What a plan goes by while Docker is stopped: recorded images are still there. The apply looks again once Docker runs."""
    found = []
    for image in images:
        if image in recorded:
            name, _, digest = image.partition("@")
            digests = {f"{repository(name)}@{digest}"} if digest else set()
            found.append(Image(recorded[image], frozenset({with_tag(name)}), frozenset(digests)))
    return tuple(found)


@operation
def begun(
    images: tuple[str, ...], locked: Locked = NO_LOCK, first: tuple[str, ...] = ()
) -> Generator[Any, None, None]:
    """The pulls of absent images are under way while other operations go on; `pulled` waits for them.

    Where other hosts may have the images nothing begins here.

    Args:
        first: the images that are needed before the others.
    """
    if not share.alone(host):
        return
    there, recorded = see(images, locked)
    ordered = first + tuple(image for image in images if image not in first)
    todo = work(ordered, assumed(images, recorded) if there is None else there, recorded, locked)
    for source in todo.pull:
        yield Change(f"image {source}: absent, its pull begins")
    if todo.pull:
        yield call(begin, todo.pull)


@operation
def pulled(
    images: tuple[str, ...], data_root: str, locked: Locked = NO_LOCK, only: tuple[str, ...] = ()
) -> Generator[Any, None, None]:
    """Every image there, the one that the lock file names; without a lock file, the one that was recorded when it was first pulled.

    Args:
        images: all of the host.
        only: those that are to be there now; none named = all.

    Raises:
        HostError: a pull failed, with Docker's own words and what was asked; or it brought another image than the locked one.
    """
    there, recorded = see(images, locked)
    found = assumed(images, recorded) if there is None else there
    todo = work(only or images, found, recorded, locked)
    for note in todo.notes:
        yield Change(note)
    if todo.pull:
        beside = tuple(each for each in work(images, found, recorded, locked).pull if each not in todo.pull)
        yield call(bring, todo, data_root, recorded, locked, beside)
    tags = tuple(pair for pair in todo.retag if pair[0] not in todo.pull)
    if tags:
        yield call(retag, tags)
    if todo.notes:
        yield call(record, images, locked, only)


def bring(
    on: Any,
    todo: Work,
    data_root: str,
    recorded: Mapping[str, str],
    locked: Locked,
    beside: tuple[str, ...] = (),
) -> None:
    """Bring images onto the host, each under its tag: from another host of the fleet that has it, else pulled.

    Args:
        beside: pulls under way that are not waited for here.

    Raises:
        HostError: see pull_all.
    """
    names = {source: image for source, image in todo.retag if source in todo.pull}
    sources = {names.get(source, source): source for source in todo.pull}

    def fetch(things: Sequence[WantedImage], done: share.Done) -> None:
        of_source = {sources[thing.meant.image]: thing for thing in things}

        def pulled_one(source: str) -> None:
            if source in names:
                retag(on, ((source, names[source]),))
            done(of_source[source].key)

        pull_all(on, tuple(of_source), data_root, pulled_one, beside)

    wanted = [WantedImage(Meant(image, locked.get(image), recorded.get(image))) for image in sources]
    share.bring(on, wanted, Images(), fetch)


def retag(on: Any, pairs: tuple[tuple[str, str], ...]) -> None:
    """Give images, by ID or by reference, the references that stand for them."""
    ok, words = execute(
        on,
        " && ".join(f"docker tag {shlex.quote(one)} {shlex.quote(name)}" for one, name in pairs),
        timeout=60,
    )
    if not ok:
        raise HostError(f"docker tag failed: {words}", where="images")


def record(on: Any, images: tuple[str, ...], locked: Locked, only: tuple[str, ...] = ()) -> None:
    """Write down the IDs of the images that are there now, unless one is not what it has to be. With `only` what is known of the other images stays."""
    looked_at = only or images
    there = on.get_fact(LocalImages, names=looked_at) or ()
    ids = {image: found.id for image in looked_at if (found := present(image, there)) is not None}
    missing = [image for image in looked_at if image not in ids]
    if missing:
        raise HostError(
            f"pulled, but not there: {', '.join(missing)}",
            where="images",
            hint="docker image ls on the host; run apply again",
        )
    for image in looked_at:
        wrong = Meant(image, locked[image]).difference(present(image, there)) if image in locked else None
        if wrong is not None:
            raise HostError(
                f"pulled, but {wrong}",
                where=f"image {image}",
                hint="if the registry's image is the right one: difyfleet lock INVENTORY --update GROUP",
            )
    known = recorded_ids(on.get_fact(PathState, path=RECORD)) if only else {}
    write(on, RECORD, {image: known[image] for image in images if image in known} | ids)


def write(on: Any, path: str, value: Mapping[str, Any]) -> None:
    """A small JSON record on the host, whole or not at all."""
    script = f"umask 022; mkdir -p /etc/difyfleet && cat >{path}.difyfleet-new && mv -fT {path}.difyfleet-new {path}"
    ok, words = execute(on, script, stdin=json.dumps(value, indent=2) + "\n", timeout=60)
    if not ok:
        raise HostError(f"could not write the record: {words}", where=path)
