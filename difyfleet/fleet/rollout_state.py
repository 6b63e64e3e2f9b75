"""What the controller remembers of the last rollout of an inventory: which hosts are done, which failed, which were not reached."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from difyfleet.errors import FleetError, Locked
from difyfleet.fleet import plan_digest
from difyfleet.fleet.declared import controller_key
from difyfleet.fleet.results import now
from difyfleet.paths import environment_dir, write_whole
from difyfleet.spec.models import HostSpec

FORMAT = 1
UNTOUCHED, STARTED, DONE, FAILED = "untouched", "started", "done", "failed"


@dataclass
class HostState:
    """One host of a rollout.

    Args:
        state: UNTOUCHED; STARTED (the run died or was interrupted in the middle); DONE; FAILED.
        digest: of what the inventory declared for it when it was done; None = it was not.
    """

    state: str = UNTOUCHED
    digest: str | None = None


@dataclass
class RolloutState:
    """One rollout.

    Args:
        began: UTC, ISO 8601.
        limit, roles: how it was asked for; a resumed one goes on with the same.
    """

    path: Path
    began: str
    limit: str | None
    roles: tuple[str, ...]
    hosts: dict[str, HostState] = field(default_factory=dict)

    @property
    def complete(self) -> bool:
        """Whether nothing is left to do."""
        return all(host.state == DONE for host in self.hosts.values())

    def set(self, names: Iterable[str], state: str, digests: Mapping[str, str] | None = None) -> None:
        """Change the state of hosts, and write the file."""
        for name in names:
            self.hosts[name] = HostState(state, (digests or {}).get(name))
        self.save()

    def save(self) -> None:
        hosts = {name: asdict(host) for name, host in self.hosts.items()}
        document = {"version": FORMAT, "began": self.began, "limit": self.limit, "roles": self.roles}
        write_whole(self.path, json.dumps({**document, "hosts": hosts}, indent=1) + "\n")


def new(inventory: Path, limit: str | None, roles: Iterable[str], hosts: Iterable[HostSpec]) -> RolloutState:
    """A rollout that has not begun; nothing is written yet."""
    states = {spec.name: HostState() for spec in hosts}
    return RolloutState(_path(inventory), now(), limit, tuple(roles), states)


def last(inventory: Path) -> RolloutState | None:
    """The last rollout of an inventory on this controller; None = there was none.

    Raises:
        FleetError: its file is damaged.
    """
    path = _path(inventory)
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        if document["version"] != FORMAT:
            raise ValueError(f"version {document['version']}")
        hosts = {name: HostState(**host) for name, host in document["hosts"].items()}
        return RolloutState(path, document["began"], document["limit"], tuple(document["roles"]), hosts)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise FleetError(
            f"what is remembered of the last rollout cannot be read ({type(error).__name__}: {error})",
            where=str(path),
            hint=f"start a new one: difyfleet rollout {inventory}",
        ) from error


def digests(hosts: Iterable[HostSpec]) -> dict[str, str]:
    """Host -> digest of everything that the inventory declares for it: settings, files, secrets."""
    key = controller_key()
    return {spec.name: plan_digest.of_whole_spec(spec, key) for spec in hosts}


@contextlib.contextmanager
def alone(inventory: Path) -> Iterator[None]:
    """No other rollout of this inventory runs on this controller meanwhile; the hosts' leases hold off those of others.

    Raises:
        Locked: one does.
    """
    path = _path(inventory).with_suffix(".lock")
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Locked(
                "another rollout of this inventory runs on this machine", where=str(inventory)
            ) from None
        yield


def _path(inventory: Path) -> Path:
    return environment_dir(inventory.stem, Path(os.path.abspath(inventory))) / "rollout.json"
