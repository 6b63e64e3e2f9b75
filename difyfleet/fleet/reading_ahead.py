"""When a run reads ahead (remote/read_ahead.py), and what makes two runs the same.

Plan, execution and checks are phases of their own; what was read ahead in one is void in the next, and as soon as something is changed.
Two runs are the same for it when host, phase, roles, switches, the resolved inventory, the deploy code and pyinfra are.
`DIFYFLEET_READ_AHEAD=0` turns it off; so does a file `off` in the state folder's `read-ahead`, for a scheduled run whose environment
is out of reach.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import hmac
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic_core import to_jsonable_python

from difyfleet import stack
from difyfleet.fleet import plan_digest
from difyfleet.fleet.declared import controller_key
from difyfleet.fleet.sign_ins import sign_ins
from difyfleet.once import once
from difyfleet.paths import state_dir
from difyfleet.remote.learned_reads import Learned
from difyfleet.remote.learned_requests import LearnedRequests
from difyfleet.remote.read_ahead import Evidence, ReadAhead
from difyfleet.remote.requests_ahead import RequestsAhead
from difyfleet.spec.models import HostSpec

SWITCH = "DIFYFLEET_READ_AHEAD"
DECLARE, EXECUTE = (
    "declare",
    "execute",
)  # faces that roles do not know: converge without a plan, and what it declared


def folder() -> Path:
    """Where the reads of each host are remembered."""
    return state_dir() / "read-ahead"


def switched_on() -> bool:
    """Whether runs read ahead at all."""
    return os.environ.get(SWITCH, "1") != "0" and not (folder() / "off").exists()


class Readers:
    """The hosts of one run, and what they may read ahead.

    Args:
        roles, switches: of the run; they decide what is read.
    """

    def __init__(self, roles: Iterable[str] = (), switches: Mapping[str, Any] | None = None) -> None:
        self._roles = sorted(roles)
        self._switches = sorted((name, value) for name, value in (switches or {}).items() if value)
        self._faces: dict[str, list[str]] = {}  # by host, those seen so far
        self._on = switched_on()
        self._key = b""  # the controller's, once it was needed

    @contextlib.contextmanager
    def phase(self, host: Any, face: str) -> Iterator[None]:
        """Inside, the host's reads are answered from what was read ahead, and learned.

        Args:
            host: pyinfra's host.
            face: converge, checks, or one that only the engine knows.
        """
        if not self._on:
            yield
            return
        door = self._door(host)
        faces = self._faces.setdefault(host.name, [])
        faces.append(face)  # what a plan has read before, checks may not ask again
        like = " ".join([stack.CONVERGE, *self._roles]) if face == EXECUTE else ""
        # where changes are expected a sign-in's answer would be void before it is asked for, and made again
        door.ahead.begin(" ".join([*faces, *self._roles]), like, sign_in=face != EXECUTE)
        whole = False
        try:
            yield
            whole = host not in host.state.failed_hosts
        finally:
            door.ahead.end(learn=whole)

    def digest(self, host: Any, face: str) -> Evidence | None:
        """By what a phase would be decided now, told by the host in one line; None = it cannot be told.

        Args:
            face: as the first phase of a run.
        """
        if not self._on:
            return None
        door = self._door(host)
        try:
            found: Evidence | None = door.ahead.digest(" ".join([face, *self._roles]), door.sudo_password)
        except TimeoutError as error:
            door.require_connection(error)
            return None
        return found

    def evidence(self, host: Any) -> Evidence | None:
        """By what the host's last phase was decided."""
        ahead = host.connector.ahead if self._on else None
        return ahead.evidence if ahead is not None else None

    def _door(self, host: Any) -> Any:
        door = host.connector
        if door.ahead is None:
            spec: HostSpec = host.data.spec
            learned = self._learned(spec)
            requests = LearnedRequests(learned.path.with_suffix(".requests.json"), learned.digest)
            ahead = RequestsAhead(host.name, requests, sign_ins(spec))
            door.ahead = ReadAhead(host.name, door.open, learned, door.front, ahead)
        return door

    def _learned(self, spec: HostSpec) -> Learned:
        said = json.dumps(
            [
                _code(),
                {name: _said(value) for name, value in dict(spec).items()},
                self._roles,
                self._switches,
            ],
            sort_keys=True,
            default=str,
        )
        self._key = self._key or controller_key()
        digest = hmac.new(self._key, said.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()
        place = hashlib.sha256(f"{spec.address} {spec.ssh.user} {spec.ssh.port}".encode()).hexdigest()[:8]
        return Learned(folder() / f"{spec.name}-{place}.json", digest)


@once(1024)
def _said(value: Any) -> Any:
    """A section as JSON types; most hosts share most of them."""
    return json.dumps(to_jsonable_python(value, fallback=str), sort_keys=True, default=str)


@functools.lru_cache(maxsize=1)
def _code() -> str:
    return plan_digest.of_code()
