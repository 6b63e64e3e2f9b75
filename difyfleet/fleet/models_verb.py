"""Ollama's models on the hosts, by hand: list, show, ps, stop, rm, pull. What the inventory declares is `apply`'s business."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, TypeVar

from pyinfra.api import StringCommand

from difyfleet.clients.ollama import ModelNotFound, OllamaClient, OllamaError, RunningModel, Unreachable
from difyfleet.clients.ollama_pull import explain_failure, progress_of, pull_argv
from difyfleet.errors import HostError
from difyfleet.facts.ollama import HASH_TIMEOUT, RECORD, OllamaStore, Store, run_script, store_script
from difyfleet.fleet import each
from difyfleet.fleet.each import Outcome
from difyfleet.remote.http import reading, session
from difyfleet.remote.jobs import Job, run_to_end
from difyfleet.spec.models import HostSpec
from difyfleet.spec.values import model_name

T = TypeVar("T")


@dataclass(frozen=True)
class ModelRow:
    """One model of one host."""

    name: str
    digest: str  # 64 hex digits; the first 12 are the id that `ollama list` shows
    size: int  # bytes on disk
    declared: bool  # by the inventory
    faults: tuple[str, ...]  # what is wrong with it on disk; empty = every blob proved by its hash
    loaded: bool | None  # in memory; None = the server does not answer

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "id": self.digest[:12],
            "digest": self.digest,
            "size": self.size,
            "declared": self.declared,
            "verified": not self.faults,
            "faults": list(self.faults),
            "loaded": self.loaded,
        }


def on_each(
    hosts: Iterable[HostSpec], function: Callable[[Any, HostSpec], T], **options: Any
) -> list[Outcome[T]]:
    """each.on_each, for hosts with Ollama."""

    def enabled(on: Any, spec: HostSpec) -> T:
        if not spec.ollama.enabled:
            raise HostError("Ollama is not enabled on this host")
        return function(on, spec)

    return each.on_each(hosts, enabled, **options)


def rows(on: Any, spec: HostSpec, *, deep: bool = False) -> list[ModelRow]:
    """All models on disk, and declared ones that are not.

    Args:
        deep: hash every blob anew, which reads whole models from disk.
    """
    store = _store(on, spec, deep=deep)
    declared = {model.name: model.digest for model in spec.ollama.declared()}
    loaded = _loaded(on, spec)
    found = []
    for name, model in sorted(store.models.items()):
        faults = tuple(model.faults(declared.get(name)))
        in_memory = None if loaded is None else name in loaded
        found.append(ModelRow(name, model.digest, model.size, name in declared, faults, in_memory))
    absent = [name for name in declared if name not in store.models]
    return found + [ModelRow(name, "", 0, True, (f"model {name}: absent",), None) for name in absent]


def show(on: Any, spec: HostSpec, name: str) -> dict[str, Any]:
    """What the server knows of a model."""
    with reading():
        return _asked(spec, name, lambda: _client(on, spec).show(model_name(name)))


def running(on: Any, spec: HostSpec) -> list[RunningModel]:
    """Models in memory."""
    return _asked(spec, "", _client(on, spec).ps)


def stop(on: Any, spec: HostSpec, name: str) -> str:
    """Unload a model from memory."""
    name, client = model_name(name), _client(on, spec)
    loaded = _asked(spec, name, client.ps)
    if name not in {model.name for model in loaded}:
        return f"{name} is not in memory"
    _asked(spec, name, lambda: client.stop(name))
    return f"{name} unloaded"


def remove(on: Any, spec: HostSpec, name: str, *, force: bool = False) -> str:
    """Delete a model from disk.

    Raises:
        HostError: it is declared by the inventory (the next apply would pull it again), unless force.
    """
    name = model_name(name)
    if not force and name in {model.name for model in spec.ollama.declared()}:
        raise HostError(
            f"{name} is declared by the inventory; the next apply would pull it again",
            hint=f"take it out of ollama.models first, or: difyfleet models rm --force ... {name}",
        )
    _asked(spec, name, lambda: _client(on, spec).delete(name))
    return f"{name} removed"


def pull(on: Any, spec: HostSpec, name: str) -> str:
    """Have the host pull a model, prove it by its hashes, and say what was got. Found under way, it is waited for."""
    name, ollama = model_name(name), spec.ollama
    before = _store(on, spec).models.get(name)
    damaged = before.damaged_files(ollama.data_dir) if before else []
    clear = f"rm -f {shlex.join(damaged)}" if damaged else ""
    job = Job("model", name, pull_argv(name), ollama.pull_timeout)
    run_to_end(on, job, before=clear, describe=progress_of, explain=explain_failure)
    record = run_script("record", f"{ollama.data_dir}/models", RECORD)
    sudo = bool(on.data.get("_sudo"))
    on.run_shell_command(StringCommand(record), _sudo=sudo, _stdin=store_script(), _timeout=HASH_TIMEOUT)
    model = _store(on, spec).models.get(name)
    faults = [f"model {name}: absent"] if model is None else model.faults()
    if model is None or faults:
        raise HostError("; ".join(faults), hint="run the same command again")
    return f"{name} {model.digest[:12]}, {model.size / 1e9:.1f} GB, verified"


def _store(on: Any, spec: HostSpec, *, deep: bool = False) -> Store:
    more = {"deep": True} if deep else {}
    store: Store = on.get_fact(OllamaStore, data_dir=spec.ollama.data_dir, _timeout=HASH_TIMEOUT, **more)
    return store


def _client(on: Any, spec: HostSpec) -> OllamaClient:
    return OllamaClient(session(on), spec.ollama.local_url)


def _loaded(on: Any, spec: HostSpec) -> set[str] | None:
    try:
        return {model.name for model in _client(on, spec).ps()}
    except OllamaError:
        return None


def _asked(spec: HostSpec, name: str, call: Callable[[], T]) -> T:
    try:
        return call()
    except ModelNotFound as error:
        raise HostError(str(error), hint="difyfleet models list shows what is there") from error
    except Unreachable as error:
        raise HostError(str(error), hint="difyfleet verify --role ollama") from error
    except OllamaError as error:
        raise HostError(
            f"{name}: {error}" if name else str(error), hint="docker logs --tail 100 ollama"
        ) from error
