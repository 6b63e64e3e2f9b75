"""The canary: can a container of a modern image start a thread?

Engines before 20.10.10 (openEuler's own 18.09 among them) answer glibc's clone3 with EPERM instead of ENOSYS, and everything built on
glibc >= 2.34 then fails in ways that do not say so ("can't start new thread", OpenBLAS, "pthread_create failed").
"""

from __future__ import annotations

import shlex
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

from pyinfra import host

from difyfleet.errors import HostError
from difyfleet.facts.engine import parse_json
from difyfleet.facts.files import PathState
from difyfleet.operations.base import Change, call, operation
from difyfleet.operations.images import write
from difyfleet.operations.onhost import execute
from difyfleet.spec.models import HostSpec

RECORD = "/etc/difyfleet/canary.json"
_PYTHON = "import _thread; l = _thread.allocate_lock(); l.acquire(); _thread.start_new_thread(l.release, ()); raise SystemExit(not l.acquire(True, 20))"


@dataclass(frozen=True)
class Trial:
    """A program in an image that starts a thread through glibc and exits 0 if it could."""

    image: str
    program: str
    arguments: tuple[str, ...]

    @property
    def command(self) -> str:
        words = (
            "--rm",
            "--pull",
            "never",
            "--network",
            "none",
            "--entrypoint",
            self.program,
            self.image,
            *self.arguments,
        )
        return f"timeout 90 docker run {' '.join(map(shlex.quote, words))}"


def trials(spec: HostSpec) -> tuple[Trial, ...]:
    """Candidates, best first. Alpine images are no use: musl does not call clone3."""
    found = []
    if spec.dify.enabled:
        found.append(Trial(spec.dify.images.api, "python3", ("-c", _PYTHON)))
    if spec.openwebui.enabled:
        found.append(Trial(spec.openwebui.image, "python3", ("-c", _PYTHON)))
    if spec.ollama.enabled:
        found.append(
            Trial(spec.ollama.image, "ollama", ("--version",))
        )  # cgo: its threads come from pthread_create
    return tuple(found)


def answered(version: str) -> bool:
    """Whether the canary has lived with this engine version. By the wanted version, so that a plan foresees it for an upgrade."""
    state = host.get_fact(PathState, path=RECORD)
    record = (parse_json(state.text) if state is not None and state.text else None) or {}
    return record.get("engine") == version


@operation
def thread(candidates: tuple[Trial, ...], version: str) -> Generator[Any, None, None]:
    """A thread started once per engine version, in the first candidate that has the program.

    Args:
        version: the engine's version.

    Raises:
        HostError: no thread could be started.
    """
    if not candidates or answered(version):
        return
    yield Change(f"canary: no thread started in a container with Docker {version} yet")
    yield call(_try, candidates, version)


def _try(on: Any, candidates: tuple[Trial, ...], version: str) -> None:
    record: dict[str, Any] = {"engine": version, "image": None}
    for trial in candidates:
        ok, words = execute(on, trial.command, timeout=120)
        if ok:
            record["image"] = trial.image
            break
        if "executable file not found" not in words and "no such file or directory" not in words:
            raise HostError(
                f"a container of {trial.image} could not start a thread: {words}",
                where=f"Docker {version}",
                hint="the engine's seccomp profile is too old for the image's glibc: docker.version must be 20.10.10 or later",
            )
    write(on, RECORD, record)
