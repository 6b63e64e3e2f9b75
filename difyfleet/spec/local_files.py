"""Files on the controller that an inventory names: relative to the inventory file, `~` expanded, looked for at load time."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class LoadContext:
    """Given to pydantic while a file is loaded. Models built from Python have none and keep their paths as they are.

    Args:
        base: folder of the inventory file, absolute.
    """

    base: Path


def located(value: Any, context: Any, *, may_be_missing: bool = False) -> Any:
    """A Path (or a list or tuple of them) made absolute. Any other value comes back as it is.

    Raises:
        ValueError: the file does not exist (or, with may_be_missing, its folder does not).
    """
    if not isinstance(context, LoadContext):
        return value
    if isinstance(value, Path):
        return _locate(value, context.base, may_be_missing)
    if isinstance(value, list | tuple) and any(isinstance(one, Path) for one in value):
        return type(value)(
            _locate(one, context.base, may_be_missing) if isinstance(one, Path) else one for one in value
        )
    return value


def _locate(path: Path, base: Path, may_be_missing: bool) -> Path:
    try:
        absolute = Path(os.path.normpath(base / path.expanduser()))
    except RuntimeError:
        raise ValueError(f"{str(path)!r}: there is no such user's home folder") from None
    if may_be_missing:
        if not absolute.parent.is_dir():
            raise ValueError(f"the folder {absolute.parent} does not exist")
    elif not absolute.exists():
        raise ValueError(f"{absolute} does not exist")
    return absolute


def readable_by_others(path: Path) -> str | None:
    """Why a file is no place for a secret (a sentence that ends in the command to type), or None."""
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        return f"{path} is not a regular file"
    if status.st_mode & 0o077:
        return f"{path} can be read by others (mode {stat.S_IMODE(status.st_mode):04o}): chmod 600 {path}"
    return None
