"""Where a secret comes from: `{env: NAME}`, `{file: PATH}`, `{command: [...]}` or `{generate: true}`.

A secret's value is never written into an inventory, so there is no form for it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    PrivateAttr,
    Tag,
    ValidationInfo,
    field_validator,
)

from difyfleet.spec.local_files import LoadContext, located, readable_by_others


@dataclass(frozen=True)
class Place:
    """Where a source was declared.

    Args:
        where: file:line:col.
        path: key path as written, `hosts.llm.dify.secrets.db_password`.
        field: the field it fills, `dify.secrets.db_password`; decides which characters the value may hold.
    """

    where: str
    path: str
    field: str


class _Source(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    _place: Place | None = PrivateAttr(None)

    @property
    def place(self) -> Place | None:
        """Set by the loader; None for a source made in Python."""
        return self._place

    def declared_at(self, place: Place) -> None:
        self._place = place

    def __hash__(self) -> int:
        return hash(self.model_dump_json())


class FromEnv(_Source):
    """Read from an environment variable of the controller."""

    env: Annotated[str, Field(min_length=1)] = Field(..., description="Variable name.")


class FromFile(_Source):
    """Read from a file on the controller; one trailing newline is dropped. The file must not be readable by others."""

    file: Path = Field(..., description="Path, relative to the inventory file.")

    @field_validator("file", mode="after")
    @classmethod
    def _is_private(cls, value: Path, info: ValidationInfo) -> Path:
        path: Path = located(value, info.context)
        if isinstance(info.context, LoadContext):
            reason = readable_by_others(path)
            if reason:
                raise ValueError(reason)
        return path


class FromCommand(_Source):
    """First line of a command's standard output, run on the controller without a shell (30 s at most)."""

    command: Annotated[list[str], Field(min_length=1)] = Field(
        ..., description="Argument list, e.g. [pass, show, dify]."
    )


class Generate(_Source):
    """Generated once at first apply and kept on the host, root-only (the default of every Dify secret)."""

    generate: Literal[True] = Field(..., description="Always true.")


MEMBERS: dict[str, type[_Source]] = {
    "<env>": FromEnv,
    "<file>": FromFile,
    "<command>": FromCommand,
    "<generate>": Generate,
}


def _form(value: Any) -> str | None:
    """The tag of the form that was written, for one clear error instead of four."""
    if isinstance(value, _Source):
        return next((tag for tag, member in MEMBERS.items() if isinstance(value, member)), None)
    if isinstance(value, dict):
        known = [tag for tag in MEMBERS if tag[1:-1] in value]
        return known[0] if known else None
    return None


SecretSource = Annotated[
    Annotated[FromEnv, Tag("<env>")]
    | Annotated[FromFile, Tag("<file>")]
    | Annotated[FromCommand, Tag("<command>")]
    | Annotated[Generate, Tag("<generate>")],
    Discriminator(_form, custom_error_type="secret_source", custom_error_message="not a secret source"),
]
