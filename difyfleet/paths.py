"""Where the stack's files are: in a checkout the repository, in an installed wheel the package's own `_stack` folder."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def package_root() -> Path:
    """The folder of the `difyfleet` package itself."""
    return _PACKAGE


def stack_root() -> Path:
    """The folder that holds deploy.py, roles/ and templates/."""
    packaged = _PACKAGE / "_stack"
    return packaged if packaged.is_dir() else _PACKAGE.parent


def deploy_file() -> Path:
    return stack_root() / "deploy.py"


def templates_dir() -> Path:
    return stack_root() / "templates"


def state_dir() -> Path:
    """The controller's own state: journals, plans, drift history. `DIFYFLEET_STATE_DIR` or XDG's state folder."""
    configured = os.environ.get("DIFYFLEET_STATE_DIR")
    if configured:
        return Path(configured)
    base = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(base) / "difyfleet"


def environment_dir(name: str, inventory: Path) -> Path:
    """What the controller remembers of one environment. Two inventories of one name in different folders are two environments."""
    place = hashlib.sha256(str(inventory).encode()).hexdigest()[:8]
    return state_dir() / "environments" / f"{name}-{place}"


def write_whole(path: Path, text: str, mode: int = 0o600) -> None:
    """A file that appears whole: written beside its place, then renamed. Missing folders are made, for the owner only."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    temporary = path.with_name(f"{path.name}.{os.getpid()}.new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            os.fchmod(descriptor, mode)
            file.write(text)
            file.flush()
            os.fsync(descriptor)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Nobody else on this machine reads and rewrites the folder's files meanwhile."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with (folder / ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
