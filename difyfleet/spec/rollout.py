"""How a rollout goes over the hosts: the waves, and how many hosts may fail."""

from __future__ import annotations

import math
import re
from typing import Annotated

from pydantic import AfterValidator, Field

from difyfleet.spec.section import Section


def share(value: str) -> str:
    """A share of the hosts, `25%`."""
    if not re.fullmatch(r"([1-9]\d?|100)%", value):
        raise ValueError(f"should be a number of hosts, or a share from 1% to 100%, not {value!r}")
    return value


Wave = Annotated[int, Field(ge=1)] | Annotated[str, AfterValidator(share)]


def _growing(waves: list[Wave]) -> list[Wave]:
    for kind in (int, str):
        sizes = [int(str(wave).rstrip("%")) for wave in waves if isinstance(wave, kind)]
        if sizes != sorted(set(sizes)):
            raise ValueError(
                "each wave should be larger than the one before: they count all hosts done by then"
            )
    if waves[-1:] != ["100%"]:
        raise ValueError("the last wave should be 100%, or hosts would be left out")
    return waves


class Rollout(Section):
    """How `difyfleet rollout` goes over the hosts. Only at the top level of the file."""

    waves: Annotated[list[Wave], AfterValidator(_growing)] = Field(
        default_factory=lambda: list[Wave]([1, "25%", "100%"]),
        description="After each wave, so many hosts are done in all: a number, or a share of the hosts, rounded up. "
        "A wave that adds none is left out; the last one is 100%.",
    )
    max_failures: Annotated[int, Field(ge=0)] = Field(
        0, description="Hosts that may fail, over all waves, before the rollout halts."
    )

    def sizes(self, hosts: int) -> tuple[int, ...]:
        """How many hosts each wave adds, waves that add none left out.

        Args:
            hosts: how many there are.
        """
        found, done = [], 0
        for wave in self.waves:
            by_then = wave if isinstance(wave, int) else math.ceil(hosts * int(wave.rstrip("%")) / 100)
            by_then = min(by_then, hosts)
            if by_then > done:
                found.append(by_then - done)
                done = by_then
        return tuple(found)
