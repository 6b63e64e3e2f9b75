"""What difyfleet remembers about the inside of a host's Dify, and the refused login that it must not repeat."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable
from typing import Any

from pyinfra.api import FactBase

from difyfleet.host_calls import Command

STATE_PATH = "/etc/difyfleet/dify-state.json"
REFUSED_PATH = "/etc/difyfleet/dify-login-refused.json"


class JsonFile(FactBase[dict[str, Any] | None]):
    """A JSON file of ours; None = not there (or of another form: it is then made anew from what is found by name).

    Args:
        path: absolute path on the host.
    """

    def command(self, path: str) -> Command:
        quoted = shlex.quote(path)
        text = f"[ ! -f {quoted} ] || cat {quoted}"
        return Command(text, "difyfleet.facts.files_script", "cat_file", path)

    @staticmethod
    def default() -> None:
        return None

    def process(self, output: Iterable[str]) -> dict[str, Any] | None:
        text = "\n".join(output)
        try:
            found = json.loads(text) if text.strip() else None
        except ValueError:
            return None
        return found if isinstance(found, dict) else None
