"""What a user may write: typed models, YAML with positions, secret sources, JSON Schema. Nothing here contacts a host."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from difyfleet.spec.models import Environment


def load(path: str | Path) -> Environment:
    """See difyfleet.spec.loader.load. Imported late, so that `import difyfleet.spec` costs nothing."""
    from difyfleet.spec import loader

    return loader.load(path)
