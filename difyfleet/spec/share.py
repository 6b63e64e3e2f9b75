"""What the hosts of an inventory do for each other."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from difyfleet.spec import defaults
from difyfleet.spec.section import Section


class Share(Section):
    """Over the WAN once: what one host has fetched, the others take from it."""

    enabled: bool = Field(
        True,
        description="Take images and models from other hosts of this inventory that have them, and hand them on. "
        "false: this host fetches for itself, and gives nothing.",
    )
    port: Annotated[int, Field(ge=1024, le=65526)] = Field(
        defaults.SHARE_PORT,
        description="TCP port that a giving host listens on during a run (or one of the nine after it).",
    )
    address: Annotated[str, Field(pattern=r"^\d+\.\d+\.\d+\.\d+$")] | None = Field(
        None,
        description="IPv4 address at which other hosts reach this one. Default: one in a network that both are in, else any.",
    )
