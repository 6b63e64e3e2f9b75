"""Images: pulled by the host itself, several at once, through the mirrors of daemon.json, each as a systemd unit.

The controller only looks at the units. A cut SSH connection does not end a pull, and a later run finds it and goes on waiting.
The ID of each image is recorded when it is first seen, so that a tag that was moved by hand is noticed and moved back. Where there is
a lock file it says which image is meant; such an image is pulled by digest and then tagged.
"""

from __future__ import annotations

import hashlib
import json
import shlex
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any

from pyinfra import host

from difyfleet import progress
from difyfleet.errors import HostError
from difyfleet.facts.docker import Docker as DockerFact
from difyfleet.facts.engine import parse_json
from difyfleet.facts.files import FileState, PathState
from difyfleet.facts.images import PULLS, Image, ImagePulls, LocalImages, Pull, PullState
from difyfleet.facts.mirrors import MirrorRecord
from difyfleet.operations import share
from difyfleet.operations.base import Change, call, operation
from difyfleet.operations.image_work import NO_LOCK, Locked, Meant, Work, present, work
from difyfleet.operations.mirrors import on_hub
from difyfleet.operations.onhost import execute
from difyfleet.operations.share_images import Images, WantedImage
from difyfleet.spec.values import repository, with_tag

RECORD = "/etc/difyfleet/images.json"  # reference -> image ID
PARALLEL = 4  # pulls at once; the daemon shares its download slots among them
PULL_SECONDS = 6 * 3600  # a 3 GB image over a 2 Mbit/s line
_POLL_SECONDS = 1.0
_TRIES = 2


def short(image: str) -> str:
    """The name of an image's pull on the host."""
    return hashlib.sha256(image.encode()).hexdigest()[:12]


def unit(image: str) -> str:
    """The systemd unit that pulls an image."""
    return f"difyfleet-pull-{short(image)}.service"


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
def pulled(images: tuple[str, ...], data_root: str, locked: Locked = NO_LOCK) -> Generator[Any, None, None]:
    """Every image there, the one that the lock file names; without a lock file, the one that was recorded when it was first pulled.

    Raises:
        HostError: a pull failed, with Docker's own words and what was asked; or it brought another image than the locked one.
    """
    there, recorded = see(images, locked)
    todo = work(images, assumed(images, recorded) if there is None else there, recorded, locked)
    for note in todo.notes:
        yield Change(note)
    if todo.pull:
        yield call(bring, todo, data_root, recorded, locked)
    tags = tuple(pair for pair in todo.retag if pair[0] not in todo.pull)
    if tags:
        yield call(retag, tags)
    if todo.notes:
        yield call(record, images, locked)


def bring(on: Any, todo: Work, data_root: str, recorded: Mapping[str, str], locked: Locked) -> None:
    """Bring images onto the host, each under its tag: from another host of the fleet that has it, else pulled.

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

        pull_all(on, tuple(of_source), data_root, pulled_one)

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


def start_command(image: str) -> str:
    """The shell command that has the host pull an image, unless its unit is at it already."""
    log, code = f"{PULLS}/{short(image)}.log", f"{PULLS}/{short(image)}.rc"
    inner = f'docker pull "$1" >{log} 2>&1; echo $? >{code}.new; mv -f {code}.new {code}'
    return (
        f"mkdir -p -m 0755 {PULLS}; systemctl -q is-active {unit(image)} && exit 0; rm -f {code}; "
        f"systemd-run --quiet --collect --unit={unit(image)} --description={shlex.quote(f'difyfleet: pull image {image}')} "
        f"sh -c {shlex.quote(inner)} pull {shlex.quote(image)}"
    )


def pull_all(
    on: Any, images: tuple[str, ...], data_root: str, done: Callable[[str], None] = lambda image: None
) -> None:
    """Pull images in their order, PARALLEL at a time, reporting progress. All that can be pulled is, before a failure is raised.

    Args:
        done: called with each image that has come.

    Raises:
        HostError: Docker's words for each image that could not be pulled.
    """
    waiting = list(images)
    running: dict[str, str] = {}  # image -> name of its pull
    failed: dict[str, str] = {}  # image -> Docker's words
    tries: dict[str, int] = {}
    deadline, said = time.monotonic() + PULL_SECONDS, ""
    while waiting or running:
        while waiting and len(running) < PARALLEL:
            image = waiting.pop(0)
            tries[image] = tries.get(image, 0) + 1
            ok, words = execute(on, start_command(image), timeout=60)
            if not ok:
                raise HostError(f"could not start the pull: {words}", where=f"image {image}")
            running[image] = short(image)
        state: PullState = on.get_fact(ImagePulls, hashes=tuple(running.values()), data_root=data_root)
        for image, name in list(running.items()):
            pull = state.pulls.get(name, Pull())
            if pull.exit_code is None and pull.active:
                continue
            del running[image]
            if pull.exit_code == 0:
                done(image)
                continue
            words = " ".join(pull.words[-1:]) or "its unit ended without a word"
            if tries[image] < _TRIES and _worth_another_try(words):
                waiting.append(image)
            else:
                failed[image] = words
        ready = len(images) - len(waiting) - len(running) - len(failed)
        text = progress_text(ready, len(images), running, state)
        if text != said:
            progress.report(on.name, text)
            said = text
        if time.monotonic() > deadline:
            raise HostError(
                f"pulls of {', '.join(running)} did not end within {PULL_SECONDS // 3600} hours",
                hint=f"look at the host: journalctl -u {unit(next(iter(running)))}; run apply again, what is there is kept",
            )
        if running:
            time.sleep(_POLL_SECONDS)
    if failed:
        raise HostError(_failure(on, failed), where="images", hint=_hint(failed))


def _worth_another_try(words: str) -> bool:
    """Not for what another try cannot change: no such image, no right to it, no room."""
    lowered = words.lower()
    return not any(
        text in lowered
        for text in (
            "not found",
            "manifest unknown",
            "denied",
            "unauthorized",
            "no space left",
            "invalid reference",
        )
    )


def progress_text(done: int, total: int, running: Mapping[str, str], state: PullState) -> str:
    """`images: 3 of 9; ollama/ollama:0.4.7 2/4 layers; 812 MB in flight`."""
    parts = [f"images: {done} of {total}"]
    for image, name in running.items():
        pull = state.pulls.get(name)
        if pull is not None and pull.layers:
            parts.append(f"{image} {pull.ready}/{pull.layers} layers")
    if state.in_flight >= 1_000_000 and running:
        parts.append(f"{state.in_flight // 1_000_000} MB in flight")
    return "; ".join(parts)


def _failure(on: Any, failed: Mapping[str, str]) -> str:
    lines = [f"{image}: {words}" for image, words in failed.items()]
    if any(on_hub(image) for image in failed):
        info = on.get_fact(DockerFact).info
        used = ", ".join(info.mirrors) if info and info.mirrors else "no mirror"
        left_out = [
            f"{url} ({answer.reason})"
            for url, answer in on.get_fact(MirrorRecord).items()
            if not answer.alive
        ]
        lines.append(
            f"asked: {used}, then Docker Hub" + (f"; left out: {', '.join(left_out)}" if left_out else "")
        )
    others = sorted({image.split("/", 1)[0] for image in failed if on_hub(image) is None and "/" in image})
    if others:
        lines.append(f"asked directly: {', '.join(others)} (mirrors serve Docker Hub only)")
    return "not pulled\n  " + "\n  ".join(lines)


def _hint(failed: Mapping[str, str]) -> str:
    text = " ".join(failed.values()).lower()
    if any("@" in image for image in failed) and ("manifest unknown" in text or "not found" in text):
        return "the registry does not have a locked digest any more; to take what it has now: difyfleet lock INVENTORY --update GROUP"
    if "no space left" in text:
        return (
            "make room below docker.data_root (docker system df), then run apply again; whole layers are kept"
        )
    if "manifest unknown" in text or "not found" in text:
        return "check the image's name and tag in the inventory"
    return "run apply again (whole layers are kept); try other mirrors with --reprobe-mirrors, or name another image in the inventory"


def record(on: Any, images: tuple[str, ...], locked: Locked) -> None:
    """Write down the IDs of the images that are there now, unless one is not what it has to be."""
    there = on.get_fact(LocalImages, names=images) or ()
    ids = {image: found.id for image in images if (found := present(image, there)) is not None}
    missing = [image for image in images if image not in ids]
    if missing:
        raise HostError(
            f"pulled, but not there: {', '.join(missing)}",
            where="images",
            hint="docker image ls on the host; run apply again",
        )
    for image in images:
        wrong = Meant(image, locked[image]).difference(present(image, there)) if image in locked else None
        if wrong is not None:
            raise HostError(
                f"pulled, but {wrong}",
                where=f"image {image}",
                hint="if the registry's image is the right one: difyfleet lock INVENTORY --update GROUP",
            )
    write(on, RECORD, ids)


def write(on: Any, path: str, value: Mapping[str, Any]) -> None:
    """A small JSON record on the host, whole or not at all."""
    script = f"umask 022; mkdir -p /etc/difyfleet && cat >{path}.difyfleet-new && mv -fT {path}.difyfleet-new {path}"
    ok, words = execute(on, script, stdin=json.dumps(value, indent=2) + "\n", timeout=60)
    if not ok:
        raise HostError(f"could not write the record: {words}", where=path)
