"""What was found wrong in an inventory: collected with positions, raised together."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from difyfleet.errors import SpecError


@dataclass(frozen=True, order=True)
class Position:
    """A place in a file; line and column count from 1."""

    line: int
    column: int
    file: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


@dataclass(frozen=True)
class Warning_:
    """Something in the inventory that works but deserves a second look.

    Args:
        where: file:line:col.
        what: key path and the reason, one sentence.
        hint: what to write instead.
    """

    where: str
    what: str
    hint: str | None = None

    def __str__(self) -> str:
        return f"{self.where}: {self.what}" + (f"\n  next: {self.hint}" if self.hint else "")


class SpecErrors(SpecError):
    """All that is wrong in one inventory. `str()` prints one error per line, in the order of the file."""

    def __init__(self, errors: Iterable[SpecError]) -> None:
        self.errors = tuple(errors)
        many = len(self.errors) != 1
        super().__init__(
            f"{len(self.errors)} error{'s' if many else ''} in the inventory; no host was contacted"
        )

    def __str__(self) -> str:
        return "\n".join(
            f"{error.where}: {error.what}" if error.where else error.what for error in self.errors
        )


class Problems:
    """Collects errors and warnings. The same sentence about the same place counts once (hosts share sections)."""

    def __init__(self) -> None:
        self._errors: dict[tuple[Position, str], None] = {}
        self._warnings: dict[tuple[Position, str], None] = {}

    def __bool__(self) -> bool:
        return bool(self._errors)

    def error(self, at: Position, path: str, text: str) -> None:
        self._errors[(at, _sentence(path, text))] = None

    def warn(self, at: Position, path: str, text: str) -> None:
        self._warnings[(at, _sentence(path, text))] = None

    def warnings(self) -> tuple[Warning_, ...]:
        return tuple(Warning_(str(at), what) for at, what in sorted(self._warnings))

    def raise_if_any(self) -> None:
        """Raise SpecErrors when at least one error was collected."""
        if self._errors:
            raise SpecErrors(SpecError(what, where=str(at)) for at, what in sorted(self._errors))


def _sentence(path: str, text: str) -> str:
    return f"{path}: {text}" if path else text
