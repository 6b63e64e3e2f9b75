"""Digests of what a plan was made from: the inventory, the files and secrets it names, and the deploy code.

Every digest of the inventory is keyed (HMAC-SHA-256 with a random key of this controller), so that a saved plan cannot be used to
guess a secret: values are compared on the controller that made the plan, and nowhere else.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import secrets
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from difyfleet.paths import package_root, stack_root, state_dir
from difyfleet.spec.models import HostSpec
from difyfleet.spec.secret_source import FromCommand, FromEnv, FromFile, Generate
from difyfleet.spec.secret_values import value_of

_LENGTH = 16  # hex digits kept of a digest: 64 bits tell two values of one key apart
_SOURCES = (FromEnv, FromFile, FromCommand, Generate)


def controller_key() -> bytes:
    """The key of this controller: `plan.key` (mode 0600) in the state folder, made at first use."""
    path = state_dir() / "plan.key"
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return path.read_bytes()
    with os.fdopen(descriptor, "wb") as file:
        file.write(secrets.token_bytes(32))
    return path.read_bytes()


def key_id(key: bytes) -> str:
    """A name for the key that says nothing about it."""
    return hashlib.sha256(b"difyfleet plan key " + key).hexdigest()[:_LENGTH]


def of_spec(spec: HostSpec, key: bytes) -> dict[str, str]:
    """Digest by `section.key` of everything that a host's resolved inventory says.

    Contents of files count too (certificates, prompts, documents, bundles), those that SSH uses do not: known_hosts grows by itself.

    Raises:
        SpecError: a secret's source gives nothing.
    """
    return {
        name: hmac.new(
            key, json.dumps(_plain(value, name), sort_keys=True).encode(), hashlib.sha256
        ).hexdigest()[:_LENGTH]
        for name, value in _parts(spec)
    }


def _parts(spec: HostSpec) -> Iterator[tuple[str, Any]]:
    for section, value in dict(spec).items():
        if isinstance(value, BaseModel) or (isinstance(value, dict) and value):
            for key, inner in dict(value).items():
                yield f"{section}.{key}", inner
        else:
            yield section, value


def _plain(value: Any, name: str) -> Any:
    if isinstance(value, _SOURCES):
        secret = value_of(value)
        return {"source": value.model_dump(mode="json"), "value": secret.reveal() if secret else None}
    if isinstance(value, BaseModel):
        return {key: _plain(inner, name) for key, inner in dict(value).items()}
    if isinstance(value, dict):
        return {str(key): _plain(inner, name) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner, name) for inner in value]
    if isinstance(value, Path):
        return [str(value), None if name.startswith("ssh.") else _content(value)]
    return value if isinstance(value, str | int | float | bool | None) else str(value)


def _content(path: Path) -> str | None:
    if path.is_dir():
        return _tree(path, [each for each in sorted(path.rglob("*")) if each.is_file()])
    return _file(path) if path.is_file() else None


def _file(path: Path) -> str:
    with path.open("rb") as file:
        digest = hashlib.sha256()
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def _tree(root: Path, files: list[Path]) -> str:
    lines = [f"{_file(path)}  {path.relative_to(root)}\n" for path in files]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def of_code() -> str:
    """Digest of everything that decides what operations do: deploy.py, roles, templates, this package, pyinfra's version."""
    root, package = stack_root(), package_root()
    stack = [root / "deploy.py", *(root / "roles").rglob("*.py"), *(root / "templates").rglob("*")]
    ours = [*package.rglob("*.py"), *package.rglob("*.sh")]
    text = _tree(root, sorted(path for path in stack if path.is_file())) + _tree(
        package, sorted(path for path in ours if not path.is_relative_to(package / "_stack"))
    )
    return hashlib.sha256(f"{text} pyinfra {version('pyinfra')}".encode()).hexdigest()[:_LENGTH]
