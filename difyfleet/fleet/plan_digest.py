"""Digests of what a plan was made from: the inventory with the files and secrets it names, and the deploy code.

Those of the inventory are keyed (HMAC-SHA-256 with the random key of this controller), so that a saved plan cannot be used to guess
a secret: values are compared on the controller that made the plan, and nowhere else.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Iterable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from difyfleet.fleet.declared import plain
from difyfleet.paths import package_root, stack_root
from difyfleet.spec.models import HostSpec

_LENGTH = 16  # hex digits kept of a digest: 64 bits tell two values of one key apart


def key_id(key: bytes) -> str:
    """A name for the key that says nothing about it."""
    return hashlib.sha256(b"difyfleet plan key " + key).hexdigest()[:_LENGTH]


def of_spec(spec: HostSpec, key: bytes) -> dict[str, str]:
    """Digest by `section.key` of everything that a host's resolved inventory says.

    Contents of files count too (certificates, prompts, documents, bundles); those that SSH uses do not: known_hosts grows by itself.

    Raises:
        SpecError: a secret's source gives nothing.
    """
    return {
        name: hmac.new(
            key, json.dumps(plain(value), sort_keys=True).encode("utf-8", "surrogatepass"), hashlib.sha256
        ).hexdigest()[:_LENGTH]
        for name, value in _parts(spec)
    }


def of_whole_spec(spec: HostSpec, key: bytes) -> str:
    """One digest of the same.

    Raises:
        SpecError: a secret's source gives nothing.
    """
    said = json.dumps([[name, plain(value)] for name, value in _parts(spec)], sort_keys=True)
    return hmac.new(key, said.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()


def _parts(spec: HostSpec) -> Iterator[tuple[str, Any]]:
    for section, value in dict(spec).items():
        if not isinstance(value, BaseModel) and not (isinstance(value, dict) and value):
            yield section, value
            continue
        for key, inner in dict(value).items():
            yield f"{section}.{key}", str(inner) if section == "ssh" and isinstance(inner, Path) else inner


def of_code() -> str:
    """Digest of everything that decides what operations do: deploy.py, roles, templates, this package, pyinfra's version."""
    root, package = stack_root(), package_root()
    stack = [root / "deploy.py", *(root / "roles").rglob("*.py"), *(root / "templates").rglob("*")]
    ours = [*package.rglob("*.py"), *package.rglob("*.sh")]
    digest = hashlib.sha256(f"pyinfra {version('pyinfra')}\n".encode())
    for line in (*_lines(root, stack), *_lines(package, ours)):
        digest.update(line)
    return digest.hexdigest()[:_LENGTH]


def _lines(root: Path, paths: Iterable[Path]) -> Iterator[bytes]:
    for path in sorted(path for path in paths if path.is_file()):
        yield f"{path.relative_to(root)} {hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode()
