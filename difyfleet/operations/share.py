"""Over the WAN once: what one host of a fleet has fetched, the others take from it (docs/share.md).

Whatever is missing is looked for on the other hosts first. What nobody has, one host fetches for all; the others wait, and take it. What
cannot be taken is fetched, with a note in the report: a neighbour that does not answer costs seconds, never the run.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from difyfleet import progress
from difyfleet.errors import ConnectionLost, HostError
from difyfleet.notes import Change, notes
from difyfleet.operations.share_service import serving
from difyfleet.operations.share_take import Taking
from difyfleet.remote.neighbours import TROUBLE, Busy, Key, Neighbours, Offer

PARALLEL = 2  # takes at once on one host: disks, not the LAN, are the limit
_POLL_SECONDS = 1.0


class Thing(Protocol):
    """What a host lacks: an image or a model."""

    @property
    def key(self) -> Key: ...

    @property
    def timeout(self) -> int:
        """Seconds that taking it may last."""

    def fits(self, offer: Offer) -> bool:
        """Whether what another host has is what is meant here."""

    def order(self, offer: Offer) -> Mapping[str, Any]:
        """What the taking script is told about it."""

    def arrived(self, on: Any) -> Offer | None:
        """What the host has by now."""


class Kind(Protocol):
    """How things of a kind are looked for on other hosts."""

    def has(self, on: Any, keys: Sequence[Key]) -> Mapping[Key, Offer]:
        """What a host has of these. Reads only."""

    def declares(self, on: Any, key: Key) -> bool:
        """Whether a host is meant to have it."""


Done = Callable[[Key], None]
Fetch = Callable[[Sequence[Any], Done], None]  # things, and what to call when one of them has come


def neighbours_of(on: Any) -> Neighbours | None:
    """The other hosts of the fleet; None where nothing is shared."""
    found = on.data.get("neighbours")
    spec = on.data.get("spec")
    return found if isinstance(found, Neighbours) and spec is not None and spec.share.enabled else None


def alone(on: Any) -> bool:
    """Whether no other host can have what this one needs: then its pulls may begin before anybody waits for them."""
    fleet = neighbours_of(on)
    return fleet is None or fleet.alone


def bring(on: Any, things: Sequence[Any], kind: Kind, fetch: Fetch) -> None:
    """Bring things onto a host: taken from neighbours, else fetched over the WAN.

    Args:
        things: see Thing; all of one kind.
        fetch: gets things from their registries. Called at most once for each of them.

    Raises:
        HostError: what fetch raises.
    """
    fleet = neighbours_of(on)
    if fleet is None:
        fetch(things, lambda key: None)
        return
    _Bringing(on, things, fleet, fetch).run(kind)


class _Bringing:
    """One host's things on their way."""

    def __init__(self, on: Any, things: Sequence[Any], fleet: Neighbours, fetch: Fetch) -> None:
        self._on, self._fleet, self._fetch = on, fleet, fetch
        self._todo: dict[Key, Any] = {thing.key: thing for thing in things}
        self._taking: dict[Key, Taking] = {}
        self._avoid: dict[Key, set[str]] = {key: set() for key in self._todo}
        self._said = ""

    def run(self, kind: Kind) -> None:
        self._fleet.look(self._on, tuple(self._todo), kind.has, kind.declares)
        try:
            while self._todo:
                self._turn()
        finally:
            for taking in self._taking.values():
                self._fleet.leaves(taking.donor)

    def _turn(self) -> None:
        """Begin what can be begun, fetch what nobody has, look at what is under way."""
        mine = [
            thing
            for key, thing in self._todo.items()
            if key not in self._taking and self._is_mine(key, thing)
        ]
        if mine:
            self._fetch_for_all(mine)
            return
        waiting = [key for key in self._todo if key not in self._taking]
        for key in waiting:
            if len(self._taking) < PARALLEL:
                self._begin(key)
        for key in list(self._taking):
            self._watch(key)
        self._say()
        if self._todo:
            time.sleep(_POLL_SECONDS)

    def _is_mine(self, key: Key, thing: Any) -> bool:
        """Whether it is on this host to fetch it: nobody has it and nobody else is at it."""
        try:
            if self._fleet.donor(self._on, key, thing.fits, self._avoid[key]) is not None:
                return False
        except Busy:
            return False
        return self._fleet.claim(self._on, key)

    def _fetch_for_all(self, things: Sequence[Any]) -> None:
        by_key = {thing.key: thing for thing in things}

        def done(key: Key) -> None:
            offer = by_key[key].arrived(self._on)
            if offer is not None:
                self._fleet.found(self._on, key, offer)
            self._fleet.fetched(key)

        try:
            self._fetch(things, done)
        finally:
            for key in by_key:
                if self._fleet.fetcher(key) == self._on.name:
                    done(key)
                self._todo.pop(key, None)

    def _begin(self, key: Key) -> None:
        thing = self._todo[key]
        try:
            donor = self._fleet.donor(self._on, key, thing.fits, self._avoid[key])
        except Busy:
            return
        if donor is None:  # somebody is fetching it
            return
        offer = self._fleet.offer(donor, key)
        self._fleet.begins(donor)
        try:
            taking = Taking(self._on, donor, thing, offer)
            taking.start(serving(self._fleet, donor, self._on))
        except TROUBLE as error:
            self._fleet.ends(donor)
            if isinstance(error, ConnectionLost) and error.where == self._on.name:
                raise
            self._give_up(key, donor, str(error))
            return
        self._taking[key] = taking

    def _watch(self, key: Key) -> None:
        taking = self._taking[key]
        try:
            if not taking.ended():
                return
            offer = self._todo[key].arrived(self._on)
            if offer is None or offer.digest != taking.offer.digest:
                raise HostError("it came, but is not what was offered")
        except ConnectionLost:
            raise
        except (HostError, OSError) as error:
            self._drop(key, taking)
            self._give_up(key, taking.donor, str(error))
            return
        self._drop(key, taking)
        del self._todo[key]
        self._fleet.found(self._on, key, offer)
        _note(self._on, f"{key[0]} {key[1]}: taken from {taking.donor.name}")

    def _drop(self, key: Key, taking: Taking) -> None:
        del self._taking[key]
        self._fleet.ends(taking.donor)

    def _give_up(self, key: Key, donor: Any, why: str) -> None:
        self._avoid[key].add(donor.name)
        _note(
            self._on,
            f"{key[0]} {key[1]}: warning: could not be taken from {donor.name} ({why.splitlines()[0]})",
        )

    def _say(self) -> None:
        parts = [
            f"{key[1]} from {taking.donor.name} {taking.words}".rstrip()
            for key, taking in self._taking.items()
        ]
        for key in self._todo:
            at_it = self._fleet.fetcher(key)
            if key not in self._taking and at_it is not None:
                parts.append(f"{key[1]}: {at_it} is fetching it")
                break
        text = "; ".join(parts)
        if text and text != self._said:
            progress.report(self._on.name, text)
        self._said = text


def _note(on: Any, text: str) -> None:
    """For the report, where the operation's reasons stand, and for whoever watches."""
    progress.report(on.name, text)
    op_hash = on.executing_op_hash or on.current_op_hash
    if op_hash:
        notes(on, op_hash).changes.append(Change(text))
