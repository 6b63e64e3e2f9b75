"""What a push sends to which host, computed before anything goes out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from difyfleet.errors import HostError
from difyfleet.facts.fitness import Disk
from difyfleet.facts.ollama import Blob as StoredBlob
from difyfleet.facts.ollama import OllamaStore, Store, StoredModel
from difyfleet.facts.pushed import (
    RECORD,
    STORE,
    Contents,
    Installed,
    InstalledParts,
    Pushed,
    PushedBundle,
    parse_contents,
)
from difyfleet.offline import push as pushing
from difyfleet.offline.manifest import BundleError, blob_name
from difyfleet.offline.reader import Bundle, open_bundle
from difyfleet.offline.room import SPARE, Room, require_room
from difyfleet.remote.blobs import Blob, Sent
from difyfleet.spec.models import HostSpec
from tests.unit.offline.samples import small, write

MANIFEST, _ = small()
NGINX, WEBUI = (next(one for one in MANIFEST.images if word in one.reference) for word in ("nginx", "webui"))
MODEL = MANIFEST.models[0]
ROOM = {folder: Disk(1 << 40, "/", "fs") for folder in (STORE, "/var/lib/docker", "/opt/ollama/models")}
FRESH = Installed("x86_64", room=ROOM)


def spec(**sections: Any) -> HostSpec:
    """A host that declares Open WebUI, nginx as Dify's only sample image, and one model."""
    given: dict[str, Any] = {
        "name": "b",
        "address": "b",
        "admin": {"email": "a@example.com"},
        "docker": {"version": "28.5.2"},
        "ollama": {"models": ["qwen2.5:7b"]},
        "openwebui": {"image": WEBUI.reference},
        "dify": {"images": {"nginx": NGINX.reference}},
        **sections,
    }
    return HostSpec.model_validate(given)


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    write(tmp_path / "prod")
    return open_bundle(tmp_path / "prod")


class Host:
    """Answers facts and takes what is sent."""

    name = "b"

    def __init__(self, pushed: Pushed, installed: Installed) -> None:
        self.pushed, self.installed = pushed, installed
        self.store = Store()
        self.sent: list[str] = []
        self.record = ""

    def get_fact(self, fact: type, **_: Any) -> Any:
        return {PushedBundle: self.pushed, InstalledParts: self.installed, OllamaStore: self.store}[fact]

    def take(self, on: Any, root: str, blobs: list[Blob], record: tuple[str, str], moved: Any) -> Sent:
        assert (root, record[0]) == (STORE, RECORD)
        self.sent, self.record = [f"sha256:{one.hex}" for one in blobs], record[1]
        contents = parse_contents(record[1])
        there = {**self.pushed.there, **{digest: contents.sizes[digest] for digest in self.sent}}
        self.pushed = Pushed(contents, there)
        return Sent(sent=sum(one.size for one in blobs), seconds=1.0, via="ssh")


def run(
    monkeypatch: pytest.MonkeyPatch, host: Host, bundle: Bundle, declared: HostSpec | None = None
) -> pushing.Push:
    monkeypatch.setattr(pushing, "send", host.take)
    return pushing.push(host, declared or spec(), bundle)


def test_a_fresh_host_gets_every_blob_once_and_a_second_push_sends_nothing(
    monkeypatch: pytest.MonkeyPatch, bundle: Bundle
) -> None:
    host = Host(Pushed(), FRESH)
    done = run(monkeypatch, host, bundle)
    engine = next(file.digest for file in MANIFEST.files if file.kind == "engine")
    wanted = {*NGINX.digests(), *WEBUI.digests(), *MODEL.digests(), engine}
    assert sorted(host.sent) == sorted(wanted)
    assert done.sent == done.lacked == MANIFEST.size_of(wanted)
    host.sent = ["untouched"]
    assert run(monkeypatch, host, bundle).sent == 0
    assert host.sent == ["untouched"]


def test_a_host_gets_only_what_it_declares(monkeypatch: pytest.MonkeyPatch, bundle: Bundle) -> None:
    host = Host(Pushed(), FRESH)
    only_model = spec(openwebui={"enabled": False}, dify={"enabled": False}, docker={"version": "1.0"})
    done = run(monkeypatch, host, bundle, only_model)
    assert sorted(host.sent) == sorted(set(MODEL.digests()))
    assert done.left_out == ("image ollama/ollama:0.4.7", "engine 1.0", "compose 2.40.3")


def offered(bundle: Bundle) -> Contents:
    return pushing.contents_of(bundle, spec(), Contents())


def test_what_docker_and_ollama_have_is_not_needed(bundle: Bundle) -> None:
    contents = offered(bundle)
    ollama = {digest: contents.sizes[digest] for digest in MODEL.layers}
    has = Installed(
        ids=frozenset({NGINX.id, WEBUI.manifest}),
        blobs=ollama,
        manifests={MODEL.path: MODEL.manifest},
    )
    files = {file.digest for file in contents.files.values()}
    assert set(pushing.needed(contents, has)) == files
    short = {**ollama, MODEL.layers[1]: 3}
    assert set(pushing.needed(contents, replace(has, blobs=short))) == files | {
        MODEL.layers[1],
        MODEL.manifest,
    }


def test_a_damaged_blob_of_ollama_is_sent_again(monkeypatch: pytest.MonkeyPatch, bundle: Bundle) -> None:
    contents, weights = offered(bundle), MODEL.layers[1]
    blobs = {digest: contents.sizes[digest] for digest in MODEL.layers}
    host = Host(Pushed(), replace(FRESH, blobs=blobs, manifests={MODEL.path: MODEL.manifest}))
    run(monkeypatch, host, bundle)
    assert weights not in host.sent
    parts = tuple(StoredBlob(one, blobs[one], "hash" if one == weights else "ok") for one in MODEL.layers)
    host.store = Store({MODEL.name: StoredModel(MODEL.name, MODEL.manifest[7:], MODEL.path, parts)})
    run(monkeypatch, host, bundle)
    assert sorted(host.sent) == sorted([weights, MODEL.manifest])


def test_layers_of_another_image_in_the_same_place_are_not_needed(bundle: Bundle) -> None:
    contents = offered(bundle)
    base = contents.images[NGINX.reference].diff_ids[0]
    shares = Installed(chains=((base, "sha256:x"),))
    assert NGINX.layers[0] not in set(pushing.needed(contents, shares))
    assert NGINX.layers[1] in set(pushing.needed(contents, shares))
    elsewhere = Installed(chains=(("sha256:x", base),))
    assert NGINX.layers[0] in set(pushing.needed(contents, elsewhere))
    assert NGINX.layers[0] in set(pushing.needed(contents, replace(shares, containerd=True)))


def test_too_little_room_is_refused_before_a_byte_is_sent(
    monkeypatch: pytest.MonkeyPatch, bundle: Bundle
) -> None:
    host = Host(Pushed(), replace(FRESH, room={name: Disk(SPARE, "/", "fs") for name in ROOM}))
    with pytest.raises(HostError, match=r"nothing was sent: / has 0\.54 GB free") as caught:
        run(monkeypatch, host, bundle)
    assert "make room" in str(caught.value.hint)
    assert host.sent == []


def test_room_counts_each_file_system_by_itself(bundle: Bundle) -> None:
    contents = offered(bundle)
    together = Room(contents, FRESH, 100, "/var/lib/docker", "/opt/ollama/models").needs()
    layers = [contents.size_of(image.layers) for image in contents.images.values()]
    assert together == {STORE: 100, "/var/lib/docker": sum(layers) + max(layers), "/opt/ollama/models": 0}
    apart = replace(FRESH, room={**ROOM, "/opt/ollama/models": Disk(1 << 40, "/opt", "other")})
    needs = Room(contents, apart, 100, "/var/lib/docker", "/opt/ollama/models").needs()
    assert needs["/opt/ollama/models"] == contents.size_of(MODEL.layers)
    small_opt = replace(apart, room={**apart.room, "/opt/ollama/models": Disk(SPARE, "/opt", "other")})
    with pytest.raises(HostError, match="/opt has"):
        require_room(Room(contents, small_opt, 100, "/var/lib/docker", "/opt/ollama/models"), "b")


def test_another_architecture_is_refused(monkeypatch: pytest.MonkeyPatch, bundle: Bundle) -> None:
    with pytest.raises(BundleError, match="amd64"):
        run(monkeypatch, Host(Pushed(), replace(FRESH, machine="aarch64")), bundle)


def test_a_delta_needs_its_base(monkeypatch: pytest.MonkeyPatch, bundle: Bundle) -> None:
    weights = MODEL.layers[1]
    delta = MANIFEST.model_copy(update={"base": MANIFEST.images[0].id, "absent": [weights]})
    monkeypatch.setitem(bundle.__dict__, "manifest", delta)
    with pytest.raises(HostError, match="the bundle is a delta") as caught:
        run(monkeypatch, Host(Pushed(), FRESH), bundle)
    assert "push the bundle that it is based on first" in str(caught.value.hint)
    has = replace(FRESH, blobs={weights: MANIFEST.blobs[weights]})
    host = Host(Pushed(), has)
    run(monkeypatch, host, bundle)
    assert weights not in host.sent


def test_a_delta_without_an_images_configuration_goes_by_what_was_pushed(
    monkeypatch: pytest.MonkeyPatch, bundle: Bundle
) -> None:
    before = offered(bundle)
    delta = MANIFEST.model_copy(update={"base": NGINX.id, "absent": [NGINX.id]})
    monkeypatch.setitem(bundle.__dict__, "manifest", delta)
    again = pushing.contents_of(bundle, spec(), before)
    assert again.images[NGINX.reference] == before.images[NGINX.reference]
    assert NGINX.reference not in pushing.contents_of(bundle, spec(), Contents()).images


def test_the_record_says_it_all_and_a_broken_one_nothing(bundle: Bundle) -> None:
    contents = offered(bundle)
    assert parse_contents(contents.to_text()) == contents
    assert parse_contents(contents.to_text()[:-20]) == Contents()
    assert parse_contents('{"version": 2}') == Contents()


def test_a_later_push_wins_and_forgets_what_nothing_needs(bundle: Bundle) -> None:
    old = offered(bundle)
    image = replace(old.images[NGINX.reference], id="sha256:" + "5" * 64)
    newer = Contents(
        {NGINX.reference: image}, {}, {}, {image.id: 7, **{one: old.sizes[one] for one in image.layers}}
    )
    merged = old.with_more(newer)
    assert merged.images[NGINX.reference] == image
    assert merged.models == old.models
    assert NGINX.id not in merged.sizes
    assert merged.sizes[image.id] == 7


def test_a_blob_is_read_where_the_bundle_has_it(bundle: Bundle) -> None:
    made = pushing._blob(bundle, NGINX.id, MANIFEST.blobs[NGINX.id])
    assert made.source.endswith(blob_name(NGINX.id))
    with made.open() as file:
        assert len(file.read()) == made.size
