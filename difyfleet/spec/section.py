"""The base of all sections of an inventory."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationInfo, field_validator

from difyfleet.spec.local_files import located

MAY_BE_MISSING = "may_be_missing"  # json_schema_extra of a Path field whose file need not exist yet


class Section(BaseModel):
    """Base of all sections: unknown keys are errors, values do not change after loading."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, populate_by_name=True, arbitrary_types_allowed=True
    )

    @field_validator("*", mode="after")
    @classmethod
    def _files_are_found(cls, value: Any, info: ValidationInfo) -> Any:
        """Every field of type Path is a file or folder on the controller: made absolute and looked for while a file is loaded."""
        extra = cls.model_fields[info.field_name or ""].json_schema_extra
        return located(
            value, info.context, may_be_missing=isinstance(extra, dict) and bool(extra.get(MAY_BE_MISSING))
        )
