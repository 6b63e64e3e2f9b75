"""Events as JSON lines."""

from __future__ import annotations

import contextlib
import json
from typing import Any, TextIO

from pydantic import BaseModel

from difyfleet.secrets import mask


class JsonLines:
    """Writes each event as one line, secrets masked, at once.

    Args:
        stream: where to; once nobody reads it any more (a closed pipe) the rest is dropped, the run goes on.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __call__(self, event: BaseModel) -> None:
        line = json.dumps(_masked(event.model_dump(mode="json")), ensure_ascii=False)
        with contextlib.suppress(BrokenPipeError):
            self._stream.write(f"{line}\n")
            self._stream.flush()


def _masked(value: Any) -> Any:
    if isinstance(value, str):
        return mask(value)
    if isinstance(value, dict):
        return {key: _masked(inner) for key, inner in value.items()}
    return [_masked(inner) for inner in value] if isinstance(value, list) else value
