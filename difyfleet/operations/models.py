"""Ollama's models: pulled by the host itself, proved by their hashes, asked one question.

A pull runs as a systemd unit on the host. The controller only looks at it, so a cut SSH connection does not end the pull, and a
later run finds the unit and goes on waiting.
"""

from __future__ import annotations

import hashlib
import re
import shlex
import time
from collections.abc import Generator
from typing import Any

from pyinfra import host

from difyfleet import progress
from difyfleet.clients.ollama import OllamaClient, OllamaError
from difyfleet.errors import HostError
from difyfleet.facts.ollama import (
    HASH_TIMEOUT,
    RECORD,
    ModelPull,
    OllamaStore,
    Store,
    StoredModel,
    store_script,
)
from difyfleet.operations.base import Change, call, operation, shell
from difyfleet.remote.http import session

CONTAINER = "ollama"
POLL_SECONDS = 2.0
PROMPT = "Reply with one short sentence: what is the capital of France?"
_ATTEMPTS = 2  # a second pull mends blobs that turned out damaged only after the first


def unit_name(name: str) -> str:
    """The systemd unit that pulls a model. Characters that a unit name cannot hold become `-`, with a hash to stay unique."""
    plain = re.sub(r"[^A-Za-z0-9.:_-]", "-", name)
    if plain != name:
        plain += "-" + hashlib.sha256(name.encode()).hexdigest()[:6]
    return f"difyfleet-model-{plain}.service"


def pull_log(name: str) -> str:
    """Where the pull's words go, on the host."""
    return f"/run/difyfleet/{unit_name(name)}.log"


def start_pull(name: str, timeout: int, remove: tuple[str, ...] = ()) -> str:
    """The shell command that has the host pull a model, unless its unit is already at it.

    Args:
        timeout: seconds the pull may take.
        remove: damaged files to take away first. `ollama pull` trusts a blob by its name and would keep them. A pull under way
            is left alone: what it leaves damaged is found afterwards.
    """
    unit, log = shlex.quote(unit_name(name)), shlex.quote(pull_log(name))
    clear = f"rm -f {' '.join(shlex.quote(path) for path in remove)}; " if remove else ""
    inner = f'exec timeout {timeout} docker exec {CONTAINER} ollama pull "$1" >"$2" 2>&1'
    return (
        f"case $(systemctl show -p SubState --value {unit}) in running|start*) exit 0;; esac; "
        f"systemctl stop {unit} 2>/dev/null; systemctl reset-failed {unit} 2>/dev/null; {clear}mkdir -p -m 0755 /run/difyfleet; "
        f"systemd-run --quiet --unit={unit} --remain-after-exit --description={shlex.quote(f'difyfleet: pull model {name}')} "
        f"sh -c {shlex.quote(inner)} pull {shlex.quote(name)} {log}"
    )


def end_pull(name: str) -> str:
    """The shell command that forgets a finished pull."""
    unit = shlex.quote(unit_name(name))
    return f"systemctl stop {unit} 2>/dev/null; systemctl reset-failed {unit} 2>/dev/null; rm -f {shlex.quote(pull_log(name))}; true"


def wait_for_pull(on: Any, name: str, timeout: int) -> None:
    """Look at a pull until it has ended, reporting its progress.

    Raises:
        HostError: it failed, vanished or took too long.
    """
    unit, deadline, said = unit_name(name), time.monotonic() + timeout + 60, ""
    while True:
        state = on.get_fact(ModelPull, unit=unit, log=pull_log(name))
        if state.state == "done":
            return
        if state.state == "failed":
            raise HostError(f"ollama pull {name}: {state.error}", where=f"model {name}", hint=pull_hint(state.error, name))
        if state.state == "absent":
            raise HostError(f"the pull of {name} is gone: {unit} no longer exists", where=f"model {name}", hint="run apply again")
        if time.monotonic() > deadline:
            raise HostError(
                f"the pull of {name} did not end within {timeout} s", where=f"model {name}", hint="raise ollama.pull_timeout; run apply again"
            )
        if state.progress and state.progress != said:
            said = state.progress
            progress.report(on.name, f"model {name}: {said}")
        time.sleep(POLL_SECONDS)


def pull_hint(error: str, name: str) -> str:
    """What to do about the words of a failed pull (0.4.7's texts)."""
    lowered = error.lower()
    if "file does not exist" in lowered or "not found" in lowered:
        return f"no such model at the registry: check the name and tag of {name} under ollama.models"
    if "no space left" in lowered:
        return "free disk where ollama.data_dir lies (df -h), then run apply again: the part already pulled is kept"
    if "no such host" in lowered or "dial tcp" in lowered or "lookup" in lowered or "timeout" in lowered:
        return "the host cannot reach the model's registry: check DNS, proxy (ollama.env HTTPS_PROXY) and firewall, then run apply again"
    if "x509" in lowered or "certificate" in lowered:
        return "the registry's certificate is not trusted inside the container: a proxy may be in between"
    if "no such container" in lowered or "is not running" in lowered:
        return "the ollama container is down: docker logs ollama"
    return "run apply again: the part already pulled is kept"


def digest_matches(found: str, wanted: str | None) -> bool:
    """Whether a manifest digest is the declared one; a declared prefix of at least 12 digits is enough."""
    return wanted is None or found.startswith(wanted)


def faults(found: StoredModel | None, name: str, digest: str | None) -> list[str]:
    """What is wrong with a model on disk, in words; empty = whole, and the one that is declared."""
    if found is None:
        return [f"model {name}: absent"]
    if found.error or not found.blobs:
        return [f"model {name}: its manifest cannot be read ({found.error or 'it names no blobs'})"]
    said = [f"model {name}: {blob}" for blob in found.damaged]
    if not digest_matches(found.digest, digest):
        said.append(f"model {name}: digest {found.digest[:12]}, declared {str(digest)[:12]}")
    return said


def _damaged_files(found: StoredModel | None, data_dir: str) -> tuple[str, ...]:
    if found is None:
        return ()
    blobs = tuple(f"{data_dir}/models/blobs/{blob.file_name}" for blob in found.damaged if blob.state != "missing")
    return blobs + ((found.path,) if found.error or not found.blobs else ())


def _script(*arguments: str) -> Any:
    words = " ".join(shlex.quote(word) for word in arguments)
    return shell(f"python3 - {words}", stdin=store_script(), timeout=HASH_TIMEOUT)


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
) -> Generator[Any, None, None]:
    """One model, whole on disk, the one that is declared, and asked one question since it was pulled.

    Args:
        name: with tag.
        data_dir: host folder mounted at /root/.ollama.
        digest: manifest digest it must have (12 to 64 hex digits); None = whatever the tag names.
        base_url: the server on the host's loopback.
        warm: load it once after a pull and have it answer.
        timeout: seconds the pull may take.

    Raises:
        HostError: the pull failed, a blob is damaged after two pulls, or the tag names another digest than declared.
    """
    models_dir = f"{data_dir}/models"
    found = _store(data_dir).models.get(name)
    wrong = faults(found, name, digest)
    for attempt in range(_ATTEMPTS):
        if not wrong:
            break
        for why in wrong:
            yield Change(why if attempt == 0 else f"{why}, after a pull")
        yield shell(start_pull(name, timeout, _damaged_files(found, data_dir)))
        yield call(wait_for_pull, name, timeout)
        yield shell(end_pull(name))
        yield _script("record", models_dir, RECORD)
        found = _store(data_dir).models.get(name)
        wrong = faults(found, name, None)
    _insist(found, name, digest, wrong)
    if found is None:  # said by _insist already; for the type checker
        return
    if not found.recorded:
        yield Change(f"model {name}: blobs changed their times since they were proved, hashes are right")
        yield _script("record", models_dir, RECORD)
    if warm and _store(data_dir).answered.get(name) != found.digest:
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
    if not digest_matches(found.digest, digest):
        raise HostError(
            f"the registry's {name} has digest {found.digest}, the inventory wants {digest}; nothing was removed",
            where=f"model {name}",
            hint=f"if the new model is meant, set ollama.models digest: {found.digest[:12]}",
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
        said = ask(client, name)
    except OllamaError as error:
        raise HostError(
            f"does not answer: {error}", where=f"model {name}", hint="docker logs ollama; is there enough memory for it (free -m)?"
        ) from error
    progress.report(on.name, f"model {name}: {said}")


def ask(client: OllamaClient, name: str) -> str:
    """One short question; the answer and its seconds, for people. Embedding models embed it.

    Raises:
        OllamaError: no answer, or an empty one.
    """
    begun = time.monotonic()
    if client.embedding_only(name):
        vectors = client.embed(name, [PROMPT])
        if not vectors or not vectors[0]:
            raise OllamaError("it returned no vector")
        return f"a vector of {len(vectors[0])} numbers in {time.monotonic() - begun:.1f} s"
    answer = client.generate(name, PROMPT, num_predict=24)
    if not answer.text.strip():
        raise OllamaError(f"the answer is empty ({answer.tokens} tokens, {answer.done_reason})")
    text = " ".join(answer.text.split())
    return f"“{text[:80]}” in {time.monotonic() - begun:.1f} s (load {answer.load_seconds:.1f} s, {answer.tokens} tokens)"


@operation
def only_declared(declared: tuple[str, ...], data_dir: str) -> Generator[Any, None, None]:
    """No model but the declared ones. Only called where the inventory asks for removal."""
    store = _store(data_dir)
    for name in sorted(set(store.models) - set(declared)):
        yield Change(f"model {name}: present but not declared, to be removed")
        yield shell(f"docker exec {CONTAINER} ollama rm {shlex.quote(name)}", timeout=120)
