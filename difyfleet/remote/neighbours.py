"""What the hosts of a fleet have for each other: who holds a thing, who fetches it for all, how many take from whom.

One object per run, in the controller's memory. Hosts are greenlets, so nothing here is interrupted between two waits.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import gevent
from gevent.lock import BoundedSemaphore
from paramiko import SSHException
from pyinfra.api import FactBase, StringCommand
from pyinfra.api.exceptions import PyinfraError

from difyfleet.errors import FleetError
from difyfleet.remote.reading import reading

TAKERS = 3  # at once from one host; more wait, or take from those who have it by then
OUTSIDE = 4  # hosts outside the run that are asked
TROUBLE = (FleetError, PyinfraError, SSHException, OSError, EOFError, ValueError)

Key = tuple[str, str]  # kind and name


@dataclass(frozen=True)
class Offer:
    """What a host has under a key.

    Args:
        digest: image ID, or digest of the model's manifest.
        size: bytes.
        what: more about it, for whoever asked.
    """

    digest: str
    size: int
    what: Any = None


def read_fact(on: Any, fact: type[FactBase[Any]], timeout: int = 60, **arguments: Any) -> Any:
    """A fact of another host. Not by its get_fact: a fact that fails there would end that host's own run.

    Raises:
        HostError, OSError, SSHException, EOFError: it could not be read.
    """
    one = fact()
    with reading():
        ok, output = on.connector.run_shell_command(
            StringCommand(one.command(**arguments)), _sudo=bool(on.data.get("_sudo")), _timeout=timeout
        )
    if not ok:
        raise OSError("; ".join(output.stderr_lines[-2:]) or "a fact could not be read")
    return one.process(output.stdout_lines) if output.stdout_lines else one.default()


class Neighbours:
    """The hosts of a run, and others of the fleet that may have what they need.

    Args:
        inside: the run's hosts, connected or not.
        outside: connects hosts that are not part of the run, and gives those that answer. Called once, if at all.
    """

    def __init__(self, inside: Iterable[Any], outside: Callable[[], Sequence[Any]] = tuple) -> None:
        self._inside = list(inside)
        self._outside, self._others = outside, list[Any]()
        self._asked_outside = False
        self._offers: dict[Key, dict[str, Offer]] = {}
        self._asked: set[tuple[Key, str]] = set()
        self._fetching: dict[Key, str] = {}
        self._takers: dict[str, int] = {}
        self._closers: dict[str, Callable[[], None]] = {}
        self._left: set[str] = set()  # hosts from which somebody goes on taking though its run was cut
        self._asking = BoundedSemaphore(1)  # who comes second waits for the answer instead of fetching
        self.alone = len(self._inside) < 2 and outside is tuple  # nobody to take from or to wait for
        self.services: dict[str, Any] = {}  # host -> what serves there, kept by operations/share_service.py
        self.serving = BoundedSemaphore(
            1
        )  # held while a service is started or opened: two takers may come at once

    def look(
        self,
        on: Any,
        keys: Sequence[Key],
        has: Callable[[Any, Sequence[Key]], Mapping[Key, Offer]],
        declares: Callable[[Any, Key], bool],
    ) -> None:
        """Find out who has what. Each host is asked once in a run about each thing, and only about what it declares.

        Args:
            on: the host that needs them.
            has: reads what a host has of some keys.
            declares: whether a host is meant to have one.
        """
        with self._asking:
            self._ask(
                [host for host in self._inside if host is not on and host.connected], keys, has, declares
            )
            missing = [key for key in keys if not self._offers.get(key)]
            if missing:
                if not self._asked_outside:
                    self._asked_outside = True
                    self._others = list(self._outside())
                self._ask(self._others, missing, has, declares)

    def _ask(self, hosts: Iterable[Any], keys: Sequence[Key], has: Any, declares: Any) -> None:
        def one(host: Any, open_: list[Key]) -> None:
            with contextlib.suppress(*TROUBLE):
                for key, offer in has(host, open_).items():
                    self.found(host, key, offer)

        jobs = []
        for host in hosts:
            open_ = [key for key in keys if (key, host.name) not in self._asked and declares(host, key)]
            self._asked.update((key, host.name) for key in open_)
            if open_:
                jobs.append(gevent.spawn(one, host, open_))
        gevent.joinall(jobs)

    def found(self, on: Any, key: Key, offer: Offer) -> None:
        """A host has a thing."""
        self._offers.setdefault(key, {})[on.name] = offer

    def claim(self, on: Any, key: Key) -> bool:
        """Whether this host is the one that fetches a thing for all; it has to say fetched() in the end."""
        return bool(self._fetching.setdefault(key, on.name) == on.name)

    def fetcher(self, key: Key) -> str | None:
        """The host that is fetching a thing."""
        return self._fetching.get(key)

    def fetched(self, key: Key) -> None:
        """The fetch has ended, well or not."""
        self._fetching.pop(key, None)

    def donor(self, on: Any, key: Key, fits: Callable[[Offer], bool], avoid: Iterable[str]) -> Any | None:
        """A host to take a thing from: the one that fewest take from. None = nobody has it.

        Raises:
            Busy: those that have it are giving to as many as they may.
        """
        offers, avoid = self._offers.get(key, {}), {on.name, *avoid}
        known = {host.name: host for host in (*self._inside, *self._others)}
        names = [name for name, offer in offers.items() if name not in avoid and fits(offer)]
        if not names:
            return None
        name = min(names, key=lambda one: self._takers.get(one, 0))
        if self._takers.get(name, 0) >= TAKERS:
            raise Busy(name)
        return known[name]

    def offer(self, donor: Any, key: Key) -> Offer:
        """What a donor has."""
        return self._offers[key][donor.name]

    def begins(self, donor: Any) -> None:
        """One more takes from this host."""
        self._takers[donor.name] = self._takers.get(donor.name, 0) + 1

    def ends(self, donor: Any) -> None:
        """One fewer does."""
        self._takers[donor.name] -= 1

    def taken_from(self, donor: Any) -> int:
        """How many take from this host."""
        return self._takers.get(donor.name, 0)

    def leaves(self, donor: Any) -> None:
        """A taker's run was cut: on the hosts the transfer goes on, so what serves there is left to its own time-out."""
        self.ends(donor)
        self._left.add(donor.name)

    def at_end(self, donor: Any, closer: Callable[[], None]) -> None:
        """Call this when the run ends, while its hosts are still connected."""
        self._closers[donor.name] = closer

    def close(self) -> None:
        """The run ends: call what at_end() was given, then disconnect from the hosts outside."""
        for name, closer in self._closers.items():
            if name not in self._left and not self._takers.get(name):  # Ctrl-C: takers have not been told yet
                with contextlib.suppress(*TROUBLE):
                    closer()
        self._closers.clear()
        for host in self._others:
            with contextlib.suppress(Exception):
                host.disconnect()


class Busy(Exception):
    """Whoever has the thing gives to as many as it may."""
