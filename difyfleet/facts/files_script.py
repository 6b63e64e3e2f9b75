"""Runs ON THE HOST (Python >= 3.7, standard library): what the shell commands of facts about files print, to the byte.

Whatever is not plainly there raises, and the command itself is run: a path that cannot be looked at, a file that is changed meanwhile.
"""

from __future__ import annotations

import grp
import os
import pwd
import stat
from binascii import b2a_base64

from difyfleet.known_script import NotPlain
from difyfleet.light_script import sha256

KINDS = {
    stat.S_IFDIR: "directory", stat.S_IFLNK: "symbolic link", stat.S_IFIFO: "fifo", stat.S_IFSOCK: "socket",
    stat.S_IFBLK: "block special file", stat.S_IFCHR: "character special file",
}  # fmt: skip
LARGEST = 64 << 20  # bytes; a larger file is left to programs that need no room for it


def looked_at(path: str) -> os.stat_result | None:
    """A path's own state; None = it does not exist.

    Raises:
        OSError: nobody can say.
        NotPlain: the path is not absolute, and programs could take it for an option.
    """
    if not path.startswith("/"):
        raise NotPlain(path)
    try:
        return os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None


def content(path: str, follow: bool = False) -> bytes | None:
    """What is in a regular file; None = there is none.

    Args:
        follow: a link is its target.

    Raises:
        OSError: it cannot be read.
        NotPlain: it is changed while it is read, or larger than LARGEST.
    """
    state = looked_at(path)
    if state is not None and follow and stat.S_ISLNK(state.st_mode):
        try:
            state = os.stat(path)
        except FileNotFoundError:
            return None
    if state is None or not stat.S_ISREG(state.st_mode):
        return None
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | (0 if follow else os.O_NOFOLLOW))
    try:
        before = os.fstat(handle)
        if before.st_ino != state.st_ino or before.st_size > LARGEST:
            raise NotPlain(path)
        data = b"".join(iter(lambda: os.read(handle, 1 << 20), b""))
        after = os.fstat(handle)
    finally:
        os.close(handle)
    if (after.st_size, after.st_mtime_ns, after.st_ctime_ns) != (
        before.st_size,
        before.st_mtime_ns,
        before.st_ctime_ns,
    ):
        raise NotPlain(path)
    return data


def user(number: int) -> str:
    """A user's name as `stat` prints it."""
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return "UNKNOWN"


def group(number: int) -> str:
    """A group's name as `stat` prints it."""
    try:
        return grp.getgrgid(number).gr_name
    except KeyError:
        return "UNKNOWN"


def file_state(path: str, limit: str) -> bytes:
    """See facts.files.PathState.

    Args:
        limit: bytes up to which the content is told.
    """
    state = looked_at(path)
    if state is None:
        return b""
    kind = KINDS.get(stat.S_IFMT(state.st_mode))
    data = None
    if stat.S_ISREG(state.st_mode):
        kind = "regular file" if state.st_size else "regular empty file"
        data = content(path)
        if data is None or (state.st_size and len(data) != state.st_size):
            raise NotPlain(path)
    if kind is None:
        raise NotPlain(path)
    mode = stat.S_IMODE(state.st_mode)
    told = f"{kind}|{mode:o}|{user(state.st_uid)}|{group(state.st_gid)}|{state.st_size}\n".encode()
    if data is None:
        return told
    told += f"{sha256(data).hexdigest()}  -\n".encode()
    return told + b2a_base64(data, newline=False) + b"\n" if state.st_size <= int(limit) else told


def cat(path: str) -> bytes:
    """`cat PATH`, and nothing where there is no such file.

    Raises:
        NotPlain: it is there and no file.
    """
    data = content(path, follow=True)
    if data is None and looked_at(path) is not None:
        raise NotPlain(path)
    return data or b""


def cat_file(path: str) -> bytes:
    """`[ ! -f PATH ] || cat PATH`."""
    return content(path, follow=True) or b""


def secrets(folder: str) -> bytes:
    """See facts.secrets.HostSecrets."""
    try:
        names = sorted(os.listdir(os.fsencode(folder)))
    except FileNotFoundError:
        return b""
    told = []
    for name in names:
        if name.startswith(b"."):
            continue
        path = f"{folder}/{name.decode('ascii')}"  # another order elsewhere: the shell sorts by its locale
        data = content(path)
        if data is None or b"\0" in data or not name.replace(b"-", b"").replace(b"_", b"").isalnum():
            raise NotPlain(path)
        state = os.lstat(path)
        owner = f"{stat.S_IMODE(state.st_mode):o}|{user(state.st_uid)}:{group(state.st_gid)}"
        told.append(name + f"|{owner}|".encode() + data.rstrip(b"\n") + b"\n")
    return b"".join(told)


def forwarding(kernel: str, first: str, *folders: str) -> bytes:
    """See facts.docker.IpForward.

    Args:
        kernel: the switch's file.
        first, folders: a settings file, and folders with more.
    """
    now = content(kernel, follow=True)
    told = b"\n" if now is None else now
    files = [first]
    for folder in folders:
        try:
            names = sorted(
                name
                for name in os.listdir(os.fsencode(folder))
                if name.endswith(b".conf") and name[:1] != b"."
            )
        except FileNotFoundError:
            continue
        files += [f"{folder}/{name.decode('ascii')}" for name in names]
    for path in files:
        text = content(path, follow=True)
        if text is None:
            if looked_at(path) is not None:
                raise NotPlain(path)
            continue
        if not text.isascii() or b"\0" in text or b"\r" in text:
            raise NotPlain(path)
        for line in text.split(b"\n"):
            name, equals, _ = line.partition(b"=")
            if equals and name.strip(b" \t\v\f").replace(b"/", b".") == b"net.ipv4.ip_forward":
                told += path.encode() + b":" + line + b"\n"
    return told
