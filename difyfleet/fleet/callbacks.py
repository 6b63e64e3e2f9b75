"""What pyinfra tells about hosts while it works, kept for the report; pyinfra itself prints nothing."""

from __future__ import annotations

import logging
from typing import Any

from pyinfra.api.state import BaseStateCallback
from pyinfra.context import ctx_host


class Said(logging.Handler):
    """Keeps what pyinfra says about each host; it becomes the host's error text."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: dict[str, list[str]] = {}

    def emit(self, record: logging.LogRecord) -> None:
        host = ctx_host.get() if ctx_host.isset() else None
        if host is not None:
            self.lines.setdefault(host.name, []).append(record.getMessage())


class ConnectErrors(BaseStateCallback):
    """Keeps why a host could not be connected to."""

    def __init__(self) -> None:
        self.errors: dict[str, str] = {}

    def host_connect_error(self, state: Any, host: Any, error: Any) -> None:  # type: ignore[override]  # static there, a method here works as well
        self.errors[host.name] = str(error)
