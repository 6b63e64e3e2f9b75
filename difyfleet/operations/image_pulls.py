"""Pulls of images: all at once, through the mirrors of daemon.json, each as a systemd unit on the host.

The controller only looks at the units. A cut SSH connection does not end a pull, and a later run finds it and goes on waiting.
"""

from __future__ import annotations

import hashlib
import shlex
import time
from collections.abc import Callable, Mapping
from typing import Any

from difyfleet import progress
from difyfleet.errors import HostError
from difyfleet.facts.docker import Docker as DockerFact
from difyfleet.facts.images import PULLS, ImagePulls, Pull, PullState
from difyfleet.facts.mirrors import MirrorRecord
from difyfleet.operations.mirrors import on_hub
from difyfleet.operations.onhost import execute

PULL_SECONDS = 6 * 3600  # a 3 GB image over a 2 Mbit/s line
_POLL_SECONDS = 1.0
_TRIES = 2
HEAD_START = 60  # seconds: where the registry is the limit and not the link, others must not wait for long


def short(image: str) -> str:
    """The name of an image's pull on the host."""
    return hashlib.sha256(image.encode()).hexdigest()[:12]


def unit(image: str) -> str:
    """The systemd unit that pulls an image."""
    return f"difyfleet-pull-{short(image)}.service"


def begin(on: Any, sources: tuple[str, ...]) -> None:
    """Start pulls and do not wait for them.

    Raises:
        HostError: one could not be started.
    """
    ok, words = execute(on, begin_command(sources), timeout=60)
    if not ok:
        raise HostError(f"could not start the pulls: {words}", where="images")


def begin_command(sources: tuple[str, ...]) -> str:
    """The shell command that starts pulls. The first one has the link for itself until it is downloaded, HEAD_START seconds at most."""
    commands = [start_command(sources[0]), *(start_command(each, after=sources[0]) for each in sources[1:])]
    return " && ".join(f"({command})" for command in commands)


def start_command(image: str, after: str | None = None) -> str:
    """The shell command that has the host pull an image, unless its unit is at it already.

    Args:
        after: the image that has a head start.
    """
    log, code = f"{PULLS}/{short(image)}.log", f"{PULLS}/{short(image)}.rc"
    inner = f'docker pull "$1" >{log} 2>&1; echo $? >{code}.new; mv -f {code}.new {code}'
    wait = _until_downloaded(after) if after else ""
    return (
        f"mkdir -p -m 0755 {PULLS}; systemctl -q is-active {unit(image)} && exit 0; rm -f {code}; "
        f"systemd-run --quiet --collect --unit={unit(image)} --description={shlex.quote(f'difyfleet: pull image {image}')} "
        f"sh -c {shlex.quote(wait + inner)} pull {shlex.quote(image)}"
    )


def _until_downloaded(image: str) -> str:
    """Shell: wait until a pull has downloaded all its layers (unpacking may go on), has ended, or has had its head start."""
    log, code = f"{PULLS}/{short(image)}.log", f"{PULLS}/{short(image)}.rc"
    done = "/Pulling fs layer/{n++} /Download complete/{d++} END{exit !(n && d>=n)}"
    return (
        f"i=0; until [ $i -ge {HEAD_START * 2} ] || [ -e {code} ] || awk '{done}' {log} 2>/dev/null; "
        "do i=$((i+1)); sleep 0.5; done; "
    )


def pull_all(
    on: Any,
    images: tuple[str, ...],
    data_root: str,
    done: Callable[[str], None] = lambda image: None,
    beside: tuple[str, ...] = (),
) -> None:
    """Pull images, all at once, reporting progress: the daemon shares its download slots among them. All that can be pulled is, before a failure is raised.

    Args:
        done: called with each image that has come.
        beside: pulls under way that are counted but not waited for.

    Raises:
        HostError: Docker's words for each image that could not be pulled.
    """
    waiting = list(images)
    running: dict[str, str] = {}  # image -> name of its pull
    failed: dict[str, str] = {}  # image -> Docker's words
    tries: dict[str, int] = {}
    layers: dict[str, tuple[int, int]] = {}  # name of a pull -> those that are there, all
    deadline, said = time.monotonic() + PULL_SECONDS, ""
    while waiting or running:
        while waiting:
            image = waiting.pop(0)
            tries[image] = tries.get(image, 0) + 1
            ok, words = execute(on, start_command(image), timeout=60)
            if not ok:
                raise HostError(f"could not start the pull: {words}", where=f"image {image}")
            running[image] = short(image)
        hashes = (*running.values(), *map(short, beside))
        state: PullState = on.get_fact(ImagePulls, hashes=hashes, data_root=data_root)
        for name in hashes:
            if (pull := state.pulls.get(name, Pull())).layers:
                layers[name] = pull.ready, pull.layers
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
        if layers:
            there, known = (sum(column) for column in zip(*layers.values(), strict=True))
            progress.count(on.name, progress.Amount("images", there, known, "layers"))
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
