"""The whole stack on a virtual machine: a kernel, a boot loader and a disk of its own (QEMU).

Its processor is emulated: one model, and what is inside Dify up to the admin. Every secret that an inventory can give is a canary there.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.lab.conftest import ROOT, LabHost, Outcome, lab, make_host

pytestmark = [pytest.mark.lab, pytest.mark.vm]

SECRETS = (
    "secret_key",
    "db_password",
    "redis_password",
    "weaviate_api_key",
    "sandbox_api_key",
    "init_password",
)
CANARIES = {
    **{f"CANARY_{name.upper()}": f"canary{number}x{'abcdef'[number] * 12}" for number, name in enumerate(SECRETS)},
    "CANARY_OPENWEBUI": "canary8xgggggggggg1A",
    "CANARY_SUDO": "lab-operator-1",
}  # fmt: skip
EDITED = "canary9xedited0000"
EDIT = """
printf 's/^DB_PASSWORD=.*/DB_PASSWORD=canary9%s/' xedited0000 > /run/edit
sed -i -f /run/edit /opt/dify/.env; rm /run/edit
"""
# the words are read from a file: an argument of grep would be found by itself
WATCH = """
umask 077; cat > /run/watched-words; touch /run/watching
while [ -e /run/watching ]; do ps axww -o args | grep -F -f /run/watched-words; sleep 0.3; done
rm /run/watched-words
"""


@dataclass
class Watched:
    """A host, every command line that was run against it, and what was seen meanwhile."""

    host: LabHost
    written: Path
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    second: list[dict[str, Any]] = field(default_factory=list)
    argv: list[str] = field(default_factory=list)

    def run(self, verb: str, *options: str) -> Outcome:
        self.outcomes[verb] = self.host.difyfleet(*verb.split(), *options)
        return self.outcomes[verb]

    def file(self, name: str) -> str:
        return str(self.written / name)

    def go(self) -> None:
        """From nothing to the stack by a saved plan, a second apply, drift."""
        inventory = str(self.host.inventory)
        self.run("plan", inventory, "--out", self.file("plan"))
        self.run("apply", self.file("plan"), "-v", "--events", "--html", self.file("applied"))
        if self.run("apply --yes", inventory, "--json").code == 0:
            self.second = self.host.changing_commands()
        self.host.sh(EDIT)
        files = (f"--{kind}={self.file(kind)}" for kind in ("html", "junit", "metrics"))
        self.run("drift", inventory, *files, "--notify", f"tee {self.file('notified')}", "--events")
        self.run("history", inventory, "--json")
        self.run("lock show", inventory, "--json")


@contextlib.contextmanager
def watching_argv(name: str, seen: list[str]) -> Iterator[None]:
    """Meanwhile, collect every command line on the host that holds a canary."""
    watch = subprocess.Popen(
        [sys.executable, "-m", "lab", "exec", name, "--", "sh", "-c", WATCH],
        cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert watch.stdin
    watch.stdin.write("\n".join([*CANARIES.values(), EDITED]) + "\n")
    watch.stdin.close()
    watch.stdin = None
    try:
        yield
    finally:
        lab("exec", name, "--", "rm", "/run/watching")
        seen += watch.communicate(timeout=60)[0].splitlines()


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    host = make_host("t-vm", tmp_path_factory.mktemp("vm"), "--kind", "vm")
    host.env = CANARIES
    host.write_inventory(
        ssh={"user": "operator", "sudo_password": {"env": "CANARY_SUDO"}},
        ollama={"models": ["qwen2.5:7b"]},
        dify={
            "models": [{"name": "qwen2.5:7b", "context_size": 4096, "default": True}],
            "secrets": {name: {"env": f"CANARY_{name.upper()}"} for name in SECRETS},
        },
        openwebui={"admin": {"password": {"env": "CANARY_OPENWEBUI"}}},
        knowledge=None,
        assistants=None,
    )
    made = Watched(host, host.folder / "written")
    made.written.mkdir()
    with watching_argv(host.name, made.argv):
        made.go()
    yield made
    lab("down", host.name, check=False)


def test_the_whole_stack_on_a_virtual_machine(watched: Watched) -> None:
    first, again = watched.outcomes["apply"], watched.outcomes["apply --yes"]
    assert first.code == 0, first.out[-3000:] + first.err
    assert again.code == 0, again.out + again.err
    assert again.summary["operations"] > 20
    assert again.summary["changed"] == 0, again.would_change
    assert watched.second == []


def test_secrets_never_show(watched: Watched) -> None:
    """In no output or file of the controller, in no argv on the host, and in no file there that others may read."""
    codes = {verb: outcome.code for verb, outcome in watched.outcomes.items()}
    assert codes == {"plan": 2, "apply": 0, "apply --yes": 0, "drift": 2, "history": 0, "lock show": 0}
    assert {each.name for each in watched.written.iterdir()} == {
        "plan", "applied", "html", "junit", "metrics", "notified"
    }  # fmt: skip
    assert "DB_PASSWORD" in Path(watched.file("html")).read_text()
    texts = [outcome.out + outcome.err for outcome in watched.outcomes.values()]
    kept = [*watched.written.iterdir(), *(each for each in watched.host.state.rglob("*") if each.is_file())]
    texts += [path.read_text(errors="replace") for path in kept]
    values = [*CANARIES.values(), EDITED]
    assert [value for value in values if any(value in text for text in texts)] == []
    assert watched.argv == []
    assert files_open_to_others(watched.host, values) == []


def files_open_to_others(host: LabHost, values: list[str]) -> list[str]:
    """The files on the host that hold one of these words and that user nobody can read."""
    words = "\n".join(values)
    holding = host.sh(
        f"grep -rlF --binary-files=text -e '{words}' /etc /opt/dify /opt/difyfleet /opt/open-webui /var/lib/difyfleet /tmp /run 2>/dev/null",
        check=False,
    ).split()
    assert "/opt/dify/.env" in holding
    return host.sh(
        "for f in "
        + " ".join(holding)
        + '; do su -s /bin/sh nobody -c "cat \'$f\' >/dev/null 2>&1" && echo "$f"; done; true'
    ).split()
