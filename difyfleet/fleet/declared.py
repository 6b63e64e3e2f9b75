"""Corrective or intentional: did somebody change the host, or the inventory?

What an operation declares has a digest. Once an operation has been seen clean (an apply did it, or a plan found nothing to do), the
controller remembers its digest. When it would change something later, an equal digest means that the host was changed
(corrective), another one that the inventory was (intentional). Where nothing is remembered, nothing is said.

The digest is an HMAC with a random key of this controller, so that the file of digests gives no secret away, not even a weak one.
It covers difyfleet's own version: a new release that writes a file differently is no drift.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import hmac
import json
import secrets
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from enum import Enum
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from difyfleet import __version__
from difyfleet.fleet.results import CHANGED, CORRECTIVE, INTENTIONAL, UNCHANGED, WOULD_CHANGE, OperationResult
from difyfleet.paths import environment_dir, locked, state_dir, write_whole
from difyfleet.secrets import Secret
from difyfleet.spec.models import Environment
from difyfleet.spec.secret_source import FromCommand, FromEnv, FromFile, Generate
from difyfleet.spec.secret_values import value_of

_SOURCES = (FromCommand, FromEnv, FromFile, Generate)
_NEVER_CLEAN = None  # declared since the host is known, and never seen clean


def plain(value: Any) -> Any:
    """A declaration as JSON types, equal for equal declarations in every process.

    Secrets are revealed here: the result never leaves this module but as an HMAC. A secret source counts by its value, a path of
    the controller by the content behind it.

    Raises:
        TypeError: a kind of value whose identity is not known (a function, say).
    """
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, bytes):
        return {"bytes": hashlib.sha256(value).hexdigest()}
    if isinstance(value, Secret):
        return {"secret": value.reveal()}
    if isinstance(value, _SOURCES):
        return {"source": plain(value_of(value))}
    if isinstance(value, BaseModel):
        return {name: plain(getattr(value, name)) for name in type(value).model_fields}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Path):
        return {"path": _content(value)}
    if isinstance(value, Enum):
        return plain(value.value)
    if isinstance(value, Mapping):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, AbstractSet):
        return sorted((plain(one) for one in value), key=lambda one: json.dumps(one, sort_keys=True))
    if isinstance(value, Sequence):
        return [plain(one) for one in value]
    raise TypeError(f"a {type(value).__name__} cannot be part of a declaration")


def _content(path: Path) -> Any:
    """A file by its hash, a folder by those of all files below it; a path that does not exist by its name."""
    if path.is_dir():
        files = sorted(one for one in path.rglob("*") if one.is_file())
        return {str(one.relative_to(path)): _hash_of(one) for one in files}
    return _hash_of(path) if path.is_file() else str(path)


def _hash_of(path: Path) -> str:
    seen = path.stat()
    return _hash(str(path), seen.st_size, seen.st_mtime_ns, seen.st_ino)


@functools.lru_cache(maxsize=4096)
def _hash(path: str, size: int, changed: int, inode: int) -> str:
    """Read once per run, however many hosts get the file; an archive of Docker has 80 MB."""
    with open(path, "rb") as file:
        digest = hashlib.sha256()
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def digest(declared: Any, key: bytes) -> str:
    """The digest of a declaration under this controller's key."""
    text = json.dumps([__version__, plain(declared)], sort_keys=True, ensure_ascii=False)
    return hmac.new(key, text.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()


def controller_key() -> bytes:
    """The random key of this controller, made at first use, mode 0600 in the state folder."""
    path = state_dir() / "declared.key"
    with locked(state_dir()):
        if not path.exists():
            write_whole(path, secrets.token_hex(32) + "\n")
        return bytes.fromhex(path.read_text().strip())


class Memory:
    """What the controller remembers of an environment: host -> role -> operation -> digest when it was last clean.

    A role of a host that was never met before is remembered whole; operations of it that were not clean have no digest. An
    operation that a remembered role does not have is new in the inventory.
    """

    def __init__(self, environment: Environment) -> None:
        self._folder = environment_dir(environment.name, environment.path)
        self._path = self._folder / "declared.json"
        self._hosts = {spec.name for spec in environment.hosts}
        self._key = controller_key()
        self._known = self._read()
        self._digests: dict[str, list[str | None]] = {}
        self._news: dict[str, dict[str, dict[str, str | None]]] = {}

    def judge(self, host: str, operations: Sequence[OperationResult], declared: Iterable[Any]) -> None:
        """Say of each operation whether a change of it is corrective or intentional. `settle` takes it back where nothing changes.

        Args:
            declared: what each operation declares, in the same order; None = not known.
        """
        self._digests[host] = [None if one is None else digest(one, self._key) for one in declared]
        for operation, now in zip(operations, self._digests[host], strict=True):
            operation.kind = self._kind(host, operation, now)

    def _kind(self, host: str, operation: OperationResult, now: str | None) -> str | None:
        role = self._known.get(host, {}).get(operation.role)
        if role is None or now is None:
            return None
        if operation.name not in role:
            return INTENTIONAL
        then = role[operation.name]
        if then is _NEVER_CLEAN:
            return None
        return CORRECTIVE if hmac.compare_digest(then, now) else INTENTIONAL

    def settle(self, host: str, operations: Sequence[OperationResult]) -> None:
        """Remember the operations of a judged host that are clean now. `save` writes it."""
        found: dict[str, dict[str, str | None]] = {}
        known = self._known.get(host, {})
        for operation, now in zip(operations, self._digests[host], strict=True):
            role = found.setdefault(operation.role, {})
            if operation.state in (UNCHANGED, CHANGED):
                role[operation.name] = now
            elif operation.role not in known:
                role[operation.name] = _NEVER_CLEAN
            elif operation.name in known[operation.role]:
                role[operation.name] = known[operation.role][operation.name]
            if operation.state not in (WOULD_CHANGE, CHANGED):
                operation.kind = None
        self._news.setdefault(host, {}).update(
            {role: entries for role, entries in found.items() if known.get(role) != entries}
        )

    def _read(self) -> dict[str, dict[str, dict[str, str | None]]]:
        """The file's hosts; a file that is gone or cannot be understood counts as nothing remembered."""
        try:
            hosts = json.loads(self._path.read_text(encoding="utf-8"))["hosts"]
        except (OSError, ValueError, KeyError, TypeError):
            return {}
        return hosts if isinstance(hosts, dict) else {}

    def save(self) -> None:
        """Write what was settled; what other runs have written meanwhile about other hosts and roles stays."""
        if not any(self._news.values()):
            return
        with locked(self._folder):
            now = {name: roles for name, roles in self._read().items() if name in self._hosts}
            for host, news in self._news.items():
                now[host] = {**now.get(host, {}), **news}
            write_whole(self._path, json.dumps({"version": 1, "hosts": now}, indent=1) + "\n")
        self._known = now
        self._news.clear()
