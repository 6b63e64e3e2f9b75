"""How far downloads are, per host and over all hosts: what the bars of cli/watch.py show."""

from __future__ import annotations

from collections.abc import Iterable

from difyfleet.progress import Amount

_UNITS = ("layers", "bytes")
_SIZES = (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("KB", 1e3))


class Amounts:
    """What came to which host."""

    def __init__(self) -> None:
        self._of: dict[str, dict[str, Amount]] = {}

    def add(self, host: str, amount: Amount) -> None:
        """The newest about one thing on one host. What an earlier look has shown is not taken back: a second pull begins at 0."""
        before = self._of.setdefault(host, {}).get(amount.what)
        if before is None or (amount.total, amount.done) >= (before.total, before.done):
            self._of[host][amount.what] = amount

    def hosts(self) -> list[str]:
        """Those of which anything is known."""
        return list(self._of)

    def share(self, host: str | None = None) -> float:
        """0 to 1, of one host or of all. Layers and bytes have no common measure, so each unit counts for as much as the other."""
        shares = [done / total for done, total in self._sums(host).values() if total]
        return sum(shares) / len(shares) if shares else 0.0

    def words(self, host: str | None = None) -> str:
        """`images 41/63 layers, models 3.1/9.4 GB`, of one host or of all."""
        parts = []
        for unit, (done, total) in self._sums(host).items():
            parts.append(
                f"images {done}/{total} layers" if unit == "layers" else f"models {_size(done, total)}"
            )
        return ", ".join(parts)

    def _sums(self, host: str | None) -> dict[str, tuple[int, int]]:
        found: list[Iterable[Amount]] = [
            each.values() for name, each in self._of.items() if host in (None, name)
        ]
        amounts = [amount for each in found for amount in each]
        sums = {
            unit: (
                sum(each.done for each in amounts if each.unit == unit),
                sum(each.total for each in amounts if each.unit == unit),
            )
            for unit in _UNITS
        }
        return {unit: pair for unit, pair in sums.items() if pair[1]}


def _size(done: int, total: int) -> str:
    name, size = next(((name, size) for name, size in _SIZES if total >= size), ("B", 1.0))
    digits = 1 if total / size < 100 and size > 1 else 0
    return f"{done / size:.{digits}f}/{total / size:.{digits}f} {name}"
