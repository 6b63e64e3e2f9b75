"""Where a secret comes from: `{env: NAME}`, `{file: PATH}`, `{command: ...}` or `generate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field


class _Source(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class FromEnv(_Source):
    """Read from an environment variable of the controller."""

    env: str = Field(..., description="Variable name.")


class FromFile(_Source):
    """Read from a file on the controller; one trailing newline is dropped. The file must not be readable by others."""

    file: Path = Field(..., description="Path, relative to the inventory file.")


class FromCommand(_Source):
    """First line of a command's standard output, run on the controller without a shell (30 s at most)."""

    command: Annotated[list[str], Field(min_length=1)] = Field(..., description="Argument list, e.g. [pass, show, dify].")


class Generate(_Source):
    """Generated once at first apply and kept on the host, root-only (the default of every Dify secret)."""

    generate: Literal[True] = Field(..., description="Always true.")


SecretSource = FromEnv | FromFile | FromCommand | Generate
