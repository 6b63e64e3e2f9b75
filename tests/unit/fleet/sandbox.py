"""A host in a folder: the real run, the real operations, facts and shell commands; only SSH and the root of the file system differ.

Of the door, the way in is replaced: a command line runs in a local shell with /etc, /opt, /run ... below a temporary folder, with the
programs of a host (systemctl, dockerd, docker) as stand-ins that keep their state in that folder. Everything above the door is
difyfleet's own: journal, operations, engine, verbs, command line.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from difyfleet.fleet import engine as engine_module  # isort: skip - patches gevent first

from pyinfra.api.exceptions import ConnectError
from pyinfra.connectors.util import CommandOutput, OutputLine

from difyfleet import stack
from difyfleet.remote import journal, mux
from difyfleet.remote.door import DoorConnector
from difyfleet.spec.models import HostSpec
from tests.unit.fleet import login_shell
from tests.unit.remote.channel import Channel


class Sandbox:
    """The folders of the hosts, and what stands in for deploy.py.

    Args:
        root: one folder per host below it.
        roles: modules or objects with NAME, wanted, converge, checks.
    """

    def __init__(self, root: Path, *roles: Any) -> None:
        self.root = root
        self.roles = roles
        self.unreachable: set[str] = set()
        self.deploy = root / "deploy.py"
        self.deploy.write_text("from tests.unit.fleet.sandbox import current\ncurrent().run()\n")

    def host(self, name: str) -> Path:
        """The root folder of a host, made at first use."""
        folder = self.root / name
        for part in ("etc", "opt", "run", "bin"):
            (folder / part).mkdir(parents=True, exist_ok=True)
        return folder

    def program(self, name: str, script: str, host: str = "llm") -> None:
        """A stand-in for a program of the host. In it $ROOT is the host's root folder."""
        path = self.host(host) / "bin" / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    def run(self) -> None:
        stack.run(*self.roles)

    def exec(self, host: str, line: str, stdin: str, timeout: int) -> tuple[int, CommandOutput]:
        """What `DoorConnector._exec` does, here."""
        status, stdout, stderr = login_shell.run(self.host(host), line, stdin, timeout)
        lines = [OutputLine("stdout", text) for text in stdout.splitlines()]
        lines += [OutputLine("stderr", text) for text in stderr.splitlines()]
        return status, CommandOutput(lines)

    def open(self, host: str, line: str) -> Channel:
        """What `DoorConnector.open` does, here. Its lines come to a login shell that does what `exec` does."""
        shell = self.root / f"login-shell-{host}"
        if not shell.exists():
            shell.write_text(login_shell.script(self.host(host)))
            shell.chmod(0o755)
        environment = {"PATH": os.environ["PATH"], "SHELL": str(shell), "ROOT": str(self.host(host))}
        return Channel(line, environment, apart=True)

    def start(self, host: str, script: str) -> Channel:
        """What `DoorConnector.start` does, here."""
        return Channel(login_shell.here(self.host(host), script))


# Calls of scripts see the host's folders, too. Those that look elsewhere than at paths they are given leave it to the shell.
_CALLS_HERE = b"""
import os
def _here(function, root=os.environ["ROOT"]):
    return lambda *words: function(*[root + word if word[:1] == "/" else word for word in words]).replace(root.encode() + b"/", b"/")
file_state, cat, cat_file, secrets, forwarding = map(_here, (file_state, cat, cat_file, secrets, forwarding))
"""
_source_of_scripts = mux.host_calls.source


def _source(module: str) -> bytes:
    code = _source_of_scripts(module)
    if module == "difyfleet.facts.files_script":
        return code + _CALLS_HERE
    return code + b"\nraise OSError('not in a folder')\n" if module.startswith("difyfleet.facts.") else code


_current: list[Sandbox] = []


def current() -> Sandbox:
    return _current[-1]


def spec(name: str = "llm", **sections: Any) -> HostSpec:
    return HostSpec.model_validate(
        {
            "name": name,
            "address": "192.0.2.1",
            "admin": {"email": "ops@example.com"},
            "ssh": {"user": "root"},
            **sections,
        }
    )


@contextmanager
def sandbox(root: Path, *roles: Any) -> Iterator[Sandbox]:
    """A context in which every run ends up in folders below `root`."""
    box = Sandbox(root, *roles)

    def connect(self: Any) -> None:
        if self.host.name in box.unreachable:
            raise ConnectError(
                "cannot connect to 192.0.2.1: timed out\n  next: is the machine up and sshd reachable?"
            )
        journal.current().write(self.host.name, journal.CONNECT, "ssh", "a folder")

    replaced: list[tuple[Any, str, Any]] = [
        (DoorConnector, "connect", connect),
        (DoorConnector, "disconnect", lambda self: None),
        (DoorConnector, "require_connection", lambda self, cause=None: None),
        (
            DoorConnector,
            "_exec",
            lambda self, line, stdin, timeout: box.exec(self.host.name, line, stdin, timeout),
        ),
        (DoorConnector, "open", lambda self, line: box.open(self.host.name, line)),
        (
            DoorConnector,
            "start",
            lambda self, command, kind, what: box.start(self.host.name, command.get_raw_value()),
        ),
        (engine_module, "deploy_file", lambda: box.deploy),
        (mux.host_calls, "source", _source),
    ]
    before = [(owner, name, getattr(owner, name)) for owner, name, _ in replaced]
    for owner, name, value in replaced:
        setattr(owner, name, value)
    _current.append(box)
    try:
        yield box
    finally:
        _current.pop()
        for owner, name, value in before:
            setattr(owner, name, value)


def role(
    converge: Callable[[HostSpec], None],
    checks: Callable[[HostSpec], Iterator[Any]] = lambda spec: iter(()),
    name: str = "files",
) -> Any:
    """A role made of two functions."""

    def runs(spec: HostSpec) -> None:
        converge(spec)

    return SimpleNamespace(NAME=name, wanted=lambda spec: True, converge=runs, checks=checks)
