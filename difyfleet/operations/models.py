"""Ollama's models: pulled by the host itself, proved by their hashes, asked one question."""

from __future__ import annotations

import shlex
import time
from collections.abc import Generator, Sequence
from typing import Any

from pyinfra import host

from difyfleet import progress
from difyfleet.clients.ollama import OllamaClient, OllamaError
from difyfleet.clients.ollama_pull import bytes_of, explain_failure, may_pass, progress_of, pull_argv
from difyfleet.errors import HostError
from difyfleet.facts.files import PathState
from difyfleet.facts.ollama import (
    HASH_TIMEOUT,
    RECORD,
    OllamaStore,
    Store,
    StoredModel,
    run_script,
    store_script,
)
from difyfleet.operations import pushed, share
from difyfleet.operations.base import Change, call, operation, shell
from difyfleet.operations.onhost import execute
from difyfleet.operations.share_models import Models, WantedModel
from difyfleet.remote.http import session
from difyfleet.remote.jobs import Job, run_to_end

CONTAINER = "ollama"
TRIES = 3  # of a pull that the network failed; layers that have come are kept
PAUSE_SECONDS = 5.0  # after the first failure; twice that after the second
_ATTEMPTS = 2  # a second pull mends blobs that turned out damaged only after the first


def pull(on: Any, name: str, timeout: int, remove: list[str]) -> None:
    """Have the host pull a model, and wait for it.

    Args:
        timeout: seconds the pull may take.
        remove: damaged files to take away first. `ollama pull` trusts a blob by its name and would keep them. A pull under way
            is left alone: what it leaves damaged is found afterwards.

    Raises:
        HostError: the pull failed, on the network's account TRIES times.
    """
    before = f"rm -f {shlex.join(remove)}" if remove else ""
    job = _job(name, timeout)
    for attempt in range(1, TRIES + 1):
        try:
            return run_to_end(
                on, job, before=before, describe=progress_of, explain=explain_failure, measure=bytes_of
            )
        except HostError as error:
            if attempt == TRIES or not may_pass(str(error)):
                raise
            progress.report(on.name, f"model {name}: try {attempt} of {TRIES} failed, another one follows")
            time.sleep(PAUSE_SECONDS * attempt)


def _job(name: str, timeout: int) -> Job:
    return Job("model", name, pull_argv(name, CONTAINER), timeout)


def begin(on: Any, names: tuple[str, ...], timeout: int) -> None:
    """Have the host pull models, all at once, and do not wait: `model` does, and says what went wrong.

    Raises:
        HostError: a pull could not be started.
    """
    for name in names:
        ok, words = execute(on, _job(name, timeout).start_command(), timeout=60)
        if not ok:
            raise HostError(f"could not start the pull: {words}", where=f"model {name}")


@operation
def begun(names: tuple[str, ...], data_dir: str, timeout: int = 14400) -> Generator[Any, None, None]:
    """The pulls of absent models are under way while other roles go on. What has come is proved by `model`. Where other hosts may
    have them nothing begins here.

    Args:
        names: with tag.
        data_dir: host folder mounted at /root/.ollama.
        timeout: seconds each pull may take.
    """
    if not share.alone(host):
        return
    there = _store(data_dir).models
    absent = tuple(name for name in names if name not in there)
    for name in absent:
        yield Change(f"model {name}: absent, its pull begins")
    if absent:
        yield call(begin, absent, timeout)


def bring(on: Any, wanted: WantedModel, remove: list[str]) -> None:
    """Bring a model onto the host: from another host of the fleet that has it, else pulled.

    Args:
        remove: see pull.

    Raises:
        HostError: see pull.
    """

    def fetch(things: Sequence[WantedModel], done: share.Done) -> None:
        pull(on, wanted.name, wanted.timeout, remove)
        staged = f"{wanted.data_dir}/models/.difyfleet"  # what a broken transfer left is of no use any more
        if share.neighbours_of(on) is not None and on.get_fact(PathState, path=staged) is not None:
            execute(on, f"rm -rf {shlex.quote(staged)}", timeout=60)

    share.bring(on, [wanted], Models(), fetch)


def faults(found: StoredModel | None, name: str, digest: str | None) -> list[str]:
    """What is wrong with a model on disk, in words; empty = whole, and the one that is declared."""
    return [f"model {name}: absent"] if found is None else found.faults(digest)


def _script(*arguments: str) -> Any:
    return shell(run_script(*arguments), stdin=store_script(), timeout=HASH_TIMEOUT)


def _store(data_dir: str) -> Store:
    store: Store = host.get_fact(OllamaStore, data_dir=data_dir, _timeout=HASH_TIMEOUT)
    return store


@operation
def model(
    name: str,
    data_dir: str,
    digest: str | None = None,
    base_url: str = "http://127.0.0.1:11434",
    warm: bool = True,
    timeout: int = 14400,
    offline: bool = False,
) -> Generator[Any, None, None]:
    """One model, whole on disk, the one that is declared, and asked one question since it was pulled.

    Args:
        name: with tag.
        data_dir: host folder mounted at /root/.ollama.
        digest: manifest digest it must have (12 to 64 hex digits); None = whatever the tag names.
        base_url: the server on the host's loopback.
        warm: load it once after a pull and have it answer.
        timeout: seconds the pull may take.
        offline: taken from what `difyfleet bundle push` has brought, nothing is pulled.

    Raises:
        HostError: the pull failed, nothing was pushed, a blob is damaged after two pulls, or the tag names another digest than declared.
    """
    models_dir, renewed = f"{data_dir}/models", False
    found = _store(data_dir).models.get(name)
    wrong = faults(found, name, digest)
    for attempt in range(_ATTEMPTS):
        if not wrong:
            break
        for why in wrong:
            # a whole model of another digest may be somebody's own make; damaged ones are of no use to anybody
            other = found is not None and not found.faults()
            yield Change(why if attempt == 0 else f"{why}, after a pull", loses_data=other)
        damaged = found.damaged_files(data_dir) if found else []
        if offline:
            pushed.require_model(name, digest, _store(data_dir))
            yield Change(f"model {name}: taken from the pushed bundle")
            yield call(pushed.bring_in, name, data_dir, damaged)
        else:
            yield call(bring, WantedModel(name, data_dir, digest, timeout), damaged)
        yield _script("record", models_dir, RECORD)
        renewed = True
        found = _store(data_dir).models.get(name)
        wrong = faults(found, name, None)
    _insist(found, name, digest, wrong)
    if found is None:  # said by _insist already; for the type checker
        return
    if not found.recorded:
        yield Change(
            f"model {name}: hashes are right, but blobs came or changed their times since they were proved"
        )
        yield shell(
            _job(name, timeout).forget_command()
        )  # a pull that had ended before anybody waited for it
        yield _script("record", models_dir, RECORD)
    if warm and (renewed or _store(data_dir).answered.get(name) != found.digest):
        yield Change(f"model {name}: has not answered since it was pulled")
        yield call(warm_up, name, base_url)
        yield _script("answered", models_dir, RECORD, name, found.digest)


def _insist(found: StoredModel | None, name: str, digest: str | None, wrong: list[str]) -> None:
    if found is None or wrong:
        raise HostError(
            f"still wrong after {_ATTEMPTS} pulls: {'; '.join(wrong)}",
            where=f"model {name}",
            hint="look at the disk (dmesg, smartctl) and at docker logs ollama, then run apply again",
        )
    if digest and not found.digest.startswith(digest):
        raise HostError(
            f"the registry's {name} has digest {found.digest}, the inventory or its lock file wants {digest}; nothing was removed",
            where=f"model {name}",
            hint=f"if the new model is meant, set ollama.models digest: {found.digest[:12]} (with a lock file: "
            "difyfleet lock INVENTORY --update models)",
        )


def warm_up(on: Any, name: str, base_url: str) -> None:
    """Load a model afresh and have it answer once.

    Raises:
        HostError: it does not.
    """
    client = OllamaClient(session(on), base_url)
    progress.report(on.name, f"model {name}: loading it for a first answer")
    try:
        client.wait(60.0)
        client.stop(name)  # a copy in memory may be mapped from a file that was replaced
        said = client.ask(name)
    except OllamaError as error:
        raise HostError(
            f"does not answer: {error}",
            where=f"model {name}",
            hint="docker logs ollama; is there enough memory for it (free -m)?",
        ) from error
    progress.report(on.name, f"model {name}: {said}")


@operation
def only_declared(declared: tuple[str, ...], data_dir: str) -> Generator[Any, None, None]:
    """No model but the declared ones. Only called where the inventory asks for removal."""
    store = _store(data_dir)
    for name in sorted(set(store.models) - set(declared)):
        yield Change(f"model {name}: present but not declared, to be removed", loses_data=True)
        yield shell(f"docker exec {CONTAINER} ollama rm {shlex.quote(name)}", timeout=120)
