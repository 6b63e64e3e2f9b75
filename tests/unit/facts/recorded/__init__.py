"""Output of the facts' commands as lab hosts gave it (a static and an RPM installation of Docker 26.1.5)."""

from __future__ import annotations

from pathlib import Path


def lines(name: str) -> list[str]:
    """The recorded lines as pyinfra hands them to `process`."""
    return (Path(__file__).with_name(f"{name}.txt")).read_text().split("\n")[:-1]
