"""Images as things that the hosts of a fleet hand to each other.

`docker save` and `docker load` keep an image's configuration and with it its ID in either of Docker's image stores, but not the registry's
digest. So an image that the inventory names by digest cannot be handed on, and every other one is told by its ID.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from difyfleet.facts.images import Image, LocalImages
from difyfleet.operations.image_work import Meant, present
from difyfleet.remote.neighbours import Key, Offer, read_fact

SECONDS = 3 * 3600  # for one image


@dataclass(frozen=True)
class WantedImage:
    """An image that a host lacks."""

    meant: Meant
    timeout: int = SECONDS

    @property
    def key(self) -> Key:
        return "image", self.meant.image

    def fits(self, offer: Offer) -> bool:
        """Whether another host's image would be the right one here, where it will have no registry's digest."""
        if "@" in self.meant.image:
            return False
        return self.meant.is_(Image(offer.digest, frozenset(), frozenset()))

    def order(self, offer: Offer) -> Mapping[str, Any]:
        return {"image": self.meant.image}

    def arrived(self, on: Any) -> Offer | None:
        return offers(read_fact(on, LocalImages, names=(self.meant.image,)), [self.key]).get(self.key)


def offers(there: tuple[Image, ...] | None, keys: Sequence[Key]) -> dict[Key, Offer]:
    """Those of the keys that are among a host's images. Pure."""
    found = {}
    for key in keys:
        image = present(key[1], there or ())
        if image is not None:
            found[key] = Offer(image.id, image.size)
    return found


class Images:
    """How images are looked for on other hosts."""

    def has(self, on: Any, keys: Sequence[Key]) -> Mapping[Key, Offer]:
        return offers(read_fact(on, LocalImages, names=tuple(name for _, name in keys)), keys)

    def declares(self, on: Any, key: Key) -> bool:
        return bool(on.data.spec.share.enabled) and key[1] in on.data.spec.wanted_images
