"""Files appear whole: rendered here, sent on standard input, checked, then renamed into place with owner and mode set.

openEuler's umask is 0077 and its /tmp a tmpfs, so modes are always explicit and temporary names stand beside the target.
"""

from __future__ import annotations

import base64
import hashlib
import shlex
from collections.abc import Generator
from typing import Any

from pyinfra import host

from difyfleet.diffs import unified
from difyfleet.errors import HostError
from difyfleet.facts.files import FileState, PathState
from difyfleet.operations.base import Change, operation, shell


def put_command(
    path: str,
    content: bytes,
    *,
    mode: str,
    owner: str,
    group: str,
    validate: str | None = None,
    after: str | None = None,
) -> Any:
    """The one command that writes a file atomically.

    Args:
        content: sent base64-encoded on standard input, so neither argv nor a temporary file of another user holds it.
        validate: a shell command that judges the new file before it counts; `%s` stands for its (quoted) name. Non-zero leaves the old file.
        after: a shell command run after the rename, in the same trip.
    """
    temp = shlex.quote(f"{path}.difyfleet-new")
    check = f" && {{ {validate.replace('%s', temp)}; }}" if validate else ""
    then = f" && {{ {after}; }}" if after else ""
    script = (
        f"umask 077; base64 -d > {temp} && chown {owner}:{group} {temp} && chmod {mode} {temp}{check}"
        f" && mv -fT {temp} {shlex.quote(path)}{then} || {{ r=$?; rm -f {temp}; exit $r; }}"
    )
    return shell(script, stdin=base64.b64encode(content).decode() + "\n")


def attribute_changes(path: str, state: FileState, *, mode: str, owner: str, group: str) -> list[str]:
    """What differs in mode and owner, in words."""
    found = []
    if state.mode != mode.rjust(4, "0"):
        found.append(f"{path}: mode {state.mode}, wanted {mode.rjust(4, '0')}")
    if (state.owner, state.group) != (owner, group):
        found.append(f"{path}: owner {state.owner}:{state.group}, wanted {owner}:{group}")
    return found


def file_changes(path: str, state: FileState | None, wanted: str) -> list[Change]:
    """What differs of a text file that belongs to root and everybody may read (0644); empty = nothing."""
    if state is None or state.text != wanted:
        why = f"{path}: {'absent' if state is None else 'content differs'}"
        return [Change(why, unified(state.text if state else None, wanted, path))]
    return [Change(why) for why in attribute_changes(path, state, mode="0644", owner="root", group="root")]


@operation
def put(
    path: str,
    content: str | bytes,
    mode: str = "0644",
    owner: str = "root",
    group: str = "root",
    validate: str | None = None,
    opaque: bool = False,
) -> Generator[Any, None, None]:
    """A file with exactly this content, owner and mode. Its folder must exist (see `directory`).

    Args:
        path: absolute path on the host.
        content: text or bytes; may hold secrets.
        mode: octal digits.
        validate: see put_command.
        opaque: content is never shown in a diff (keys, certificates).

    Raises:
        HostError: the path is a directory or link.
    """
    wanted = content.encode() if isinstance(content, str) else content
    state = host.get_fact(PathState, path=path)
    if state is not None and state.kind != "file":
        raise HostError(
            f"{path} is a {state.kind}, a file must go there",
            hint=f"look at it and move it away: ls -ld {path}",
        )
    if state is None or state.sha256 != hashlib.sha256(wanted).hexdigest():
        text = None if state is None else (state.text if state.text is not None else "")
        shown = wanted.decode("utf-8", "replace")
        yield Change(
            f"{path}: {'absent' if state is None else 'content differs'}",
            unified(text, shown, path, opaque=opaque),
        )
        yield put_command(path, wanted, mode=mode, owner=owner, group=group, validate=validate)
        return
    differing = attribute_changes(path, state, mode=mode, owner=owner, group=group)
    for why in differing:
        yield Change(why)
    if differing:
        quoted = shlex.quote(path)
        yield shell(f"chown {owner}:{group} {quoted} && chmod {mode} {quoted}")


@operation
def directory(
    path: str, mode: str = "0755", owner: str = "root", group: str = "root"
) -> Generator[Any, None, None]:
    """A directory with this owner and mode; its content is left alone. Missing parents are made 0755 root."""
    state = host.get_fact(PathState, path=path)
    quoted = shlex.quote(path)
    if state is None:
        yield Change(f"{path}: absent")
        yield shell(
            f"(umask 022; mkdir -p {quoted}) && chown {owner}:{group} {quoted} && chmod {mode} {quoted}"
        )
        return
    if state.kind != "directory":
        raise HostError(
            f"{path} is a {state.kind}, a directory must be there",
            hint=f"look at it and move it away: ls -ld {path}",
        )
    differing = attribute_changes(path, state, mode=mode, owner=owner, group=group)
    for why in differing:
        yield Change(why)
    if differing:
        yield shell(f"chown {owner}:{group} {quoted} && chmod {mode} {quoted}")


@operation
def absent(path: str) -> Generator[Any, None, None]:
    """No such file or link. A directory is refused: data is not removed in passing."""
    state = host.get_fact(PathState, path=path)
    if state is None:
        return
    if state.kind == "directory":
        raise HostError(f"{path} is a directory and is not removed here")
    yield Change(f"{path}: present, wanted absent", loses_data=True)
    yield shell(f"rm -f {shlex.quote(path)}")
