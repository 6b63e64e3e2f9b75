"""Lab hosts for end-to-end tests: real systemd, sshd, dnf, dockerd, Ollama. Names start with `t-` so that a running demo is left alone."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml

from difyfleet.clients.dify import Dify
from difyfleet.secrets import Secret

ROOT = Path(__file__).resolve().parents[2]
DIFYFLEET = ROOT / ".venv" / "bin" / "difyfleet"
LAB = ROOT / ".lab"


@dataclass
class Outcome:
    """One finished command line."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def summary(self) -> dict[str, Any]:
        return dict(self.json["summary"])

    @property
    def would_change(self) -> list[str]:
        return [
            f"{operation['role']}: {operation['name']}: {'; '.join(operation['why'])}"
            for host in self.json["hosts"]
            for operation in host["operations"]
            if operation["state"] in ("would_change", "changed")
        ]


def lab(*arguments: str, timeout: int = 1800, check: bool = True) -> subprocess.CompletedProcess[str]:
    """`python -m lab ...`

    Raises:
        AssertionError: it did not exit 0, with what it said.
    """
    done = subprocess.run(
        [sys.executable, "-m", "lab", *arguments],
        cwd=ROOT, timeout=timeout, check=False, capture_output=True, text=True,
    )  # fmt: skip
    assert not check or done.returncode == 0, (
        f"lab {arguments}: exit {done.returncode}\n{done.stdout}{done.stderr}"
    )
    return done


@dataclass
class LabHost:
    """One lab host with an inventory of its own, and what the program finds in its environment."""

    name: str
    folder: Path
    state: Path
    env: dict[str, str] = field(default_factory=dict)

    @property
    def inventory(self) -> Path:
        return self.folder / f"{self.name}.yml"

    def write_inventory(self, **sections: Any) -> Path:
        """An inventory like inventory/lab.yml for this host, with sections replaced, added or (None) left out."""
        base = yaml.safe_load((ROOT / "inventory" / "lab.yml").read_text())
        base["hosts"] = {self.name: None}
        base["ssh"] = {"config": str(LAB / "ssh_config"), "known_hosts": str(LAB / "known_hosts")}
        base["docker"]["bundle"]["sha256sums"] = str(LAB / "SHA256SUMS")
        for knowledge in base["knowledge"].values():
            knowledge["documents"] = str(ROOT / "inventory" / knowledge["documents"])
        for key, value in sections.items():
            base[key] = (
                {**base.get(key, {}), **value}
                if isinstance(value, dict) and isinstance(base.get(key), dict)
                else value
            )
        base = {key: value for key, value in base.items() if value is not None}
        self.inventory.write_text(yaml.safe_dump(base, allow_unicode=True, sort_keys=False))
        return self.inventory

    def difyfleet(self, *arguments: str, timeout: int = 1800, **env: str) -> Outcome:
        """The program itself, as an operator calls it."""
        done = subprocess.run(
            [str(DIFYFLEET), *arguments],
            cwd=self.folder,
            env={**os.environ, "DIFYFLEET_STATE_DIR": str(self.state), **self.env, **env},
            timeout=timeout,
            capture_output=True,
            text=True,
            check=False,
        )
        return Outcome(done.returncode, done.stdout, done.stderr)

    def plan(self, *more: str) -> Outcome:
        return self.difyfleet("plan", str(self.inventory), "--json", *more)

    def apply(self, *more: str) -> Outcome:
        return self.difyfleet("apply", str(self.inventory), "--yes", "--json", *more)

    def verify(self, *more: str) -> Outcome:
        return self.difyfleet("verify", str(self.inventory), "--json", *more)

    def sh(self, script: str, *, check: bool = True, timeout: int = 120) -> str:
        """A shell script on the host as root, behind difyfleet's back."""
        done = subprocess.run(
            ["ssh", "-F", str(LAB / "ssh_config"), self.name, f"sudo sh -c {shlex.quote(script)}"],
            timeout=timeout,
            capture_output=True,
            text=True,
            check=False,
        )
        if check and done.returncode != 0:
            raise AssertionError(
                f"{script!r} on {self.name}: exit {done.returncode}\n{done.stdout}{done.stderr}"
            )
        return done.stdout

    def page(self) -> Dify:
        """A client of its Dify, not logged in, through the port that a browser would use."""
        entry = next(
            each for each in json.loads((LAB / "hosts.json").read_text()) if each["name"] == self.name
        )
        session = requests.Session()
        session.trust_env = False
        return Dify(session, f"http://127.0.0.1:{entry['http_port']}")

    def console(self) -> Dify:
        """The same, logged in as the admin: the hands of somebody in Dify's pages."""
        client = self.page()
        password = self.sh("cat /etc/difyfleet/secrets/dify_admin_password").strip()
        client.session.login("admin@example.com", Secret(password))
        return client

    def last_journal(self) -> list[dict[str, Any]]:
        """What went through the door in the last run."""
        newest = max((self.state / "journal").glob("*.jsonl"), key=lambda path: path.stat().st_mtime_ns)
        return [json.loads(line) for line in newest.read_text().splitlines()]

    def changing_commands(self) -> list[dict[str, Any]]:
        """What the newest journal says went through the door as a change."""
        return [entry for entry in self.last_journal() if entry["kind"] == "change"]


def make_host(name: str, folder: Path, *arguments: str) -> LabHost:
    """A fresh lab host (an old one of that name is removed first)."""
    lab("down", name, check=False)
    lab("up", name, *arguments)
    host = LabHost(name, folder, folder / "state")
    host.write_inventory()
    return host


@pytest.fixture(scope="session")
def stack_host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabHost]:
    """A host with the whole stack applied once; tests leave it as clean as they found it. Streams of `make test` have one each."""
    host = make_host(os.environ.get("STACK_HOST", "t-stack"), tmp_path_factory.mktemp("stack"))
    first = host.apply()
    assert first.code == 0, f"first apply failed:\n{first.out}\n{first.err}"
    yield host
    lab("down", host.name, check=False)


@pytest.fixture
def bare_host(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[LabHost]:
    """A fresh, empty host."""
    host = make_host("t-bare", tmp_path)
    yield host
    lab("down", host.name, check=False)
