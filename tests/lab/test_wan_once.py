"""Over the WAN once: what leaves the lab's registries for one host, for three, and for one that joins later."""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.lab.conftest import DIFYFLEET, LAB, LabHost, Outcome, lab

pytestmark = [pytest.mark.lab, pytest.mark.slow]

NAMES = ("t-wan-1", "t-wan-2", "t-wan-3")
IMAGES = ("ollama/ollama:0.4.7", "ghcr.io/open-webui/open-webui:0.4.7")
MODELS = ("nomic-embed-text:latest", "llama3.2:latest")
LOGS = ("registry-hub.log", "registry-ghcr.log", "registry-models.log")
ROLES = ("--role", "docker", "--role", "images", "--role", "ollama")


class Registries:
    """Bytes of content that the lab's registries have sent, read from their logs."""

    def __init__(self) -> None:
        self._before = self._all()

    def _all(self) -> int:
        # `"GET /path HTTP/1.1" 200 1234` in both kinds of log
        lines = [line for log in LOGS for line in (LAB / log).read_text(errors="replace").splitlines()]
        return sum(int(found[1]) for line in lines if (found := re.search(r'"GET [^"]+" 20[06] (\d+)', line)))

    def since(self) -> int:
        """Bytes since this was asked last."""
        before, self._before = self._before, self._all()
        return self._before - before


class Fleet:
    """Three hosts, fresh, in one inventory."""

    def __init__(self, folder: Path) -> None:
        lab("down", *NAMES, check=False)
        lab("up", *NAMES)
        self.hosts = {name: LabHost(name, folder, folder / "state") for name in NAMES}
        self.first = self.hosts[NAMES[0]]
        self.first.write_inventory(
            ollama={"models": list(MODELS), "warm": False},
            openwebui={"enabled": True},
            dify={"enabled": False, "models": None},
            knowledge=None,
            assistants=None,
        )
        self.write(dict.fromkeys(NAMES))

    def write(self, hosts: dict[str, object]) -> None:
        written = yaml.safe_load(self.first.inventory.read_text())
        written["hosts"] = hosts
        self.first.inventory.write_text(yaml.safe_dump(written, allow_unicode=True, sort_keys=False))

    def apply(self, *more: str) -> Outcome:
        done = self.first.apply(*ROLES, *more)
        assert done.code == 0, done.out + done.err
        return done

    def empty(self, name: str) -> None:
        """No image, no model, no record of them."""
        self.hosts[name].sh(
            f"docker rm -f ollama; docker rmi -f {' '.join(IMAGES)}; rm -rf /opt/ollama/models /etc/difyfleet/images.json"
        )

    def ids(self, name: str) -> list[str]:
        words = self.hosts[name].sh(f"docker image inspect --format '{{{{.Id}}}}' {' '.join(IMAGES)}")
        return (
            words.split()
            + self.hosts[name]
            .sh("cd /opt/ollama/models && find blobs manifests -type f | sort | xargs sha256sum")
            .splitlines()
        )


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    made = Fleet(tmp_path_factory.mktemp("wan"))
    yield made
    lab("down", *NAMES, check=False)


def left_over(host: LabHost) -> str:
    """Units, folders and firewall rules of a run that is over."""
    return host.sh(
        "systemctl list-units --all --plain --no-legend 'difyfleet-share-*' 'difyfleet-take-*';"
        "ls -d /run/difyfleet/*share* /run/difyfleet/take* /opt/ollama/models/.difyfleet 2>/dev/null; firewall-cmd --zone=public --list-rich-rules 2>/dev/null; true"
    ).strip()


def test_three_hosts_cost_the_registries_what_one_does(fleet: Fleet) -> None:
    registries = Registries()
    fleet.apply("--limit", NAMES[0])
    one = registries.since()
    assert one > 50_000_000

    fleet.empty(NAMES[0])
    done = fleet.apply()
    three = registries.since()
    print(f"bytes from the registries: one host {one}, three {three}")
    assert three == pytest.approx(one, rel=0.02)
    said = [
        why for host in done.json["hosts"] for operation in host["operations"] for why in operation["why"]
    ]
    for name in (*(f"image {image}" for image in IMAGES), *(f"model {model}" for model in MODELS)):
        assert sum(why.startswith(f"{name}: taken from") for why in said) == 2
    assert not [why for why in said if "warning" in why]
    assert fleet.ids(NAMES[0]) == fleet.ids(NAMES[1]) == fleet.ids(NAMES[2])
    assert [left_over(host) for host in fleet.hosts.values()] == ["", "", ""]
    keys = {host.sh("cat /opt/ollama/id_ed25519.pub") for host in fleet.hosts.values()}
    assert len(keys) == 3
    assert fleet.first.plan(*ROLES).code == 0

    # one that joins later, in a run that works on it alone
    fleet.empty(NAMES[2])
    joined = fleet.apply("--limit", NAMES[2])
    more = registries.since()
    print(f"one that joins: {more}")
    assert more < 0.02 * one
    assert [host["name"] for host in joined.json["hosts"]] == [NAMES[2]]
    assert fleet.ids(NAMES[2]) == fleet.ids(NAMES[0])
    assert [left_over(host) for host in fleet.hosts.values()] == ["", "", ""]


def test_a_way_that_is_shut_costs_a_fetch_and_a_warning(fleet: Fleet) -> None:
    fleet.write({name: {"share": {"address": "10.0.2.250"}} for name in NAMES})  # where nobody answers
    fleet.empty(NAMES[2])
    registries = Registries()
    done = fleet.apply("--limit", NAMES[2])
    assert registries.since() > 50_000_000
    (host,) = done.json["hosts"]
    said = [why for operation in host["operations"] for why in operation["why"]]
    assert (
        sum("warning: could not be taken from" in why and "not reachable" in why for why in said) == 8
    )  # 2 hosts, 4 things
    assert fleet.ids(NAMES[2]) == fleet.ids(NAMES[0])
    assert [left_over(host) for host in fleet.hosts.values()] == ["", "", ""]


def test_a_transfer_outlives_a_killed_run_and_the_next_one_goes_on_with_it(fleet: Fleet) -> None:
    fleet.write(dict.fromkeys(NAMES))
    third = fleet.hosts[NAMES[2]]
    fleet.empty(NAMES[2])
    registries = Registries()
    arguments = ["apply", str(fleet.first.inventory), "--yes", "--limit", NAMES[2], *ROLES]
    run = subprocess.Popen(
        [str(DIFYFLEET), *arguments],
        env={**os.environ, "DIFYFLEET_STATE_DIR": str(third.state)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    active = "systemctl list-units --state=running --plain --no-legend 'difyfleet-take-*' | wc -l"
    deadline = time.monotonic() + 300
    while int(third.sh(active)) == 0:
        assert run.poll() is None
        assert time.monotonic() < deadline
    run.kill()
    run.wait(60)
    while int(third.sh(active)) > 0:
        assert time.monotonic() < deadline
        time.sleep(1)
    there = third.sh("docker image ls --format '{{.Repository}}:{{.Tag}}'").split()
    assert set(there) & set(IMAGES)  # it came to its end though nobody looked

    fleet.apply("--limit", NAMES[2], "--lock-wait", "120")
    assert registries.since() < 1_000_000
    assert fleet.ids(NAMES[2]) == fleet.ids(NAMES[0])
    assert left_over(third) == ""
