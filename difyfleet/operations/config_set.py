"""Configuration files that only make sense together: staged beside the old ones, judged as a whole, then swapped in."""

from __future__ import annotations

import shlex
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pyinfra import host

from difyfleet.diffs import unified
from difyfleet.errors import HostError
from difyfleet.facts.files import PathState
from difyfleet.operations.base import Change, operation, shell
from difyfleet.operations.files import attribute_changes, put_command

_JUDGE_TIMEOUT = 120  # seconds for the program that judges


@dataclass(frozen=True)
class ConfigFile:
    """One file of a set.

    Args:
        content: its text; may hold a key.
        mode: four octal digits.
        opaque: never shown in a diff.
    """

    content: str
    mode: str = "0644"
    opaque: bool = False

    def __repr__(self) -> str:
        return f"ConfigFile({len(self.content)} characters, {self.mode})"


@operation
def config_set(
    directory: str, files: Mapping[str, ConfigFile], image: str, mount_at: str, judge: Sequence[str]
) -> Generator[Any, None, None]:
    """The files of one program, exactly these contents and modes, owned by root.

    The new set is judged by the program itself, in its own image and without a network, before any old file is touched: a set
    that is not accepted changes nothing.

    Args:
        directory: folder on the host; missing parents are made 0755.
        files: path below `directory` -> file.
        image: image that holds the program; must be on the host.
        mount_at: folder inside the image below which the same paths are mounted.
        judge: program and arguments; exit code 0 = good.

    Raises:
        HostError: something that is no file stands where a file must go.
    """
    differing = []
    attributes = []
    for path, wanted in files.items():
        full = f"{directory}/{path}"
        state = host.get_fact(PathState, path=full)
        if state is not None and state.kind != "file":
            raise HostError(
                f"{full} is a {state.kind}, a file must go there",
                hint=f"look at it and move it away: ls -ld {full}",
            )
        if state is None or state.content != wanted.content.encode():
            differing.append(path)
            old = None if state is None else (state.text or "")
            why = f"{full}: {'absent' if state is None else 'content differs'}"
            yield Change(why, unified(old, wanted.content, full, opaque=wanted.opaque))
            continue
        changes = attribute_changes(full, state, mode=wanted.mode, owner="root", group="root")
        attributes += [(full, wanted.mode)] if changes else []
        for change in changes:
            yield Change(change)
    if differing:
        yield from swap_commands(directory, files, image, mount_at, judge)
    elif attributes:
        yield shell(
            " && ".join(
                f"chown root:root {shlex.quote(path)} && chmod {mode} {shlex.quote(path)}"
                for path, mode in attributes
            )
        )


def swap_commands(
    directory: str, files: Mapping[str, ConfigFile], image: str, mount_at: str, judge: Sequence[str]
) -> Generator[Any, None, None]:
    """Stage all, judge all, rename one by one."""
    staged = f"{directory}.difyfleet-new"
    folders = sorted({f"{root}/{path}".rsplit("/", 1)[0] for root in (directory, staged) for path in files})
    yield shell(
        f"rm -rf {shlex.quote(staged)} && (umask 022; mkdir -p {' '.join(map(shlex.quote, folders))})"
    )
    for path, wanted in files.items():
        yield put_command(
            f"{staged}/{path}", wanted.content.encode(), mode=wanted.mode, owner="root", group="root"
        )
    yield shell(
        f"{judge_command(staged, list(files), image, mount_at, judge)} || {{ r=$?; rm -rf {shlex.quote(staged)}; exit $r; }}"
    )
    moves = " && ".join(
        f"mv -fT {shlex.quote(f'{staged}/{path}')} {shlex.quote(f'{directory}/{path}')}" for path in files
    )
    yield shell(f"{moves} && rm -rf {shlex.quote(staged)}")


def judge_command(staged: str, paths: Sequence[str], image: str, mount_at: str, judge: Sequence[str]) -> str:
    """The throw-away container that judges a staged set."""
    mounts = " ".join(f"-v {shlex.quote(f'{staged}/{path}:{mount_at}/{path}:ro')}" for path in paths)
    program, *arguments = judge
    return (
        f"timeout {_JUDGE_TIMEOUT} docker run --rm --pull never --network none {mounts} "
        f"--entrypoint {shlex.quote(program)} {shlex.quote(image)} {' '.join(map(shlex.quote, arguments))}"
    )
