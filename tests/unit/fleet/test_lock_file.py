"""fleet.lock_file: what is asked of whom, and what comes of it. And: what was locked needs no change on the host it came from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from difyfleet.errors import HostError
from difyfleet.facts.docker import DaemonInfo, DockerService
from difyfleet.facts.docker import Docker as DockerFact
from difyfleet.facts.engine import StaticEngine, StaticEngineFiles
from difyfleet.facts.images import Image, LocalImages
from difyfleet.facts.mirrors import Answer as MirrorAnswer
from difyfleet.facts.mirrors import MirrorRecord
from difyfleet.facts.ollama import Blob, OllamaStore, Store, StoredModel
from difyfleet.facts.registry import Answer, RegistryAnswers
from difyfleet.fleet import lock_file
from difyfleet.fleet.each import Outcome
from difyfleet.fleet.lock_file import Locking
from difyfleet.operations import engine, engine_source, image_work
from difyfleet.operations import models as model_operations
from difyfleet.spec.document import Node
from difyfleet.spec.loader import load
from difyfleet.spec.lock import Lock, LockedImage, LockedModel, render
from difyfleet.spec.models import HostSpec
from difyfleet.spec.pins import hold, pins
from difyfleet.spec.problems import Position, Problems
from tests.unit.fakehost import fake_host, run_steps

A, B, C, D = (f"sha256:{digit * 64}" for digit in "abcd")
NGINX, OLLAMA, MODEL = "nginx:1.27.3", "ollama/ollama:0.4.7", "llama3.2:latest"
COMPOSE = "sha256:dba9d98e1ba5bfe11d88c99b9bd32fc4a0624a30fafe68eea34d61a3e42fd372"  # upstream's, known
BLOBS = (Blob(A, 2019377376, "ok", 2019377376), Blob(B, 7, "ok", 7))


@dataclass
class On:
    """A host that answers the facts locking asks for, and counts what registries were asked."""

    images: tuple[Image, ...] | None = ()
    store: Store = field(default_factory=Store)
    manifest: dict[str, Any] | None = None
    driver: str = "overlay2"
    registry: dict[tuple[str, str], Answer] = field(default_factory=dict)
    down: bool = False
    asked: list[tuple[str, str]] = field(default_factory=list)
    places: dict[tuple[str, str], Any] = field(default_factory=dict)

    def get_fact(self, fact: type, **arguments: Any) -> Any:
        if fact is LocalImages:
            return self.images
        if fact is DockerFact:
            return DockerService(info=DaemonInfo("28.5.2", storage_driver=self.driver))
        if fact is OllamaStore:
            return self.store
        if fact is StaticEngineFiles:
            return StaticEngine(self.manifest)
        if fact is MirrorRecord:
            return {"https://dead.example": MirrorAnswer(False, "silent")}
        if fact is RegistryAnswers:
            self.places = dict(arguments["questions"])
            self.asked += self.places
            return {key: self.registry[key] for key in self.places if key in self.registry}
        raise AssertionError(f"nobody should ask for {fact.__name__}")


def store(name: str = MODEL, digest: str = "c" * 64, blobs: tuple[Blob, ...] = BLOBS) -> Store:
    return Store({name: StoredModel(name, digest, "/m", blobs)})


RECORD = {
    "method": "static",
    "version": "28.5.2",
    "archive_sha256": "d" * 64,
    "compose_version": "2.40.3",
    "compose_sha256": COMPOSE[7:],
}
PROVISIONED = On((Image(B, frozenset({OLLAMA}), frozenset({f"ollama/ollama@{A}"})),), store(), RECORD)
REGISTRY = {
    ("image", OLLAMA): Answer("m.example", A, B),
    ("model", MODEL): Answer("registry.ollama.ai", C, None, {A: 2019377376, B: 7}),
    ("engine", "28.5.2"): Answer("download.docker.com", D),
}
LOCKED = Lock.of(
    {
        ("engine", "28.5.2"): D,
        ("compose", "2.40.3"): COMPOSE,
        ("image", OLLAMA): LockedImage(digest=A, id=B),
        ("model", MODEL): LockedModel(digest=C, blobs={A: 2019377376, B: 7}),
    }
)
TEXT = "admin: {email: a@b.cd}\ndify: {enabled: false}\nopenwebui: {enabled: false}\nollama: {models: [llama3.2]}\n"
Make = Callable[..., Locking]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Lock an inventory of these hosts. `asking`: names of the chosen ones; default all."""

    def locked(
        hosts: dict[str, On],
        previous: Lock | None = None,
        *,
        more: str = "",
        asking: Sequence[str] = (),
        **options: Any,
    ) -> Locking:
        addresses = ", ".join(f"{name}: 10.9.9.{i + 1}" for i, name in enumerate(hosts))
        text = TEXT.replace("llama3.2", "llama3.2" + more) if more.startswith(",") else TEXT + more
        (tmp_path / "inv.yml").write_text(f"{text}\nhosts: {{{addresses}}}\n")
        fleet = load(tmp_path / "inv.yml", locked=False).hosts

        def ask(specs: Sequence[HostSpec], function: Callable[[Any, HostSpec], Any]) -> list[Outcome[Any]]:
            return [
                Outcome(spec.name, None, "cannot connect")
                if hosts[spec.name].down
                else Outcome(spec.name, function(hosts[spec.name], spec))
                for spec in specs
            ]

        chosen = [spec for spec in fleet if not asking or spec.name in asking]
        return lock_file.make(fleet, chosen, previous, ask=ask, **options)

    return locked


def fresh() -> On:
    return On(None, Store(), None, registry=dict(REGISTRY))


def provisioned(**changes: Any) -> On:
    return replace(PROVISIONED, asked=[], **changes)


def said(found: Locking) -> list[str]:
    assert (found.lock is None) == bool(found.problems)
    return [*map(str, found.moves), *found.problems]


def test_a_provisioned_host_knows_everything(make: Make) -> None:
    host = provisioned()
    found = make({"llm": host})
    assert found.lock == LOCKED
    assert host.asked == []
    assert said(found) == [
        "Compose 2.40.3: dba9d98e1ba5 from the inventory",
        "Docker Engine 28.5.2: dddddddddddd from llm",
        "image ollama/ollama:0.4.7: bbbbbbbbbbbb from llm",
        "model llama3.2:latest: cccccccccccc from llm",
    ]


def test_a_fresh_host_asks_registries_to_the_same_end(make: Make) -> None:
    host = fresh()
    found = make({"llm": host}, more="docker: {mirrors: [https://dead.example, https://m.example]}\n")
    assert found.lock == LOCKED
    assert host.places == {
        ("engine", "28.5.2"): [
            {"file": "https://download.docker.com/linux/static/stable/x86_64/docker-28.5.2.tgz"}
        ],
        ("image", OLLAMA): [
            {"manifest": "https://m.example/v2/ollama/ollama/manifests/0.4.7", "timeout": 4.0},
            {"manifest": "https://registry-1.docker.io/v2/ollama/ollama/manifests/0.4.7"},
        ],
        ("model", MODEL): [{"manifest": "https://registry.ollama.ai/v2/library/llama3.2/manifests/latest"}],
    }
    assert "image ollama/ollama:0.4.7: bbbbbbbbbbbb from m.example (asked by llm)" in said(found)


def test_locking_again_contacts_nobody_and_changes_nothing(make: Make) -> None:
    found = make({"llm": On(down=True)}, LOCKED)
    assert (found.lock, found.moves) == (LOCKED, ())


def test_what_stands_stays_and_what_is_new_is_added_and_what_is_old_goes(make: Make) -> None:
    older = Lock.of(
        {**LOCKED.entries(), ("image", NGINX): LockedImage(id=D), ("image", OLLAMA): LockedImage(id=D)}
    )
    host = provisioned(registry={("model", "bge-m3:latest"): Answer("registry.ollama.ai", D, None, {D: 3})})
    found = make({"llm": host}, older, more=", bge-m3")
    assert said(found) == [
        "image nginx:1.27.3: dropped, no host declares it",
        "model bge-m3:latest: dddddddddddd from registry.ollama.ai (asked by llm)",
    ]
    assert host.asked == [("model", "bge-m3:latest")]
    assert found.lock is not None
    assert found.lock.images == {OLLAMA: LockedImage(id=D)}


def test_update_asks_the_registry_and_moves_one_group_only(make: Make) -> None:
    moved = {("image", OLLAMA): Answer("m.example", C, D), ("model", MODEL): Answer("x", A, None, {A: 1})}
    host = provisioned(registry=moved)
    found = make({"llm": host}, LOCKED, update={"ollama"})
    assert host.asked == [("image", OLLAMA)]
    assert said(found) == [
        "image ollama/ollama:0.4.7: bbbbbbbbbbbb -> dddddddddddd from m.example (asked by llm)"
    ]
    assert found.lock is not None
    assert found.lock.images[OLLAMA] == LockedImage(digest=C, id=D)
    assert found.lock.models == LOCKED.models


def test_update_from_what_is_installed(make: Make) -> None:
    host = provisioned(images=(Image(D, frozenset({OLLAMA}), frozenset()),))
    found = make({"llm": host}, LOCKED, update={"ollama"}, installed=True)
    assert found.lock is not None
    assert found.lock.images[OLLAMA] == LockedImage(id=D)
    assert host.asked == []


def test_installed_asks_no_registry(make: Make) -> None:
    host = fresh()
    assert said(make({"llm": host}, installed=True)) == [
        "Docker Engine 28.5.2: no host has it",
        "image ollama/ollama:0.4.7: no host has it",
        "model llama3.2:latest: no host has it",
    ]
    assert host.asked == []


def test_hosts_that_differ_are_an_error(make: Make) -> None:
    other = provisioned(store=store(digest="d" * 64))
    hosts = {"a": provisioned(), "b": other}
    assert said(make(hosts)) == [
        "model llama3.2:latest: a has cccccccccccc, b has dddddddddddd; say with --limit which host is right"
    ]
    found = make(hosts, asking=["b"])
    assert found.lock is not None
    assert found.lock.models[MODEL].hex == "d" * 64


def test_two_image_stores_tell_both_names(make: Make) -> None:
    containerd = provisioned(
        images=(Image(A, frozenset({OLLAMA}), frozenset({f"ollama/ollama@{A}"})),), driver="overlayfs"
    )
    found = make({"a": containerd, "b": provisioned()})
    assert found.lock == LOCKED


def test_one_host_that_has_it_spares_the_registry_for_all(make: Make) -> None:
    hosts = {"a": fresh(), "b": provisioned()}
    assert make(hosts).lock == LOCKED
    assert hosts["a"].asked == []


def test_each_thing_is_asked_for_once(make: Make) -> None:
    hosts = {"a": fresh(), "b": fresh()}
    assert make(hosts).lock == LOCKED
    assert (len(hosts["a"].asked), len(hosts["b"].asked)) == (3, 0)


def test_a_host_that_is_down_is_an_error_and_nothing_is_locked(make: Make) -> None:
    assert said(make({"a": provisioned(), "b": On(down=True)})) == ["b: cannot connect"]


def test_a_registry_that_has_no_answer_is_quoted(make: Make) -> None:
    host = fresh()
    host.registry["image", OLLAMA] = Answer(
        error="m.example: does not have it; registry-1.docker.io: HTTP 429"
    )
    del host.registry["model", MODEL]
    assert said(make({"llm": host})) == [
        "image ollama/ollama:0.4.7: not to be found out; asked by llm: m.example: does not have it; registry-1.docker.io: HTTP 429",
        "model llama3.2:latest: not to be found out; asked by llm: the host gave no answer (is python3 there?)",
    ]


def test_a_file_behind_http_is_not_trusted(make: Make) -> None:
    docker = "docker: {bundle: {url: 'http://repo.example/docker-28.5.2.tgz'}}\n"
    assert said(make({"llm": fresh()}, more=docker)) == [
        "Docker Engine 28.5.2: not to be found out; asked by llm: no SHA-256 for http://repo.example/docker-28.5.2.tgz, "
        "and http cannot be trusted without one; set docker.bundle.sha256"
    ]


def test_a_hash_that_the_inventory_gives_wins(make: Make) -> None:
    docker = f"docker: {{bundle: {{url: 'http://repo.example/docker-28.5.2.tgz', sha256: {'a' * 64}}}}}\n"
    found = make({"llm": provisioned()}, LOCKED, more=docker)
    assert said(found) == ["Docker Engine 28.5.2: dddddddddddd -> aaaaaaaaaaaa"]


def test_a_digest_that_the_inventory_gives_is_insisted_on(make: Make) -> None:
    text = ", {name: bge-m3, digest: aaaaaaaaaaaa}"
    has = replace(store(), models={**store().models, **store("bge-m3:latest", "d" * 64).models})
    host = provisioned(store=has, registry={("model", "bge-m3:latest"): Answer("r", C, None, {D: 3})})
    assert said(make({"llm": host}, LOCKED, more=text)) == [
        "model bge-m3:latest: r has cccccccccccc, ollama.models says aaaaaaaaaaaa"
    ]


def test_a_damaged_model_is_not_locked_from_disk(make: Make) -> None:
    cut = store(blobs=(replace(BLOBS[0], state="size", found_size=1),))
    assert said(make({"llm": provisioned(store=cut)}, installed=True)) == [
        "model llama3.2:latest: no host has it"
    ]


def test_an_image_by_digest_and_one_pulled_twice() -> None:
    reference = f"nginx@{A}"
    twice = Image(C, frozenset({NGINX}), frozenset({f"nginx@{B}", f"nginx@{A}", "other/nginx@" + D}))
    on = On(images=(twice,))
    assert lock_file._images(on, (reference, NGINX)) == {
        ("image", reference): LockedImage(digest=A, id=C),
        ("image", NGINX): LockedImage(digest=A, id=C),
    }


DIGESTS = st.integers(0, 2**256 - 1).map(lambda number: f"sha256:{number:064x}")


@st.composite
def hosts_as_they_may_be(draw: st.DrawFn) -> tuple[HostSpec, On]:
    """A host with everything that it declares, in either image store, pulled or loaded from archives."""
    spec = HostSpec.model_validate(
        {
            "name": "llm",
            "address": "10.0.0.1",
            "admin": {"email": "a@b.cd"},
            "ollama": {"enabled": draw(st.booleans()), "models": ["llama3.2", "qwen2.5:7b"]},
            "openwebui": {"enabled": draw(st.booleans())},
            "dify": {"enabled": draw(st.booleans())},
        }
    )
    containerd = draw(st.booleans())
    there = []
    for reference in spec.wanted_images:
        manifest, config = draw(DIGESTS), draw(DIGESTS)
        repository = reference.rpartition(":")[0]
        pulled = draw(st.booleans())
        digests = frozenset({f"{repository}@{manifest}"} if pulled or containerd else ())
        there.append(Image(manifest if containerd else config, frozenset({reference}), digests))
    kept = {}
    for name in ("llama3.2:latest", "qwen2.5:7b"):
        blobs = tuple(
            Blob(digest, size, "ok", size)
            for digest, size in draw(
                st.dictionaries(DIGESTS, st.integers(0, 10**10), min_size=1, max_size=4)
            ).items()
        )
        kept[name] = StoredModel(name, draw(DIGESTS)[7:], f"/m/{name}", blobs)
    answered = {name: model.digest for name, model in kept.items()}
    record = {**RECORD, "archive_sha256": draw(DIGESTS)[7:]}
    driver = "overlayfs" if containerd else "overlay2"
    return spec, On(tuple(there), Store(kept, (), answered), record, driver)


@settings(max_examples=60, deadline=None)
@given(hosts_as_they_may_be())
def test_what_was_locked_needs_no_change_where_it_came_from(drawn: tuple[HostSpec, On]) -> None:
    spec, on = drawn
    found = lock_file.make(
        [spec], [spec], None, ask=lambda specs, function: [Outcome(spec.name, function(on, spec))]
    )
    assert found.lock is not None, found.problems
    assert set(found.lock.entries()) == {pin.key for pin in pins(spec)}
    problems, here = Problems(), Position(1, 1, "inv.yml")
    held = hold(spec, {}, Node("mapping", here, here, "hosts.llm"), found.lock, "inv.yml", problems)
    problems.raise_if_any()
    recorded = {one: image.id for one in spec.wanted_images for image in on.images or () if one in image.tags}
    assert (
        image_work.work(held.wanted_images, on.images or (), recorded, held.locked_images)
        == image_work.Work()
    )
    with fake_host({}) as host:
        host.get_fact = on.get_fact  # type: ignore[method-assign]
        for model in held.ollama.declared() if held.ollama.enabled else ():
            assert run_steps(model_operations.model, model.name, "/opt/ollama", digest=model.digest) == (
                [],
                [],
            )
        assert (
            engine_source.sources(held.docker, on.manifest)[0].sha256 == (on.manifest or {})["archive_sha256"]
        )
        seen = StaticEngine({**(on.manifest or {}), "files": {}}, group=True)
        assert engine.differences(held.docker, seen) == []
    assert render(found.lock, "inv.yml") == render(
        Lock.of(dict(reversed(found.lock.entries().items()))), "inv.yml"
    )


def test_a_host_that_is_not_as_locked_is_named_part_by_part() -> None:
    spec = HostSpec.model_validate(
        {"name": "llm", "address": "10.0.0.1", "admin": {"email": "a@b.cd"}, "dify": {"enabled": False}}
        | {"openwebui": {"enabled": False}, "ollama": {"models": ["llama3.2"]}}
    )
    problems, here = Problems(), Position(1, 1, "inv.yml")
    held = hold(spec, {}, Node("mapping", here, here, "hosts.llm"), LOCKED, "inv.yml", problems)
    changed = (Image(D, frozenset({OLLAMA}), frozenset()),)
    work = image_work.work(held.wanted_images, changed, {OLLAMA: D}, held.locked_images)
    assert work.notes == (
        f"image {OLLAMA}: the tag is on dddddddddddd, bbbbbbbbbbbb is locked; pulled by its digest and tagged",
    )
    with fake_host({}) as host:
        host.get_fact = provisioned(store=store(digest="d" * 64)).get_fact  # type: ignore[method-assign]
        digest = held.ollama.declared()[0].digest
        first = next(model_operations.model.steps(MODEL, "/opt/ollama", digest=digest))  # type: ignore[attr-defined]
        assert first.why == "model llama3.2:latest: digest dddddddddddd, declared cccccccccccc"
        with pytest.raises(HostError, match="nothing was removed"):
            run_steps(model_operations.model, MODEL, "/opt/ollama", digest=digest)
    other = StaticEngine({**RECORD, "archive_sha256": "e" * 64, "files": {}}, group=True)
    assert engine.differences(held.docker, other) == [
        "docker 28.5.2: installed from another archive (eeeeeeeeeeee)"
    ]
