"""The lock file: its text, what is wrong with one, and what an inventory gets from it."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from difyfleet.errors import SpecError
from difyfleet.spec.loader import load
from difyfleet.spec.lock import Lock, LockedDocker, LockedImage, LockedModel, lock_path, render
from difyfleet.spec.models import Environment, HostSpec, Model
from difyfleet.spec.pins import Pin, pins, read_lock
from difyfleet.spec.problems import Problems, SpecErrors

ONE, TWO, THREE = (f"sha256:{digit * 64}" for digit in "123")
INVENTORY = """\
admin: {email: a@b.cd}
hosts: {llm: 10.9.9.9}
dify: {enabled: false}
openwebui:
  enabled: false
ollama:
  image: ollama/ollama:0.4.7
  models: [llama3.2]
"""
LOCK = f"""\
version: 1
docker:
  engine:
    28.5.2: {ONE}
  compose:
    2.40.3: sha256:dba9d98e1ba5bfe11d88c99b9bd32fc4a0624a30fafe68eea34d61a3e42fd372
images:
  ollama/ollama:0.4.7:
    digest: {ONE}
    id: {TWO}
models:
  llama3.2:latest:
    digest: {THREE}
    blobs:
      {ONE}: 2019377376
"""


@pytest.fixture
def held(folder: Path) -> Callable[..., Environment]:
    """Load an inventory beside a lock file."""

    def loaded(lock: str = LOCK, inventory: str = INVENTORY) -> Environment:
        Path("inv.yml").write_text(inventory)
        Path("inv.lock.yml").write_text(lock)
        return load("inv.yml")

    return loaded


@pytest.fixture
def wrong(held: Callable[..., Environment]) -> Callable[..., list[str]]:
    """What loading them says."""

    def said(*texts: str) -> list[str]:
        with pytest.raises(SpecErrors) as caught:
            held(*texts)
        return str(caught.value).splitlines()

    return said


def test_text() -> None:
    lock = Lock(
        version=1,
        docker=LockedDocker(engine={"28.5.2": TWO, "27.0": ONE}),
        images={"nginx:1.27.3": LockedImage(digest=ONE), "a:1": LockedImage(digest=ONE, id=TWO)},
        models={"llama3.2:latest": LockedModel(digest=THREE, blobs={TWO: 7, ONE: 2019377376})},
    )
    assert render(lock, "prod.yml").split("\n", 3)[3] == (
        f"version: 1\n\ndocker:\n  compose: {{}}\n  engine:\n    '27.0': {ONE}\n    28.5.2: {TWO}\n\n"
        f"images:\n  a:1:\n    digest: {ONE}\n    id: {TWO}\n  nginx:1.27.3:\n    digest: {ONE}\n\n"
        f"models:\n  llama3.2:latest:\n    blobs:\n      {ONE}: 2019377376\n      {TWO}: 7\n    digest: {THREE}\n"
    )


def test_the_same_lock_is_the_same_text_and_comes_back(folder: Path) -> None:
    dice = random.Random(7)
    images = {
        f"r.example:5000/a/b{n}:{n}": LockedImage(digest=f"sha256:{dice.getrandbits(256):064x}")
        for n in range(40)
    }
    whole = {**{("image", name): image for name, image in images.items()}, ("engine", "29.0"): ONE}
    texts = set()
    for _ in range(20):
        entries = list(whole.items())
        dice.shuffle(entries)
        texts.add(render(Lock.of(dict(entries)), "prod.yml"))
    [text] = texts
    Path("prod.lock.yml").write_text(text)
    problems = Problems()
    found = read_lock(lock_path(Path("prod.yml")), problems)
    problems.raise_if_any()
    assert found is not None
    assert found[0].entries() == whole


def test_digests_of_digits_and_an_e_stay_text(folder: Path) -> None:
    """A hash such as 12e45... is a number to some readers of YAML, and 29.0 to all."""
    lock = Lock.of({("engine", "29.0"): "sha256:" + "1" * 30 + "e" + "2" * 33})
    Path("a.lock.yml").write_text(render(lock, "a.yml"))
    found = read_lock(Path("a.lock.yml"), Problems())
    assert found is not None
    assert found[0] == lock


def test_hosts_get_what_is_locked(held: Callable[..., Environment]) -> None:
    environment = held()
    [spec] = environment.hosts
    assert environment.warnings == ()
    assert spec.locked_images == {"ollama/ollama:0.4.7": LockedImage(digest=ONE, id=TWO)}
    assert spec.ollama.models == [Model(name="llama3.2", digest="3" * 64)]
    assert [model.name for model in spec.ollama.declared()] == ["llama3.2:latest"]
    assert spec.docker.bundle.sha256 == "1" * 64
    assert [model.name for model in spec.dify_models] == ["llama3.2"]


def test_without_a_lock_file_nothing_is_pinned(folder: Path) -> None:
    Path("inv.yml").write_text(INVENTORY)
    [spec] = load("inv.yml").hosts
    assert (spec.locked_images, spec.ollama.models, spec.docker.bundle.sha256) == ({}, ["llama3.2"], None)


def test_a_lock_file_that_is_about_to_be_written_is_not_looked_at(folder: Path) -> None:
    Path("inv.yml").write_text(INVENTORY)
    Path("inv.lock.yml").write_text("nonsense")
    assert load("inv.yml", locked=False).lock is None


def test_what_is_declared_but_not_locked_is_an_error_where_it_is_declared(
    wrong: Callable[..., list[str]],
) -> None:
    changed = INVENTORY.replace("0.4.7", "0.5.0").replace("[llama3.2]", "[llama3.2, {name: bge-m3}]")
    assert wrong(LOCK.replace("28.5.2", "28.5.1"), changed) == [
        "inv.yml:2:9: hosts.llm.docker.version: Docker Engine 28.5.2 is not in the lock file; run: difyfleet lock inv.yml",
        "inv.yml:7:10: ollama.image: image ollama/ollama:0.5.0 is not in the lock file; run: difyfleet lock inv.yml",
        "inv.yml:8:22: ollama.models[1]: model bge-m3:latest is not in the lock file; run: difyfleet lock inv.yml",
    ]


def test_what_the_inventory_itself_pins_must_agree(wrong: Callable[..., list[str]]) -> None:
    changed = INVENTORY.replace("[llama3.2]", "[{name: llama3.2, digest: '4444444444444444'}]")
    changed += f"docker:\n  bundle:\n    url: https://a.example/docker.tgz\n    sha256: '{'4' * 64}'\n"
    assert wrong(LOCK, changed) == [
        "inv.yml:8:37: ollama.models[0].digest: the inventory says 444444444444, the lock file 333333333333; "
        "--update models locks it anew",
        "inv.yml:12:13: docker.bundle.sha256: docker.tgz: the inventory says 444444444444, the lock file 111111111111; "
        "--update docker locks it anew",
    ]


def test_a_digest_that_agrees_is_made_whole(held: Callable[..., Environment]) -> None:
    changed = INVENTORY.replace("[llama3.2]", "[{name: llama3.2, digest: '333333333333'}]")
    assert held(LOCK, changed).hosts[0].ollama.declared()[0].digest == "3" * 64


def test_what_the_lock_file_pins_is_not_warned_about(held: Callable[..., Environment]) -> None:
    moving = (
        INVENTORY.replace("0.4.7", "latest") + "docker: {bundle: {url: 'https://a.example/docker.tgz'}}\n"
    )
    assert held(LOCK.replace("ollama:0.4.7", "ollama:latest"), moving).warnings == ()
    Path("inv.lock.yml").unlink()
    assert len(load("inv.yml").warnings) == 2


def test_what_nobody_declares_is_a_warning_at_its_place(held: Callable[..., Environment]) -> None:
    more = LOCK.replace("images:\n", f"images:\n  nginx:1.27.3: {{id: {ONE}}}\n")
    more = more.replace("  engine:\n", f"  engine:\n    27.0.1: {TWO}\n")
    assert [str(warning) for warning in held(more).warnings] == [
        "inv.lock.yml:4:5: Docker Engine 27.0.1: no host declares it; difyfleet lock inv.yml drops it",
        "inv.lock.yml:9:3: image nginx:1.27.3: no host declares it; difyfleet lock inv.yml drops it",
    ]


@pytest.mark.parametrize(
    ("lock", "said"),
    [
        (
            "version: 2\n",
            "inv.lock.yml:1:10: version: is 2; this difyfleet reads 1: use the difyfleet that wrote it, or delete it and lock again",
        ),
        ("images: {}\n", "inv.lock.yml:1:1: version: is missing"),
        ("- a\n", "inv.lock.yml:1:1: should hold a lock, not a list; delete the file and lock again"),
        ("", "inv.lock.yml:1:1: should hold a lock, not nothing; delete the file and lock again"),
        (
            "version: 1\nimages:\n  nginx:1: {digest: abc}\n",
            "inv.lock.yml:3:21: images[\"nginx:1\"].digest: should be a digest, sha256: and 64 hex digits in lower case, not 'abc'",
        ),
        (
            "version: 1\nimages:\n  nginx:1: {}\n",
            'inv.lock.yml:3:12: images["nginx:1"]: needs a digest, an id or both',
        ),
        (
            "version: 1\nimage: {}\n",
            "inv.lock.yml:2:1: image: unknown key; did you mean images?",
        ),
        (
            f"version: 1\nmodels:\n  a:1: {{digest: {ONE}, blobs: {{{ONE}: -1}}}}\n",
            f'inv.lock.yml:3:171: models["a:1"].blobs["{ONE}"]: should be at least 0, not the number -1',
        ),
        (
            f"version: 1\nmodels:\n  a:1: {{digest: {ONE}}}\n  a:1: {{}}\n",
            'inv.lock.yml:4:3: models["a:1"]: this key is already there, at inv.lock.yml:3:3',
        ),
        (
            "version: 1\n\timages: {}\n",
            "inv.lock.yml:2:1: not valid YAML: while scanning a plain scalar found a tab",
        ),
        (
            "version: 1\nimages: {'no such?': {}}\n",
            "inv.lock.yml:2:10: images[\"no such?\"]: the key 'no such?' is not an image reference, as in ollama/ollama:0.4.7",
        ),
    ],
)
def test_errors(wrong: Callable[..., list[str]], lock: str, said: str) -> None:
    assert said in "\n".join(wrong(lock)), wrong(lock)


def test_a_lock_file_that_cannot_be_read(folder: Path) -> None:
    Path("inv.yml").write_text(INVENTORY)
    Path("inv.lock.yml").mkdir()
    with pytest.raises(SpecError, match=r"inv\.lock\.yml: cannot be read"):
        load("inv.yml")


def test_errors_of_the_inventory_come_first(wrong: Callable[..., list[str]]) -> None:
    assert wrong("nonsense", INVENTORY + "dokcer: {}\n") == [
        "inv.yml:9:1: dokcer: unknown key; did you mean docker?"
    ]


def test_pins(host_with: Callable[[str], Environment]) -> None:
    def listed(text: str) -> list[str]:
        return [f"{pin.group}: {pin}" for pin in pins(host_with(text).hosts[0])]

    assert listed("") == [
        "docker: Docker Engine 28.5.2",
        "docker: Compose 2.40.3",
        "ollama: image ollama/ollama:0.4.7",
        "models: model qwen2.5:7b",
        "models: model llama3.2:latest",
        "dify: image langgenius/dify-api:0.11.2",
        "dify: image langgenius/dify-web:0.11.2",
        "dify: image langgenius/dify-sandbox:0.2.10",
        "dify: image postgres:15-alpine",
        "dify: image redis:6-alpine",
        "dify: image ubuntu/squid:5.7-23.04_beta",
        "dify: image semitechnologies/weaviate:1.19.0",
        "dify: image nginx:1.27.3",
        "openwebui: image ghcr.io/open-webui/open-webui:0.4.7",
    ]
    few = "docker: {method: rpm}\ndify: {enabled: false}\nollama: {enabled: false}\n"
    assert listed(few) == ["openwebui: image ghcr.io/open-webui/open-webui:0.4.7"]


def test_every_wanted_image_is_pinned(host_with: Callable[[str], Environment]) -> None:
    spec: HostSpec = host_with("").hosts[0]
    assert {pin.name for pin in pins(spec) if pin.kind == "image"} == set(spec.wanted_images)
    assert Pin("image", "a", "dify", ()).key == ("image", "a")


NGINX = "docker.io/library/nginx:1.27.3"


@pytest.mark.parametrize(
    ("image_id", "digests", "fits"),
    [
        (TWO, [], True),  # the classic store's ID
        (ONE, [], True),  # the containerd store's
        (THREE, [f"nginx@{ONE}"], True),  # another platform's configuration, pulled by the locked digest
        (THREE, [f"other@{ONE}"], False),
        (THREE, [], False),
    ],
)
def test_an_image_fits_whichever_store_it_lies_in(image_id: str, digests: list[str], fits: bool) -> None:
    assert LockedImage(digest=ONE, id=TWO).fits(NGINX, image_id, frozenset(digests)) is fits


def test_names_to_look_for() -> None:
    assert LockedImage(digest=ONE, id=TWO).names(NGINX) == (TWO, f"nginx@{ONE}")
    assert LockedImage(id=TWO).names(NGINX) == (TWO,)
    assert LockedImage(id=TWO).pinned(NGINX) is None
