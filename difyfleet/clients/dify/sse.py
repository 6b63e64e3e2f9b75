"""Server-sent events as Dify 0.11.2 writes them: `data: {json}` lines, and a bare `event: ping` after ten silent seconds."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

from difyfleet.clients.dify.errors import ContractError


def events(lines: Iterable[bytes], where: str) -> Iterator[dict[str, Any]]:
    """The JSON objects of a stream, in order; pings, comments and blank lines are left out.

    Args:
        lines: the body's lines without their line ends.
        where: method and path, for messages.

    Raises:
        ContractError: a data line that is not a JSON object.
    """
    for line in lines:
        if not line.startswith(b"data:"):
            continue
        text = line[5:].strip()
        try:
            event = json.loads(text)
        except ValueError as error:
            raise ContractError(
                f"a stream line is not JSON: {text[:80]!r}", where=where, field="data"
            ) from error
        if not isinstance(event, dict):
            raise ContractError(f"a stream line is not an object: {text[:80]!r}", where=where, field="data")
        yield event
