"""Where the stack's files are: in a checkout the repository, in an installed wheel the package's own `_stack` folder."""

from __future__ import annotations

import os
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
