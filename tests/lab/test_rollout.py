"""A rollout over three hosts: Ollama on one, Dify and Open WebUI on two that use it, secrets that are canaries. And what locks do."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.lab import canaries
from tests.lab.conftest import DIFYFLEET, LAB, ROOT, LabHost, Outcome, lab

pytestmark = pytest.mark.lab

OLLAMA, FIRST, SECOND = "t-roll-llm", "t-roll-1", "t-roll-2"
ANSWER = "串口没有收到数据"
# every file of the places that difyfleet changes, by its content, owner and mode; systemd keeps its own books meanwhile
STATE = (
    "find /etc /opt /usr/bin /usr/local /usr/libexec /var/lib /root -xdev -type f"
    " -not -path '/var/lib/systemd/*' -not -path '/var/lib/private/*' -printf '%m %u %g ' -exec sha256sum {} \\; | sort | sha256sum"
)


class Fleet:
    """The three hosts and their inventory."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        lab("down", OLLAMA, FIRST, SECOND, check=False)
        lab("up", OLLAMA, FIRST, SECOND)
        self.hosts = {
            name: LabHost(name, folder, folder / "state", canaries.CANARIES)
            for name in (OLLAMA, FIRST, SECOND)
        }
        self.first = self.hosts[OLLAMA]
        self.outcomes: list[Outcome] = []
        self.argv: list[str] = []
        self.watch = contextlib.ExitStack()
        self.watch.enter_context(canaries.watching_argv(FIRST, self.argv))

    @property
    def inventory(self) -> Path:
        return self.first.inventory

    def write(self, *, answer: str = ANSWER) -> None:
        """The inventory; `answer` is what the first Dify host's golden question wants to hear."""
        golden = [{"ask": "错误代码 E07 是什么意思？", "contains": answer, "max_seconds": 600}]
        away: dict[str, Any] = {"ollama": {"enabled": False}}
        url = f"http://{OLLAMA}.lab:11434"
        password = {"password": {"env": "CANARY_OPENWEBUI"}}
        config = self.folder / "ssh_config"
        config.write_text(
            (LAB / "ssh_config").read_text().replace(f"Host {OLLAMA}\n", f"Host {OLLAMA} {OLLAMA}.lab\n")
        )
        self.first.write_inventory(rollout={"waves": [1, 2, "100%"]}, ssh={"config": str(config)})
        written = yaml.safe_load(self.inventory.read_text())
        written["hosts"] = {  # the rollout has to make the order
            FIRST: {
                **away,
                "ssh": {"user": "operator", "sudo_password": {"env": "CANARY_SUDO"}},
                "openwebui": {"enabled": False},
                "dify": {"ollama_url": url, "secrets": canaries.OF_DIFY},
                "assistants": {"helper": {"golden": golden}},
            },
            SECOND: {**away, "dify": {"enabled": False}, "openwebui": {"ollama_url": url, "admin": password}},
            OLLAMA: {
                "address": f"{OLLAMA}.lab",
                "ollama": {"bind": "0.0.0.0"},
                "openwebui": {"enabled": False},
                "dify": {"enabled": False},
            },
        }
        self.inventory.write_text(yaml.safe_dump(written, allow_unicode=True, sort_keys=False))

    def exec(self, host: str, script: str) -> str:
        """On a host as root, without SSH."""
        return lab("exec", host, "--", "sh", "-c", script).stdout

    def run(self, verb: str, *options: str) -> Outcome:
        """The program, and what it printed is kept for a look at the end."""
        self.outcomes.append(self.first.difyfleet(*verb.split(), *options))
        return self.outcomes[-1]

    def rollout(self, *options: str) -> Outcome:
        return self.run("rollout", str(self.inventory), "--yes", "--json", *options)

    def lock(self, verb: str, *options: str) -> str:
        return self.run("lock", verb, str(self.inventory), *options).out


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    made = Fleet(tmp_path_factory.mktemp("rollout"))
    yield made
    made.watch.close()
    lab("down", OLLAMA, FIRST, SECOND, check=False)


def test_a_broken_second_wave_halts_and_resume_finishes(fleet: Fleet) -> None:
    fleet.write(answer="an answer that no document holds")
    before = fleet.exec(SECOND, STATE)
    halted = fleet.rollout()
    assert halted.code == 3, halted.out + halted.err
    said = halted.json["rollout"]
    assert said["waves"] == [{OLLAMA: "done"}, {FIRST: "failed"}, {SECOND: "untouched"}]
    assert said["halted"]["wave"] == 2
    assert re.match(rf"{FIRST}: assistants \| ", said["halted"]["why"][0])
    assert fleet.exec(SECOND, STATE) == before
    assert fleet.exec(SECOND, "ls /run/difyfleet 2>/dev/null || true") == ""

    fleet.write()
    resumed = fleet.rollout("--resume")
    assert resumed.code == 0, resumed.out + resumed.err
    assert resumed.json["rollout"]["waves"] == [{OLLAMA: "done"}, {FIRST: "done"}, {SECOND: "done"}]
    assert OLLAMA not in {entry["host"] for entry in fleet.first.changing_commands()}
    assert fleet.rollout("--resume").code == 1


def test_secrets_never_show(fleet: Fleet) -> None:
    """Canaries: in no output or file of the controller, in no argv on the host, and in no file there that others may read."""
    fleet.write()
    fleet.hosts[FIRST].sh(canaries.EDIT)
    written = fleet.folder / "written"
    written.mkdir()
    files = {
        kind: str(written / kind) for kind in ("html", "junit", "metrics", "notified", "plan", "applied")
    }
    reports = (f"--{kind}={files[kind]}" for kind in ("html", "junit", "metrics"))
    inventory, limit = str(fleet.inventory), ("--limit", FIRST)
    did = [
        fleet.run("drift", inventory, *limit, *reports, "--notify", f"tee {files['notified']}", "--events"),
        fleet.run("plan", inventory, *limit, "--out", files["plan"]),
        fleet.run("apply", files["plan"], "-v", "--events", "--html", files["applied"]),
        fleet.run("verify", inventory, *limit, "--json"),
        fleet.run("history", inventory, "--json"),
        fleet.run("lock show", inventory, "--json"),
    ]
    fleet.watch.close()
    assert [each.code for each in did] == [2, 2, 0, 0, 0, 0], [each.out[-3000:] + each.err for each in did]
    assert {path.name for path in written.iterdir()} == set(files)
    assert "DB_PASSWORD" in Path(files["html"]).read_text()
    kept = [each for each in fleet.folder.rglob("*") if each.is_file()]
    texts = [each.out + each.err for each in fleet.outcomes]
    texts += [path.read_text(errors="replace") for path in kept]
    assert [value for value in canaries.VALUES if any(value in text for text in texts)] == []
    assert fleet.argv == []
    for host in (FIRST, SECOND):
        assert canaries.files_open_to_others(fleet.hosts[host]) == []


def start(fleet: Fleet, host: str) -> subprocess.Popen[str]:
    """An apply that holds the host's lease, and stands still: the lease lasts 25 seconds from then on."""
    environment = {**os.environ, **canaries.CANARIES, "DIFYFLEET_STATE_DIR": str(fleet.folder / "other")}
    arguments = [str(DIFYFLEET), "apply", str(fleet.inventory), "--yes", "--limit", host]
    process = subprocess.Popen(
        arguments, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    deadline = time.monotonic() + 120
    while "held by" not in fleet.lock("show", "--limit", host):
        assert process.poll() is None, process.stdout and process.stdout.read()
        assert time.monotonic() < deadline
        time.sleep(0.2)
    process.send_signal(signal.SIGSTOP)
    return process


def test_locks(fleet: Fleet) -> None:
    fleet.write()
    process = start(fleet, OLLAMA)
    try:
        refused = fleet.first.difyfleet("models", "stop", str(fleet.inventory), "llama3.2", "--limit", OLLAMA)
        assert refused.code == 4, refused.out + refused.err
        assert f"{OLLAMA}: is being worked on by" in refused.err
        assert "free" in fleet.lock("show", "--limit", SECOND)
        process.send_signal(signal.SIGKILL)
        began = time.monotonic()
        while "held by" in fleet.lock("show", "--limit", OLLAMA):
            assert time.monotonic() - began < 10, "free at once, not after the lease's time"
        waited = fleet.first.difyfleet(
            "apply", str(fleet.inventory), "--yes", "--json", "--limit", OLLAMA, "--lock-wait", "30"
        )
        assert waited.code == 0, waited.out + waited.err
    finally:
        process.kill()
        process.wait()
