"""Ollama on the host: the model store as it lies on disk, and pulls that are under way.

The store is read from disk, not asked of the server: a plan works with the container gone, and Ollama itself would not notice a
truncated blob (it trusts blobs by name, see platform facts of 0.4.7).
"""

from __future__ import annotations

import functools
import json
import re
import shlex
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pyinfra.api import FactBase

RECORD = "/var/lib/difyfleet/ollama-verified.json"
HASH_TIMEOUT = 7200  # seconds; hashing what is not recorded yet reads whole models from disk


@functools.lru_cache(maxsize=1)
def store_script() -> str:
    """The program that reads the store, sent to the host with each use: nothing has to be installed there before a plan."""
    return Path(__file__).with_name("ollama_store_script.py").read_text()


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

    @property
    def recorded(self) -> bool:
        return all(blob.recorded for blob in self.blobs)


@dataclass(frozen=True)
class Store:
    """All models of a host."""

    models: dict[str, StoredModel] = field(default_factory=dict)
    strays: tuple[str, ...] = ()  # files under blobs/ that no manifest names (left over, or of a pull under way)
    answered: dict[str, str] = field(default_factory=dict)  # model name -> manifest digest it had when it last was warmed


def parse_store(text: str) -> Store:
    """The script's line of JSON as a Store."""
    raw: dict[str, Any] = json.loads(text)
    models = {}
    for entry in raw["models"]:
        blobs = []
        for part in entry["blobs"]:
            found = raw["blobs"][part["digest"].replace(":", "-")]
            blobs.append(Blob(part["digest"], part["size"], found["state"], found["size"], not found["proved"]))
        models[entry["name"]] = StoredModel(
            entry["name"], entry["digest"], entry["path"], tuple(blobs), entry["error"], entry["modified"]
        )
    return Store(models, tuple(raw["strays"]), raw["answered"])


class OllamaStore(FactBase[Store]):
    """The model store under a data folder; an empty one where there is none yet."""

    def command(self, data_dir: str, deep: bool = False) -> str:
        """deep: hash every blob, recorded or not."""
        arguments = ["report", f"{data_dir}/models", RECORD] + (["deep"] if deep else [])
        words = " ".join(shlex.quote(word) for word in arguments)
        return f"command -v python3 >/dev/null || exit 0; python3 -c {shlex.quote(store_script())} {words}"

    @staticmethod
    def default() -> Store:
        return Store()

    def process(self, output: Iterable[str]) -> Store:
        return parse_store("\n".join(output))


@dataclass(frozen=True)
class PullState:
    """A model pull's systemd unit. state: absent, running, done or failed."""

    state: str
    progress: str = ""  # what the pull last said, for people
    error: str = ""


_STEP = re.compile(
    r"pulling (?P<blob>[0-9a-f]{12})\.\.\.\s+(?P<percent>\d+)%[^0-9]*(?P<amounts>[\d.]+ [KMGT]?B(?:/[\d.]+ [KMGT]?B)?)?"
    r"(?:\s+(?P<speed>[\d.]+ [KMGT]?B/s))?(?:\s+(?P<left>\d\S*))?"
)
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\r")


def parse_progress(tail: str) -> str:
    """The newest step in the last bytes of `ollama pull`'s output: `dde5aa3fc5ff 43% 860 MB/2.0 GB 21 MB/s`."""
    text = _ESCAPES.sub("\n", tail)
    newest = ""
    for match in _STEP.finditer(text):
        if match["percent"] != "100" or not newest:
            newest = " ".join(part for part in (match["blob"], f"{match['percent']}%", match["amounts"], match["speed"]) if part)
    for words in ("verifying sha256 digest", "writing manifest"):
        if words in text:
            newest = words
    return newest


class ModelPull(FactBase[PullState]):
    """How the pull with this unit name stands."""

    def command(self, unit: str, log: str) -> str:
        quoted = shlex.quote(log)
        return (
            f"command -v systemctl >/dev/null || exit 0; systemctl show -p LoadState,SubState,Result {shlex.quote(unit)}; "
            f"echo ---; [ -f {quoted} ] && tail -c 3000 {quoted} | tr -d '\\000'; true"
        )

    @staticmethod
    def default() -> PullState:
        return PullState("absent")

    def process(self, output: Iterable[str]) -> PullState:
        lines = list(output)
        end = lines.index("---") if "---" in lines else len(lines)
        unit = dict(line.split("=", 1) for line in lines[:end] if "=" in line)
        tail = "\n".join(lines[end + 1 :])
        sub = unit.get("SubState", "")
        if unit.get("LoadState") == "not-found":
            state = "absent"
        elif sub in ("running", "start", "start-pre", "start-post"):
            state = "running"
        elif sub == "exited" and unit.get("Result") == "success":
            state = "done"
        elif sub in ("failed", "exited"):
            state = "failed"
        else:
            state = "absent"  # loaded but dead: stopped, nothing runs and nothing is known
        errors = [line.strip() for line in _ESCAPES.sub("\n", tail).splitlines() if line.strip().lower().startswith("error")]
        error = errors[-1] if errors else (f"the pull ended with {unit.get('Result')}" if state == "failed" else "")
        return PullState(state, parse_progress(tail), error)
