"""A converged host's facts, for the tests of the Docker operations."""

from __future__ import annotations

import hashlib
from typing import Any

from difyfleet.facts.docker import DaemonInfo, Docker, DockerService, Forwarding, IpForward
from difyfleet.facts.engine import StaticEngine, StaticEngineFiles
from difyfleet.facts.files import FileState, PathState
from difyfleet.facts.mirrors import Answer, MirrorRecord
from difyfleet.operations import daemon_json, service
from difyfleet.operations import engine as static_engine
from difyfleet.spec.models import Docker as DockerSpec
from tests.unit.facts.recorded import lines
from tests.unit.fakehost import fact

IMAGES = ("ollama/ollama:0.4.7", "nginx:1.27.3")
MIRROR = "https://docker.m.daocloud.io"
SUMS = {
    "sha256": "6862a89c74e60089828acd6695412073a40bbf255abb3b7550226e219ed303e2",
    "compose_sha256": "c0ef2e286ba1c45bf1868b70a1c71d30a802bb3996888f2f986c3166f9e45f57",
}


def docker(**changes: Any) -> DockerSpec:
    """The section of the recorded host."""
    base: dict[str, Any] = {
        "version": "26.1.5",
        "compose_version": "2.26.1",
        "bundle": SUMS,
        "mirrors": [MIRROR],
    }
    return DockerSpec.model_validate({**base, **changes})


def file(text: str, mode: str = "0644", owner: str = "root") -> FileState:
    content = text.encode()
    return FileState("file", mode, owner, owner, len(content), hashlib.sha256(content).hexdigest(), content)


def seen(**changes: Any) -> DockerService:
    """docker.service, running as wanted."""
    info = DaemonInfo(
        "26.1.5+dfsg1",
        mirrors=(MIRROR,),
        live_restore=True,
        log_driver="json-file",
        log_drivers=frozenset(("json-file", "local", "journald")),
        root="/var/lib/docker",
        compose="2.26.1-4",
    )
    state: dict[str, Any] = {
        "load": "loaded", "active": "active", "sub": "running", "enabled": "enabled", "fragment": service.UNIT,
        "result": "success", "firewalld": "active", "chains": True, "info": info,
    }  # fmt: skip
    return DockerService(**{**state, **changes})


def settings(section: DockerSpec, mirrors: tuple[str, ...] = (MIRROR,), **kept: Any) -> str:
    """daemon.json as difyfleet writes it."""
    import json

    return json.dumps({**kept, **daemon_json.wanted(section, mirrors)}, indent=2) + "\n"


def facts(section: DockerSpec | None = None, **changes: Any) -> dict[Any, Any]:
    """Facts of a converged host. `changes`: service, daemon (text or None), record (text or None), unit, answers, static."""
    section = section or docker()
    text = changes.get("daemon", settings(docker()))
    written = hashlib.sha256(settings(docker()).encode()).hexdigest()
    record = changes.get("record", f'{{"kept": {{}}, "written": "{written}"}}')
    unit = changes.get("unit", file(service.unit_text()))
    return {
        fact(Docker): changes.get("service", seen()),
        fact(IpForward): Forwarding("1", (("/etc/sysctl.conf", "1"),)),
        fact(PathState, path=daemon_json.PATH): text
        if text is None or isinstance(text, FileState)
        else file(text),
        fact(PathState, path=daemon_json.RECORD): None if record is None else file(record),
        fact(PathState, path=service.UNIT): unit,
        fact(PathState, path="/var/lib/docker/containers"): FileState("directory", "0710", "root", "root"),
        fact(MirrorRecord): changes.get("answers", {MIRROR: Answer(True, "answers")}),
        fact(StaticEngineFiles, paths=static_engine.PATHS): changes.get("static", recorded_engine()),
    }


def recorded_engine() -> StaticEngine:
    return StaticEngineFiles().process(lines("static_engine"))
