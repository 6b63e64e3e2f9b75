"""Ollama's model store as it lies on the host's disk.

The store is read from disk, not asked of the server: a plan works with the container gone, and Ollama itself would not notice a
truncated blob (it trusts blobs by name, see platform facts of 0.4.7).
"""

from __future__ import annotations

import functools
import json
import shlex
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from pyinfra.api import FactBase

from difyfleet.host_calls import Command, program, scripted

RECORD = "/var/lib/difyfleet/ollama-verified.json"
HASH_TIMEOUT = 7200  # seconds; hashing what is not recorded yet reads whole models from disk


_SCRIPT = "difyfleet.facts.ollama_store_script"


def store_script() -> str:
    """The program that reads the store, sent to the host with each use: nothing has to be installed there before a plan."""
    return program(_SCRIPT)


@dataclass(frozen=True)
class Blob:
    """One part of a model. state: ok, missing, size (truncated or longer than its manifest says) or hash (bits differ)."""

    digest: str  # sha256:<64 hex>
    size: int  # bytes, as the manifest says
    state: str
    found_size: int | None = None  # bytes on disk
    recorded: bool = True  # its proof stands in RECORD

    @property
    def file_name(self) -> str:
        return self.digest.replace(":", "-")

    def __str__(self) -> str:
        words = {
            "missing": "missing",
            "size": f"{self.found_size} bytes, its manifest says {self.size}",
            "hash": "content does not match its SHA-256",
        }
        return f"blob {self.digest[7:19]}: {words.get(self.state, self.state)}"


@dataclass(frozen=True)
class StoredModel:
    """A model whose manifest is on disk."""

    name: str  # with tag, as `ollama list` prints it
    digest: str  # 64 hex digits: SHA-256 of the manifest file, what /api/tags calls digest
    path: str  # of the manifest
    blobs: tuple[Blob, ...]
    error: str | None = None  # why the manifest cannot be read
    modified: int = 0  # seconds since 1970

    @property
    def size(self) -> int:
        """Bytes of all its blobs."""
        return sum(blob.size for blob in self.blobs)

    @property
    def damaged(self) -> tuple[Blob, ...]:
        return tuple(blob for blob in self.blobs if blob.state != "ok")

    @property
    def complete(self) -> bool:
        """The manifest reads and every blob is there with the right content."""
        return self.error is None and not self.damaged and bool(self.blobs)

    def faults(self, digest: str | None = None) -> list[str]:
        """What is wrong with it, in words; empty = whole, and the one that is declared.

        Args:
            digest: the manifest digest it must have (a prefix is enough); None = any.
        """
        if self.error or not self.blobs:
            return [f"model {self.name}: its manifest cannot be read ({self.error or 'it names no blobs'})"]
        said = [f"model {self.name}: {blob}" for blob in self.damaged]
        if digest and not self.digest.startswith(digest):
            said.append(f"model {self.name}: digest {self.digest[:12]}, declared {digest[:12]}")
        return said

    def damaged_files(self, data_dir: str) -> list[str]:
        """Files that `ollama pull` would trust by name and keep: to be removed before a pull."""
        files = [
            f"{data_dir}/models/blobs/{blob.file_name}" for blob in self.damaged if blob.state != "missing"
        ]
        return files + ([self.path] if self.error or not self.blobs else [])

    @property
    def recorded(self) -> bool:
        return all(blob.recorded for blob in self.blobs)


@dataclass(frozen=True)
class Store:
    """All models of a host."""

    models: dict[str, StoredModel] = field(default_factory=dict)
    strays: tuple[
        str, ...
    ] = ()  # files under blobs/ that no manifest names (left over, or of a pull under way)
    answered: dict[str, str] = field(
        default_factory=dict
    )  # model name -> manifest digest it had when it last was warmed


@functools.lru_cache(maxsize=16)
def parse_store(text: str) -> Store:
    """The script's line of JSON as a Store, which is not to be changed: one answer is asked for once per model."""
    raw: dict[str, Any] = json.loads(text)
    models = {}
    for entry in raw["models"]:
        blobs = []
        for part in entry["blobs"]:
            found = raw["blobs"][part["digest"].replace(":", "-")]
            blobs.append(
                Blob(part["digest"], part["size"], found["state"], found["size"], not found["proved"])
            )
        models[entry["name"]] = StoredModel(
            entry["name"], entry["digest"], entry["path"], tuple(blobs), entry["error"], entry["modified"]
        )
    return Store(models, tuple(raw["strays"]), raw["answered"])


def run_script(*arguments: str) -> str:
    """The shell command that runs the script, which comes on its standard input, with these arguments."""
    return f"python3 - {shlex.join(arguments)}"


class OllamaStore(FactBase[Store]):
    """The model store under a data folder; an empty one where there is none yet."""

    def command(self, data_dir: str, deep: bool = False) -> Command:
        """deep: hash every blob, recorded or not."""
        arguments = (f"{data_dir}/models", RECORD, *(["deep"] if deep else []))
        return scripted((_SCRIPT, "report", *arguments), "command -v python3 >/dev/null || exit 0; ")

    @staticmethod
    def default() -> Store:
        return Store()

    def process(self, output: Iterable[str]) -> Store:
        return parse_store("\n".join(output))
