"""Over the WAN once: one host fetches, the others take; whatever goes wrong between hosts ends in a fetch of one's own."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from ipaddress import IPv4Interface
from typing import Any

import gevent
import pytest

from difyfleet.errors import ConnectionLost, HostError
from difyfleet.facts.images import Image
from difyfleet.facts.ollama import Blob, Store, StoredModel
from difyfleet.facts.share import LanAddresses
from difyfleet.notes import notes
from difyfleet.operations import share, share_images, share_models, share_service
from difyfleet.operations.image_work import Meant
from difyfleet.operations.share_images import WantedImage
from difyfleet.operations.share_models import WantedModel
from difyfleet.remote.neighbours import TAKERS, Key, Neighbours, Offer
from difyfleet.spec.lock import LockedImage
from difyfleet.spec.share import Share

ONE, TWO = "sha256:" + "1" * 64, "sha256:" + "2" * 64


class Spec:
    def __init__(self, enabled: bool = True) -> None:
        self.share = Share(enabled=enabled)


class Host:
    """A host in memory: what it has, and how often it went to a registry."""

    def __init__(self, name: str, *has: str, enabled: bool = True) -> None:
        self.name, self.connected = name, True
        self.has = set(has)
        self.fetched: list[str] = []
        self.data: dict[str, Any] = {"spec": Spec(enabled)}
        self.connector_data: dict[str, Any] = {}
        self.current_op_hash = self.executing_op_hash = "op"

    @property
    def said(self) -> list[str]:
        return [change.why for change in notes(self, "op").changes]


class Thing:
    def __init__(self, name: str) -> None:
        self.key: Key = ("image", name)
        self.timeout = 60

    def fits(self, offer: Offer) -> bool:
        return offer.digest == ONE

    def order(self, offer: Offer) -> Mapping[str, Any]:
        return {}

    def arrived(self, on: Host) -> Offer | None:
        return Offer(ONE, 5) if self.key[1] in on.has else None


class Kind:
    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []

    def has(self, on: Host, keys: Sequence[Key]) -> Mapping[Key, Offer]:
        gevent.sleep(0)
        self.asked += [(on.name, name) for _, name in keys]
        return {key: Offer(ONE, 5) for key in keys if key[1] in on.has}

    def declares(self, on: Host, key: Key) -> bool:
        return bool(on.data["spec"].share.enabled)


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> dict[tuple[str, str], str]:
    """(taker, donor) -> where it breaks: start, way, content; or stuck, it never ends. Takes last two looks, fetches some turns."""
    trouble: dict[tuple[str, str], str] = {}
    giving: dict[str, int] = {}

    class Taking:
        def __init__(self, on: Host, donor: Host, thing: Thing, offer: Offer) -> None:
            self.on, self.donor, self.thing, self.offer, self.words = on, donor, thing, offer, ""
            self.looks = 2
            self.trouble = trouble.get((on.name, donor.name))

        def start(self, source: Any) -> None:
            giving[self.donor.name] = giving.get(self.donor.name, 0) + 1
            assert giving[self.donor.name] <= TAKERS

        def ended(self) -> bool:
            self.looks = max(self.looks - 1, 0)
            if self.looks or self.trouble == "stuck":
                return False
            giving[self.donor.name] -= 1
            if self.trouble == "way":
                raise HostError("not reachable: http://10.0.0.1:9470: timed out")
            if self.trouble != "content":
                self.on.has.add(self.thing.key[1])
            return True

    def serving(fleet: Neighbours, donor: Host, taker: Host) -> Any:
        if trouble.get((taker.name, donor.name)) == "start":
            raise ConnectionLost("the SSH connection was lost", where=donor.name)

    monkeypatch.setattr(share, "Taking", Taking)
    monkeypatch.setattr(share, "serving", serving)
    monkeypatch.setattr(share.time, "sleep", lambda seconds: gevent.sleep(0))
    return trouble


def run(
    hosts: Sequence[Host], names: Sequence[str], kind: Kind | None = None, outside: Sequence[Host] = ()
) -> Neighbours:
    """Every host brings all names, side by side, as in a run."""
    fleet = Neighbours(hosts, lambda: outside)

    def bring(on: Host) -> None:
        on.data["neighbours"] = fleet

        def fetch(things: Sequence[Thing], done: share.Done) -> None:
            for thing in things:
                for _ in range(3):
                    gevent.sleep(0)
                on.fetched.append(thing.key[1])
                on.has.add(thing.key[1])
                done(thing.key)

        missing = [Thing(name) for name in names if name not in on.has]
        if missing:
            share.bring(on, missing, kind or Kind(), fetch)

    jobs = [gevent.spawn(bring, host) for host in hosts]
    gevent.joinall(jobs, timeout=20, raise_error=True)
    assert all(job.successful() for job in jobs)
    return fleet


def test_one_fetches_and_the_others_take(broken: Any) -> None:
    hosts = [Host(name) for name in "abc"]
    run(hosts, ["x", "y"])
    assert sorted(name for host in hosts for name in host.fetched) == ["x", "y"]
    assert [host.has for host in hosts] == [{"x", "y"}] * 3
    assert hosts[1].said == ["image x: taken from a", "image y: taken from a"]


def test_who_has_it_is_asked_before_anybody_fetches(broken: Any) -> None:
    hosts = [Host("a"), Host("b", "x"), Host("c")]
    kind = Kind()
    run(hosts, ["x"], kind)
    assert [host.fetched for host in hosts] == [[], [], []]
    assert sorted(kind.asked) == sorted(set(kind.asked))  # each host once about each thing


def test_hosts_outside_the_run_are_connected_only_for_what_nobody_in_it_has(broken: Any) -> None:
    finished = Host("old", "x", "y")
    late = Host("late")
    run([late], ["x"], outside=[finished])
    assert late.said == ["image x: taken from old"]
    both = [Host("a", "x"), Host("b")]
    run(both, ["x"], outside=None)  # type: ignore[arg-type] # would fail if it were asked for
    assert both[1].said == ["image x: taken from a"]


@pytest.mark.parametrize("where", ["start", "way", "content"])
def test_a_neighbour_that_fails_is_avoided_then_it_is_fetched(
    broken: dict[tuple[str, str], str], where: str
) -> None:
    broken["c", "a"] = where
    hosts = [Host("a", "x"), Host("b", "x"), Host("c")]
    run(hosts, ["x"])
    assert hosts[2].said[-1] == "image x: taken from b"
    assert hosts[2].said[0].startswith("image x: warning: could not be taken from a (")
    broken["c", "b"] = where
    again = [Host("a", "x"), Host("b", "x"), Host("c")]
    run(again, ["x"])
    assert again[2].fetched == ["x"]
    assert len(again[2].said) == 2


def test_a_lost_connection_of_the_taker_is_its_own_error(
    broken: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def serving(fleet: Neighbours, donor: Host, taker: Host) -> Any:
        raise ConnectionLost("the SSH connection was lost", where=taker.name)

    monkeypatch.setattr(share, "serving", serving)
    with pytest.raises(ConnectionLost):
        run([Host("a", "x"), Host("b")], ["x"])


def test_a_host_that_is_switched_off_neither_takes_nor_gives(broken: Any) -> None:
    hosts = [Host("a", "x", enabled=False), Host("b"), Host("c", enabled=False)]
    run(hosts, ["x"])
    assert [host.fetched for host in hosts] == [[], ["x"], ["x"]]


def test_a_fetch_that_fails_is_tried_by_the_next(broken: Any) -> None:
    hosts = [Host("a"), Host("b")]
    fleet = Neighbours(hosts)
    tried: list[str] = []

    def bring(on: Host) -> None:
        on.data["neighbours"] = fleet

        def fetch(things: Sequence[Thing], done: share.Done) -> None:
            gevent.sleep(0)
            tried.append(on.name)
            raise HostError("no route to the registry")

        with pytest.raises(HostError, match="no route"):
            share.bring(on, [Thing("x")], Kind(), fetch)

    gevent.joinall([gevent.spawn(bring, host) for host in hosts], timeout=20, raise_error=True)
    assert tried == ["a", "b"]
    assert fleet.fetcher(("image", "x")) is None


@pytest.mark.parametrize("seed", range(40))
def test_any_fleet_ends_complete_and_fetches_nothing_twice(
    broken: dict[tuple[str, str], str], seed: int
) -> None:
    dice = random.Random(seed)
    names = [f"i{number}" for number in range(dice.randint(1, 5))]
    hosts = [
        Host(f"h{number}", *(name for name in names if dice.random() < 0.3))
        for number in range(dice.randint(2, 9))
    ]
    before = {name for host in hosts for name in host.has}
    if dice.random() < 0.5:
        pairs = [(one.name, other.name) for one in hosts for other in hosts]
        broken.update(
            {pair: dice.choice(["start", "way", "content"]) for pair in pairs if dice.random() < 0.3}
        )
    run(hosts, names)
    assert all(host.has == set(names) for host in hosts)
    fetched = [name for host in hosts for name in host.fetched]
    if not broken:
        assert sorted(fetched) == sorted(set(names) - before)


def test_what_serves_ends_with_the_run_but_not_under_a_transfer_that_a_cut_run_left(broken: Any) -> None:
    def ended(how: str) -> list[str]:
        hosts, closed = [Host("a", "x"), Host("b")], list[str]()
        fleet = Neighbours(hosts)
        fleet.at_end(hosts[0], lambda: closed.append("a"))
        hosts[1].data["neighbours"] = fleet
        job = gevent.spawn(share.bring, hosts[1], [Thing("x")], Kind(), lambda things, done: None)
        if how != "done":
            broken["b", "a"] = "stuck"
            while not fleet.taken_from(hosts[0]):
                gevent.sleep(0)
        if how == "killed":
            job.kill()
        if how == "done":
            job.join(20)
        fleet.close()
        job.kill()
        assert not fleet.taken_from(hosts[0])
        return closed

    assert ended("done") == ["a"]
    assert ended("killed") == []
    assert ended("not told yet") == []


def test_which_image_fits() -> None:
    def fits(image: str, locked: LockedImage | None = None, recorded: str | None = None) -> bool:
        return WantedImage(Meant(image, locked, recorded)).fits(Offer(ONE, 1))

    assert fits("nginx:1")
    assert fits("nginx:1", LockedImage(id=ONE))
    assert fits("nginx:1", recorded=ONE)
    assert not fits("nginx:1", LockedImage(id=TWO))
    assert not fits("nginx:1", LockedImage(digest=TWO), ONE)
    assert not fits("nginx:1", recorded=TWO)
    assert not fits(f"nginx@{ONE}")  # docker load brings no registry's digest


def test_what_a_host_offers() -> None:
    there = (Image(ONE, frozenset({"nginx:1"}), frozenset(), 7),)
    assert share_images.offers(there, [("image", "nginx:1"), ("image", "redis:6")]) == {
        ("image", "nginx:1"): Offer(ONE, 7)
    }
    assert share_images.offers(None, [("image", "nginx:1")]) == {}
    path = "/opt/ollama/models/manifests/registry.ollama.ai/library/m/latest"
    whole = StoredModel("m:latest", "ab" * 32, path, (Blob(TWO, 9, "ok"),))
    cut = StoredModel("n:latest", "cd" * 32, path, (Blob(TWO, 9, "size", 3),))
    found = share_models.offers(
        Store({"m:latest": whole, "n:latest": cut}),
        [("model", "m:latest"), ("model", "n:latest")],
        "/opt/ollama",
    )
    manifest = {"path": "registry.ollama.ai/library/m/latest", "digest": "ab" * 32}
    assert found == {
        ("model", "m:latest"): Offer(
            "ab" * 32, 9, {"manifest": manifest, "blobs": [{"digest": TWO, "size": 9}]}
        )
    }
    wanted = WantedModel("m:latest", "/data", "abab", 60)
    assert wanted.fits(found["model", "m:latest"])
    assert wanted.order(found["model", "m:latest"])["models"] == "/data/models"
    assert not WantedModel("m:latest", "/data", "cd", 60).fits(found["model", "m:latest"])


def test_addresses() -> None:
    lines = [
        "2: eth0    inet 10.0.2.11/24 brd 10.0.2.255 scope global eth0\\       valid_lft forever",
        "3: eth1    inet 192.168.7.4/16 scope global eth1",
        "4: docker0    inet 10.200.0.1/24 scope global docker0",
        "5: br-5d1f    inet 10.201.0.1/24 scope global br-5d1f",
    ]
    assert LanAddresses().process(lines) == (IPv4Interface("10.0.2.11/24"), IPv4Interface("192.168.7.4/16"))


def test_the_way_is_opened_to_takers_only_and_closed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[str] = []

    def execute(on: Any, script: str, **_: Any) -> tuple[bool, str]:
        ran.append(script)
        return True, ""

    monkeypatch.setattr(share_service, "execute", execute)
    addresses = (IPv4Interface("192.168.0.5/24"), IPv4Interface("10.0.2.11/24"))
    service = share_service.Service(None, "difyfleet-share-1", "token", 9470, addresses)
    taker = (IPv4Interface("10.0.2.12/24"),)
    assert service.urls(taker) == ("http://10.0.2.11:9470", "http://192.168.0.5:9470")
    service.open_to(taker)
    service.open_to(taker)
    service.stop()
    rule = 'rule family="ipv4" source address="10.0.2.12" port port="9470" protocol="tcp" accept'
    assert len(ran) == 2
    assert f"--add-rich-rule='{rule}' --timeout=43200" in ran[0]
    assert f"--remove-rich-rule='{rule}'" in ran[1]
    assert "systemctl stop difyfleet-share-1.service" in ran[1]


def test_no_token_in_an_argument() -> None:
    command: Callable[[str], str] = share_service.start_command
    assert command("difyfleet-share-1") == (
        share_service.two_files_command("/run/difyfleet/difyfleet-share-1", "config.json", "serve.py")
        + " && systemd-run --quiet --collect --unit=difyfleet-share-1.service -p RuntimeMaxSec=43200 -p NoNewPrivileges=yes "
        "--description='difyfleet: images and models for other hosts' "
        "python3 /run/difyfleet/difyfleet-share-1/serve.py /run/difyfleet/difyfleet-share-1"
    )
