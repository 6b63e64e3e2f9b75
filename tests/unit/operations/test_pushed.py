"""Offline hosts: what is planned from what was pushed, and what is said when nothing was."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from difyfleet.errors import HostError
from difyfleet.facts.engine import StaticEngine
from difyfleet.facts.files import PathState
from difyfleet.facts.images import Image, LocalImages
from difyfleet.facts.ollama import HASH_TIMEOUT, OllamaStore, Store
from difyfleet.facts.pushed import (
    PUSH,
    STORE,
    Contents,
    Installed,
    InstalledParts,
    Pushed,
    PushedBundle,
    PushedFile,
    PushedImage,
    PushedModel,
)
from difyfleet.operations import engine, engine_source, images, models, pushed
from difyfleet.spec.lock import LockedImage
from tests.unit.fakehost import fact, fake_host, run_steps
from tests.unit.operations.docker_facts import docker, facts


def digest(character: str) -> str:
    return "sha256:" + character * 64


NGINX = "nginx:1.27.3"
IMAGE = PushedImage(
    NGINX,
    f"docker.io/library/{NGINX}",
    digest("1"),
    digest("2"),
    (digest("3"), digest("4")),
    (digest("5"), digest("6")),
)
MODEL = PushedModel(
    "qwen2.5:7b", digest("7"), "manifests/registry.ollama.ai/library/qwen2.5/7b", (digest("8"),)
)
FILES = {
    "engine": PushedFile("engine", "docker-26.1.5.tgz", "26.1.5", digest("a")),
    "compose": PushedFile("compose", "docker-compose-2.26.1", "2.26.1", digest("b")),
}
SIZES = dict.fromkeys(
    (*IMAGE.digests, MODEL.manifest, *MODEL.layers, *(file.digest for file in FILES.values())), 10**6
)
CONTENTS = Contents({NGINX: IMAGE}, {MODEL.name: MODEL}, FILES, SIZES)
ALL = Pushed(CONTENTS, SIZES)


def loading(
    store: Pushed, there: tuple[Image, ...] | None = (), installed: Installed | None = None, **more: Any
) -> Any:
    locked = more.get("locked", {})
    names = (NGINX, *(locked[NGINX].names(NGINX) if locked else ()))
    answers = {
        fact(PathState, path=images.RECORD): None,
        fact(LocalImages, names=names): there,
        fact(PushedBundle): store,
        fact(InstalledParts, models="/opt/ollama/models", folders=()): installed or Installed(),
    }
    with fake_host(answers):
        changes, commands = run_steps(pushed.loaded, (NGINX,), "/opt/ollama/models", locked)
    return [change.why for change in changes], [command.split("(")[1].split(",")[0] for command in commands]


def test_an_absent_image_is_loaded() -> None:
    expected = [f"image {NGINX}: absent (4 MB); loaded from the pushed bundle"], ["load", "record"]
    assert loading(ALL) == expected
    assert loading(ALL, None) == expected  # Docker is not there yet
    locked = {NGINX: LockedImage(digest=digest("9"), id=IMAGE.id)}
    assert loading(ALL, locked=locked) == expected


def test_what_is_there_is_left_alone() -> None:
    there = (Image(IMAGE.id, frozenset({NGINX}), frozenset()),)
    assert loading(Pushed(), there) == (
        [f"image {NGINX}: there as 111111111111, not recorded yet"],
        ["record"],
    )


def test_nothing_pushed_says_what_to_type() -> None:
    with pytest.raises(HostError, match="neither on the host nor in what was pushed") as caught:
        loading(Pushed())
    assert caught.value.hint == PUSH


def test_a_missing_layer_counts_unless_docker_has_it() -> None:
    lacks = Pushed(CONTENTS, {key: size for key, size in SIZES.items() if key != IMAGE.layers[0]})
    with pytest.raises(HostError, match="1 of its blobs are not on the host"):
        loading(lacks)
    shares = Installed(chains=((IMAGE.diff_ids[0], digest("0")),))
    assert loading(lacks, (), shares)[1] == ["load", "record"]
    with pytest.raises(HostError, match="1 of its blobs"):
        loading(lacks, (), replace(shares, containerd=True))


def test_another_image_than_the_locked_one_is_refused() -> None:
    locked = {NGINX: LockedImage(digest=digest("d"), id=digest("e"))}
    with pytest.raises(HostError, match="pushed is 111111111111, locked is eeeeeeeeeeee"):
        loading(ALL, locked=locked)


def planning(store: Pushed, found: Store, wanted: str | None = None) -> list[str]:
    answers = {
        fact(OllamaStore, data_dir="/opt/ollama", _timeout=HASH_TIMEOUT): found,
        fact(PushedBundle): store,
    }
    with fake_host(answers):
        steps = models.model.steps("qwen2.5:7b", "/opt/ollama", digest=wanted, offline=True)
        return [next(steps).why, next(steps).why, repr(next(steps)).split("(")[1].split(",")[0]]


def test_an_absent_model_is_brought_in() -> None:
    expected = ["model qwen2.5:7b: absent", "model qwen2.5:7b: taken from the pushed bundle", "bring_in"]
    assert planning(ALL, Store()) == expected
    assert planning(ALL, Store(), "7" * 12) == expected


def test_blobs_that_an_interrupted_load_has_moved_already_count() -> None:
    moved = Pushed(CONTENTS, {key: size for key, size in SIZES.items() if key != MODEL.layers[0]})
    assert planning(moved, Store(strays=("sha256-" + "8" * 64,)))[2] == "bring_in"
    with pytest.raises(HostError, match="1 of its blobs") as caught:
        planning(moved, Store())
    assert caught.value.hint == PUSH


def test_a_model_that_was_not_pushed_or_is_another_one() -> None:
    with pytest.raises(HostError, match="neither on the host nor"):
        planning(Pushed(), Store())
    with pytest.raises(HostError, match="pushed is 777777777777, the inventory wants 123456123456"):
        planning(ALL, Store(), "123456123456")


def test_the_engine_comes_from_the_store() -> None:
    section = docker(bundle={})
    with fake_host({**facts(static=StaticEngine()), fact(PushedBundle): ALL}):
        changes, commands = run_steps(engine.static, section, True)
    assert [change.why for change in changes] == ["docker: not installed, wanted 26.1.5"]
    assert [command.split("(")[1].split(",")[0] for command in commands[1:]] == ["bring", "bring", "install"]


def test_an_engine_that_was_not_pushed_is_another_version_or_has_another_hash() -> None:
    with pytest.raises(HostError, match=r"26\.1\.5 is not on the host \(not pushed\)") as caught:
        engine_source.pushed_sources(docker(bundle={}), Pushed())
    assert caught.value.hint == PUSH
    with pytest.raises(HostError, match=r"28\.5\.2 is not on the host \(26\.1\.5 was pushed\)"):
        engine_source.pushed_sources(docker(bundle={}, version="28.5.2"), ALL)
    with pytest.raises(HostError, match="pushed is a file with SHA-256 aaaaaaaaaaaa, wanted cccccccccccc"):
        engine_source.pushed_sources(docker(bundle={"sha256": "c" * 64}), ALL)


def test_a_file_of_the_store_is_proved_before_it_is_linked() -> None:
    source = engine_source.pushed_sources(docker(bundle={}), ALL)[0]
    blob, kept = f"{STORE}/blobs/sha256/{'a' * 64}", "/var/lib/difyfleet/downloads/docker-26.1.5.tgz"
    assert (source.url, source.file, source.words) == (None, None, "the pushed bundle")
    command = engine_source.link_command(source)
    assert command.index(f"sha256sum {blob}") < command.index(f"ln -fT {blob} {kept}")
    assert f"rm -f {blob}; echo 'damaged on the host, removed'" in command
