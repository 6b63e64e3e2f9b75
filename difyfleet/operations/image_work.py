"""Which image a reference has to be, and what is to be done until a host has it. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from difyfleet.facts.images import Image
from difyfleet.spec.lock import LockedImage
from difyfleet.spec.values import stands_for

Locked = Mapping[str, LockedImage]  # by reference
NO_LOCK: Locked = MappingProxyType({})


def present(image: str, there: Iterable[Image]) -> Image | None:
    """The image that a reference stands for. With a digest in the reference, the digest decides."""
    return next((one for one in there if stands_for(image, one.tags, one.digests)), None)


@dataclass(frozen=True)
class Meant:
    """Which image a reference has to be: the locked one, else the one that was recorded, else any."""

    image: str
    locked: LockedImage | None = None
    recorded: str | None = None  # ID

    def is_(self, found: Image) -> bool:
        """Whether an image of the host is the one that is meant."""
        if self.locked is not None:
            return self.locked.fits(self.image, found.id, found.digests)
        return self.recorded in (None, found.id)

    def difference(self, found: Image | None) -> str | None:
        """What is wrong with what is there, in words; None = nothing."""
        if found is None:
            return "absent"
        if self.is_(found):
            return None
        wanted = f"{self.locked} is locked" if self.locked else f"{str(self.recorded)[7:19]} was pulled"
        return f"the tag is on {found.id[7:19]}, {wanted}"

    def elsewhere(self, there: Iterable[Image]) -> str | None:
        """The ID of the image that is meant, if it is there under no or another name."""
        if self.locked is None and self.recorded is None:
            return None
        return next((one.id for one in there if self.is_(one)), None)

    @property
    def source(self) -> str:
        """What is pulled: by digest where it is locked and the registry's digest is known."""
        return (self.locked and self.locked.pinned(self.image)) or self.image


@dataclass(frozen=True)
class Work:
    """What is to be done about a host's images."""

    pull: tuple[str, ...] = ()
    retag: tuple[tuple[str, str], ...] = ()  # (ID or reference by digest, reference)
    unrecorded: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def work(
    images: tuple[str, ...], there: tuple[Image, ...], recorded: Mapping[str, str], locked: Locked = NO_LOCK
) -> Work:
    """Compare wanted images with those that are there. Pure."""
    pull, retag, unrecorded, notes = [], [], [], []
    for image in images:
        meant, found = Meant(image, locked.get(image), recorded.get(image)), present(image, there)
        wrong = meant.difference(found)
        if wrong is None:
            if found is not None and recorded.get(image) != found.id:
                unrecorded.append(image)
                notes.append(f"image {image}: there as {found.id[7:19]}, not recorded yet")
            continue
        known = meant.elsewhere(there)
        if known is not None and "@" not in image:
            retag.append((known, image))
            notes.append(f"image {image}: {wrong}; tagged again")
            continue
        pull.append(meant.source)
        if meant.source != image and "@" not in image:
            retag.append((meant.source, image))
            wrong += "; pulled by its digest and tagged"
        notes.append(f"image {image}: {wrong}")
    return Work(tuple(pull), tuple(retag), tuple(unrecorded), tuple(notes))
