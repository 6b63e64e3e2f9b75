"""The lab's build cache: a step is built once per content of its inputs and is then only looked up.

A step's folder is ``<cache>/<name>-<first 16 hex digits of the key>``. It is built in a temporary folder beside it and
renamed, so that a folder that exists is complete. On a hit nothing asks apt or a network: Debian's point releases
change file names under a cache that is still good.
"""

from __future__ import annotations

import ast
import fcntl
import functools
import hashlib
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

Input = Path | str | bytes


def root() -> Path:
    """The cache folder: ``DIFYFLEET_LAB_CACHE``, else ``~/.cache/difyfleet-lab``."""
    configured = os.environ.get("DIFYFLEET_LAB_CACHE")
    return Path(configured) if configured else Path.home() / ".cache" / "difyfleet-lab"


def _feed(digest: hashlib._Hash, tag: bytes, payload: bytes) -> None:
    """Add one item with its kind and length, so that no two lists of items run together to the same bytes."""
    digest.update(tag + len(payload).to_bytes(8, "big") + payload)


def _feed_path(digest: hashlib._Hash, path: Path, name: str) -> None:
    _feed(digest, b"n", name.encode())
    if path.is_symlink():
        _feed(digest, b"l", os.readlink(path).encode())
    elif path.is_dir():
        for child in sorted(path.iterdir(), key=lambda p: p.name):
            if child.name != "__pycache__":
                _feed_path(digest, child, f"{name}/{child.name}")
    else:
        _feed(digest, b"x", b"1" if os.access(path, os.X_OK) else b"0")
        content = hashlib.sha256()
        with path.open("rb") as stream:
            while block := stream.read(1 << 20):
                content.update(block)
        _feed(digest, b"f", content.digest())


def key(name: str, inputs: Iterable[Input], script: Path | None = None) -> str:
    """The content key of a step, as 64 hex digits.

    A ``Path`` stands for its content (a folder: for all names and contents below it), not for where it lies, so that two
    checkouts share a cache. ``str`` and ``bytes`` stand for themselves. Order counts. ``script`` is the Python file that
    does the work.

    :raises FileNotFoundError: if a path does not exist.
    """
    digest = hashlib.sha256()
    _feed(digest, b"s", name.encode())
    if script is not None:
        # Its syntax tree and not its text: comments and line breaks do not change what it builds.
        _feed(digest, b"p", ast.dump(ast.parse(script.read_text())).encode())
    for item in inputs:
        if isinstance(item, Path):
            if not item.exists():
                raise FileNotFoundError(f"lab cache: step {name}: input {item} does not exist")
            _feed_path(digest, item, item.name)
        elif isinstance(item, str):
            _feed(digest, b"t", item.encode())
        else:
            _feed(digest, b"b", item)
    return digest.hexdigest()


def _script_of(build: Callable[[Path], None]) -> Path | None:
    while isinstance(build, functools.partial):
        build = build.func
    code = getattr(build, "__code__", None)
    return Path(code.co_filename) if code is not None and os.path.exists(code.co_filename) else None


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """One builder per step: a second process waits here and then finds the finished folder."""
    with path.open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def step(
    name: str, inputs: Iterable[Input], build: Callable[[Path], None], *, by_script: bool = True
) -> Path:
    """Build once, look up ever after.

    :param name: name of the step, such as ``rootfs``; becomes part of the folder's name.
    :param inputs: everything the result depends on, see :func:`key`. The file that defines ``build`` is added by itself.
    :param build: called with an empty folder that it has to fill; not called on a hit.
    :param by_script: whether that file counts; not for what must outlive its edits, such as a CA that hosts trust.
    :returns: the finished folder; treat it as read-only.
    """
    digest = key(name, inputs, _script_of(build) if by_script else None)
    final = root() / f"{name}-{digest[:16]}"
    if final.is_dir():
        return final
    final.parent.mkdir(parents=True, exist_ok=True)
    with _locked(final.parent / f".{final.name}.lock"):
        if final.is_dir():
            return final
        print(f"lab: building {name} ({digest[:16]})", file=sys.stderr, flush=True)
        started = time.monotonic()
        work = Path(tempfile.mkdtemp(prefix=f".{name}-", dir=final.parent))
        try:
            work.chmod(0o755)
            build(work)
            work.rename(final)
        except BaseException:
            shutil.rmtree(work, ignore_errors=True)
            raise
        print(f"lab: built {name} in {time.monotonic() - started:.1f} s", file=sys.stderr, flush=True)
    return final
