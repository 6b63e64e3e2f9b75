"""Runs ON THE HOST (Python >= 3.7, standard library): what programs said of files that are still the same, and programs without `subprocess`.

The controller keeps what was found (KNOWN) and sends it along with the next reads. An entry counts while the state that it was found
under is the same to the letter: inode, size and times in nanoseconds of files, or hashes of their content.
"""

from __future__ import annotations

import os
import select
import time

TYPE_CHECKING = False  # typing itself is not imported: it costs more than a question
if TYPE_CHECKING:
    from collections.abc import Callable

KNOWN: dict[str, list[str]] = {}  # name -> state, what was found
NEWS: dict[str, list[str]] = {}  # found out anew, for the controller
MOMENT = [0]  # one more with each request of the controller: what is asked twice in one moment has one answer
RACY = 2.0  # seconds a file must have been left alone: its times have not the resolution to tell two writes in one tick apart
PATIENCE = 60.0  # seconds a program may be silent


class NotPlain(Exception):
    """The command has to be run."""


def known(name: str, state: Callable[[], str | None], find: Callable[[], str]) -> str:
    """What `find` gives, or gave under the same state.

    Args:
        state: of all that `find` depends on; None = nobody can say, and nothing is kept.
    """
    before = state()
    entry = KNOWN.get(name)
    if entry is not None and before is not None and entry[0] == before:
        return entry[1]
    found = find()
    if before is not None and state() == before:
        KNOWN[name] = NEWS[name] = [before, found]
    return found


def state_of(*paths: str) -> str | None:
    """State of files, and of the absence of some; None = one was changed just now."""
    said = []
    for path in paths:
        try:
            seen = os.stat(path)
        except (FileNotFoundError, NotADirectoryError):
            said.append("-")
            continue
        if time.time() - seen.st_ctime < RACY:
            return None
        said.append(
            f"{seen.st_dev} {seen.st_ino} {seen.st_size} {seen.st_mtime_ns} {seen.st_ctime_ns} {seen.st_mode}"
        )
    return "|".join(said)


def program(name: str) -> str | None:
    """Where a program is found, as `command -v` does."""
    for folder in os.environ.get("PATH", "/usr/bin:/bin").split(":"):
        path = f"{folder}/{name}"
        if os.path.isfile(path) and os.access(path, os.X_OK):
            return path
    return None


def is_machine_code(path: str) -> bool:
    """Whether a program is one file: a script could depend on others."""
    with open(path, "rb") as file:
        return file.read(4) == b"\x7fELF"


def output(*argv: str, errors: bool = False) -> tuple[int, bytes]:
    """Exit status and standard output of a program, in the locale C. Standard error is thrown away, or part of it (`errors`).

    Raises:
        NotPlain: it did not end, or this Python knows only slow ways to start it.
    """
    if not hasattr(os, "posix_spawn"):
        raise NotPlain(argv[0])
    path = program(argv[0])
    if path is None:
        raise NotPlain(argv[0])
    reading, writing = os.pipe()
    try:
        actions = [
            (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
            (os.POSIX_SPAWN_DUP2, writing, 1),
            (os.POSIX_SPAWN_DUP2, writing, 2) if errors else (os.POSIX_SPAWN_OPEN, 2, "/dev/null", os.O_WRONLY, 0),
        ]  # fmt: skip
        process = os.posix_spawn(path, argv, {**os.environ, "LC_ALL": "C"}, file_actions=actions)
        os.close(writing)
        writing = -1
        said = bytearray()
        waiting = select.poll()
        waiting.register(reading, select.POLLIN)
        while waiting.poll(PATIENCE * 1000):
            data = os.read(reading, 65536)
            if not data:
                status = os.waitpid(process, 0)[1]
                return os.WEXITSTATUS(status) if os.WIFEXITED(status) else -1, bytes(said)
            said += data
        os.kill(process, 9)
        os.waitpid(process, 0)
        raise NotPlain(argv[0])
    finally:
        os.close(reading)
        if writing >= 0:
            os.close(writing)
