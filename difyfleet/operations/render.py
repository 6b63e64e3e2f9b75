"""Templates: strict (an unknown name is an error), from the one templates/ folder."""

from __future__ import annotations

import functools
import json
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from difyfleet.once import once
from difyfleet.paths import templates_dir


@functools.lru_cache(maxsize=1)
def _environment() -> Environment:
    env = Environment(  # noqa: S701 - configuration files, not HTML
        loader=FileSystemLoader(str(templates_dir())),
        undefined=StrictUndefined,
        keep_trailing_newline=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    env.filters["json"] = json.dumps
    return env


@once(256)
def render(template: str, **values: Any) -> str:
    """The text of templates/`template` with these values. Raises jinja2.UndefinedError for a name without a value."""
    return _environment().get_template(template).render(**values)
