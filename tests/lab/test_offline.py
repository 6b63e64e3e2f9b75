"""A host that reaches nothing: the bundle is made from one host, pushed to another, and all of the stack runs there, answers included.

The wall stands in the lab's network, at the host's cable: whatever the host sends that is not an answer on SSH is counted and dropped.
"""

from __future__ import annotations

import json
import random
import re
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.lab.conftest import LAB, LabHost, lab, make_host

pytestmark = [pytest.mark.lab, pytest.mark.slow]

_CUTS = 20
_WALL = """
table netdev wall {
  counter attempts { }
  counter link { }
  chain out {
    type filter hook ingress device "PORT" priority 0; policy accept;
    ether type arp counter name link accept
    ip6 nexthdr icmpv6 counter name link drop
    ip6 nexthdr hopopt counter name link drop
    tcp sport 22 accept
    counter name attempts drop
  }
}
"""  # link: how a network card finds its neighbours; the kernel does that by itself


@dataclass
class Wall:
    """The firewall around one lab host."""

    host: LabHost

    def _in_lab(self, *argv: str, text: str | None = None) -> str:
        from lab.network import Network
        from lab.state import State

        done = subprocess.run(
            Network(State()).argv(list(argv)),
            input=text,
            check=True,
            capture_output=True,
            text=True,
            timeout=60,
        )
        return done.stdout

    @property
    def _port(self) -> str:
        hosts = json.loads((LAB / "hosts.json").read_text())
        address = next(each["address"] for each in hosts if each["name"] == self.host.name)
        return f"v{address.rpartition('.')[2]}"

    def build(self) -> None:
        self._in_lab("nft", "-f", "-", text=_WALL.replace("PORT", self._port))

    def tear_down(self) -> None:
        """Else it stands before the next host that gets this port."""
        self._in_lab("nft", "delete", "table", "netdev", "wall")

    def attempts(self) -> int:
        """Packets that tried to leave."""
        said = self._in_lab("nft", "list", "counter", "netdev", "wall", "attempts")
        found = re.search(r"packets (\d+)", said)
        assert found, said
        return int(found[1])

    def received(self) -> int:
        """Bytes that the host was sent since its cable was plugged in."""
        return int(self._in_lab("cat", f"/sys/class/net/{self._port}/statistics/tx_bytes"))


@pytest.fixture(scope="module")
def bundle(stack_host: LabHost) -> Iterator[Path]:
    """Made from a provisioned host, as a tar. 0.8 GB."""
    path = stack_host.folder / "lab.tar"
    made = stack_host.difyfleet("bundle", "make", str(stack_host.inventory), str(path), "--wheels", "none")
    assert made.code == 0, made.err
    yield path
    path.unlink()


@pytest.fixture(scope="module")
def walled(tmp_path_factory: pytest.TempPathFactory, stack_host: LabHost) -> Iterator[LabHost]:
    """A fresh host behind the wall."""
    host = make_host("t-walled", tmp_path_factory.mktemp("walled"))
    host.write_inventory(offline=True)
    wall = Wall(host)
    wall.build()
    yield host
    wall.tear_down()
    lab("down", host.name, check=False)


def pushed(host: LabHost, bundle: Path) -> dict[str, Any]:
    done = host.difyfleet("bundle", "push", str(host.inventory), str(bundle), "--json")
    assert done.code == 0, done.out + done.err
    result: dict[str, Any] = done.json["hosts"][0]["result"]
    return result


def test_the_wall_stands(walled: LabHost) -> None:
    wall = Wall(walled)
    before = wall.attempts()
    walled.sh("timeout 2 bash -c 'echo >/dev/tcp/10.0.2.3/443' || true")
    assert wall.attempts() > before


def test_without_a_push_the_plan_says_what_to_type(walled: LabHost) -> None:
    planned = walled.plan()
    assert planned.code == 1
    assert f"push the bundle first: difyfleet bundle push {walled.inventory} BUNDLE" in planned.out


def test_a_push_cut_at_random_points_sends_at_most_one_chunk_again(walled: LabHost, bundle: Path) -> None:
    """The controller is killed when the host has got so and so much, twenty times; then once more to the end."""
    wall, dice = Wall(walled), random.Random(20)
    size = bundle.stat().st_size
    start = wall.received()
    for point in sorted(dice.sample(range(size * 9 // 10), _CUTS)):
        argv = [*_push(walled, bundle)]
        with subprocess.Popen(
            argv, cwd=walled.folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as run:
            while run.poll() is None and wall.received() - start < point:
                time.sleep(0.02)
            run.kill()
        assert run.returncode != 0, "the push had ended before it could be cut"
    left = pushed(walled, bundle)
    assert 0 < left["lacked"] < size
    went = wall.received() - start
    # SSH's and TCP's own bytes, logins and facts of each run: 1 % and 200 kB are more than they need
    assert went <= size * 1.01 + _CUTS * ((8 << 20) + 200_000)
    again = pushed(walled, bundle)
    assert (again["sent"], again["lacked"]) == (0, 0)


def _push(host: LabHost, bundle: Path) -> Iterator[str]:
    from tests.lab.conftest import DIFYFLEET

    yield from ("env", f"DIFYFLEET_STATE_DIR={host.state}", str(DIFYFLEET))
    yield from ("bundle", "push", str(host.inventory), str(bundle), "--lock-wait", "60")


def test_everything_comes_from_the_bundle_and_nothing_tries_to_get_out(walled: LabHost, bundle: Path) -> None:
    wall = Wall(walled)
    before = wall.attempts()
    pushed(walled, bundle)
    first = walled.apply()
    assert first.code == 0, first.out + first.err
    verified = walled.verify()
    assert verified.code == 0, verified.out
    golden = [check for check in verified.json["hosts"][0]["checks"] if check["name"].startswith("golden")]
    assert golden
    assert all(check["ok"] for check in golden)
    second = walled.apply()
    assert second.summary["changing_commands"] == 0, second.would_change
    assert wall.attempts() == before
    assert pushed(walled, bundle)["sent"] == 0


def test_afterwards_the_store_keeps_the_engine_only(walled: LabHost) -> None:
    names = walled.sh("ls /var/lib/difyfleet/bundle/blobs/sha256").split()
    downloads = walled.sh("sha256sum /var/lib/difyfleet/downloads/docker-*").split()[::2]
    assert sorted(names) == sorted(downloads)
    assert walled.sh("stat -c %a /var/lib/difyfleet/bundle").strip() == "700"


def test_a_damaged_model_blob_is_found_and_pushed_again(walled: LabHost, bundle: Path) -> None:
    blob = walled.sh("ls -S /opt/ollama/models/blobs/sha256-* | head -1").strip()
    walled.sh(f"printf '!' | dd of={blob} bs=1 seek=4096 conv=notrunc status=none")
    planned = walled.plan()
    assert planned.code == 1
    assert "push the bundle first" in planned.out
    assert pushed(walled, bundle)["sent"] > 0
    mended = walled.apply()
    assert mended.code == 0, mended.out + mended.err
    assert walled.verify().code == 0
