"""Making a bundle: all that is declared, each thing once, the same bytes every time, from where it was cut off."""

from __future__ import annotations

import errno
import json
import zipfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from difyfleet.errors import FleetError
from difyfleet.offline import wheels
from difyfleet.offline.contents import contents
from difyfleet.offline.gather import Gathering
from difyfleet.offline.make import Made, Order, make, read_base
from difyfleet.offline.manifest import blob_name, digest_of
from difyfleet.offline.store import Store
from difyfleet.offline.tarball import list_of_parts
from difyfleet.offline.verify import verify
from difyfleet.spec.lock import LockedImage
from difyfleet.spec.models import Model
from tests.unit.offline.fakesource import (
    BASE,
    COMPOSE,
    MODEL,
    OLLAMA,
    WEBUI,
    FakeSource,
    WireCut,
    environment,
    image,
)


def run(folder: Path, output: str, *sources: FakeSource, **options: Any) -> Made:
    described = environment(folder)
    spec = described.hosts[0].model_copy(update=options.pop("spec", {}))

    def fill(gathering: Gathering) -> None:
        for source in sources or (FakeSource(),):
            gathering.take(source, spec)

    order = Order(folder / output, **options)
    return make(order, described.name, [spec], fill, "none")


def test_all_that_is_declared(tmp_path: Path) -> None:
    made = run(tmp_path, "out")
    manifest = made.manifest
    assert verify(tmp_path / "out").faults == ()
    assert {one.reference: one.registry for one in manifest.images} == {
        OLLAMA: digest_of(OLLAMA.encode()),
        WEBUI: digest_of(WEBUI.encode()),
    }
    assert [(one.name, one.license) for one in manifest.models] == [(MODEL, "MIT License")]
    assert manifest.models[0].path == "manifests/registry.ollama.ai/library/qwen2.5/7b"
    assert {(one.kind, one.name, one.target) for one in manifest.files} == {
        ("engine", "docker-28.5.2.tgz", "/var/lib/difyfleet/downloads/docker-28.5.2.tgz"),
        ("compose", "docker-compose-2.40.3", "/var/lib/difyfleet/downloads/docker-compose-2.40.3"),
    }
    shown = contents(tmp_path / "out")
    assert shown.one_tar_per_image == sum(
        len(part) for name in ("ollama", "webui") for part in image(name)[1]
    )
    assert f"{made.digest}" in "\n".join(shown.lines())


def test_documents_come_from_their_folders(tmp_path: Path) -> None:
    described = environment(tmp_path, "")
    from difyfleet.spec.content import Knowledge

    knowledge = {"handbook": Knowledge.model_validate({"name": "假期", "documents": tmp_path / "docs"})}
    made = run(tmp_path, "out", spec={"knowledge": knowledge})
    document = next(one for one in made.manifest.files if one.kind == "document")
    assert document.name == "handbook/假期.md"
    assert (tmp_path / "out" / blob_name(document.digest)).read_text() == "# 假期\n十天\n"
    assert described.name == made.manifest.environment


def test_shared_layers_travel_once(tmp_path: Path) -> None:
    source = FakeSource()
    made = run(tmp_path, "out", source)
    assert made.manifest.images[0].layers[0] == made.manifest.images[1].layers[0] == digest_of(BASE)
    assert source.sent < sum(made.manifest.blobs.values()) + (
        1 << 20
    )  # tar headers; twice BASE would be 5 MiB more


def test_the_same_inputs_give_the_same_bytes(tmp_path: Path) -> None:
    first, second = run(tmp_path, "a.tar"), run(tmp_path, "b.tar")
    assert (tmp_path / "a.tar").read_bytes() == (tmp_path / "b.tar").read_bytes()
    assert first.digest == second.digest
    assert not (tmp_path / "a.tar.unfinished").exists()


def test_two_hosts_in_either_order(tmp_path: Path) -> None:
    """Each has one of the two images; the other one is not missed."""
    one, two = (
        FakeSource("a", stock={OLLAMA: image("ollama")}),
        FakeSource("b", stock={WEBUI: image("webui")}),
    )
    run(tmp_path, "x.tar", one, two)
    run(tmp_path, "y.tar", two, one)
    run(tmp_path, "z.tar")
    assert (
        (tmp_path / "x.tar").read_bytes()
        == (tmp_path / "y.tar").read_bytes()
        == (tmp_path / "z.tar").read_bytes()
    )


def test_parts(tmp_path: Path) -> None:
    run(tmp_path, "whole.tar")
    made = run(tmp_path, "prod.tar", part_size=3 << 20)
    assert len(made.files) == 4
    assert b"".join(file.read_bytes() for file in made.files) == (tmp_path / "whole.tar").read_bytes()
    assert verify(list_of_parts(tmp_path / "prod.tar")).faults == ()
    run(tmp_path, "prod.tar")  # the same name again, not in parts: nothing of the old ones stays
    assert sorted(file.name for file in tmp_path.glob("prod.tar*")) == ["prod.tar"]
    with pytest.raises(FleetError, match="only a tar can be cut"):
        run(tmp_path, "folder", part_size=4 << 20)


def test_a_cut_run_goes_on_where_it_was(tmp_path: Path) -> None:
    """Cut at 6 places: the result is the same, and what was whole (or half a model) is not sent again."""
    whole = FakeSource()
    run(tmp_path, "whole.tar", whole)
    for i in range(6):
        cut = FakeSource(cut_after=whole.sent * (2 * i + 1) // 12)
        with pytest.raises(WireCut):
            run(tmp_path, "cut.tar", cut)
        rest = FakeSource()
        run(tmp_path, "cut.tar", rest)
        assert (tmp_path / "cut.tar").read_bytes() == (tmp_path / "whole.tar").read_bytes()
        # at most the layer (or the file of Docker's) that was under way is sent again, and the small ends of archives
        assert cut.sent + rest.sent - whole.sent <= len(BASE) + 100_000, i
        (tmp_path / "cut.tar").unlink()


def test_half_a_model_is_not_sent_again(tmp_path: Path) -> None:
    source = FakeSource(stock={})
    spec = environment(tmp_path).hosts[0]
    bare = {
        "openwebui": spec.openwebui.model_copy(update={"enabled": False}),
        "docker": spec.docker.model_copy(update={"method": "rpm"}),
        "ollama": spec.ollama.model_copy(update={"image": OLLAMA}),
    }
    source.stock = {OLLAMA: image("ollama")}
    run(tmp_path, "whole.tar", source, spec=bare)
    cut = FakeSource(cut_after=source.sent - (1 << 20))
    with pytest.raises(WireCut):
        run(tmp_path, "cut.tar", cut, spec=bare)
    rest = FakeSource()
    run(tmp_path, "cut.tar", rest, spec=bare)
    assert rest.sent < (1 << 20) + 20_000 + len(image("ollama")[1][1])
    assert (tmp_path / "cut.tar").read_bytes() == (tmp_path / "whole.tar").read_bytes()


def test_what_an_earlier_run_left_is_hashed_before_it_is_used(tmp_path: Path) -> None:
    run(tmp_path, "out")
    blob = tmp_path / "out" / blob_name(digest_of(BASE))
    blob.write_bytes(b"x" + blob.read_bytes()[1:])
    (tmp_path / "out" / "blobs" / "sha256" / ("0" * 64)).write_bytes(b"of another bundle")
    run(tmp_path, "out")
    assert verify(tmp_path / "out").faults == ()


def test_a_folder_with_other_things_is_left_alone(tmp_path: Path) -> None:
    with pytest.raises(FleetError, match="holds docs, which is no part of a bundle"):
        run(tmp_path, ".")
    assert (tmp_path / "prod.yml").exists()


def test_a_delta_leaves_out_what_the_target_has(tmp_path: Path) -> None:
    base = run(tmp_path, "base")
    newer = FakeSource(stock={OLLAMA: image("ollama"), WEBUI: image("webui, newer")})
    delta = run(tmp_path, "delta", newer, base=read_base(tmp_path / "base" / "bundle.json"))
    full = run(tmp_path, "full", FakeSource(stock=newer.stock))
    assert delta.manifest.base == base.digest
    assert delta.manifest.blobs == full.manifest.blobs
    assert set(delta.manifest.carried) == set(full.manifest.blobs) - set(base.manifest.blobs)
    assert len(delta.manifest.carried) == 3  # a layer, a configuration, an OCI manifest
    assert newer.sent < 1 << 20
    assert verify(tmp_path / "delta").faults == ()
    names = {file.name for file in (tmp_path / "delta" / "blobs" / "sha256").iterdir()}
    assert names == {digest[7:] for digest in delta.manifest.carried}
    assert read_base(tmp_path / "base") == read_base(tmp_path / "base" / "bundle.json")


def test_what_is_missing_is_listed(tmp_path: Path) -> None:
    with pytest.raises(FleetError) as caught:
        run(tmp_path, "out", FakeSource(stock={OLLAMA: image("ollama")}, engine_there=False))
    assert f"image {WEBUI}: not on llm" in str(caught.value)
    assert "engine 28.5.2: llm does not have /var/lib/difyfleet/downloads/docker-28.5.2.tgz" in str(
        caught.value
    )
    assert not (tmp_path / "out" / "bundle.json").exists()


def test_the_lock_file_and_the_inventory_are_held_to(tmp_path: Path) -> None:
    locked = {OLLAMA: LockedImage(id="sha256:" + "1" * 64)}
    with pytest.raises(FleetError, match=f"image {OLLAMA} is .{{12}}, 111111111111 is locked"):
        run(tmp_path, "a", spec={"locked_images": locked})
    models = [Model(name=MODEL, digest="2" * 12)]
    ollama = environment(tmp_path).hosts[0].ollama.model_copy(update={"models": models})
    with pytest.raises(FleetError, match="declared 222222222222"):
        run(tmp_path, "b", spec={"ollama": ollama})
    docker = environment(tmp_path).hosts[0].docker
    bundle = docker.bundle.model_copy(update={"sha256": "3" * 64})
    with pytest.raises(FleetError, match=r"docker-28\.5\.2\.tgz has the hash .{12}, not 333333333333"):
        run(tmp_path, "c", spec={"docker": docker.model_copy(update={"bundle": bundle})})


def test_two_architectures_are_not_mixed(tmp_path: Path) -> None:
    with pytest.raises(FleetError, match="is for arm64, what was gathered before for amd64"):
        run(tmp_path, "out", FakeSource(), FakeSource("b", arch="aarch64"))
    with pytest.raises(FleetError, match=r"image ollama.*is for amd64, what was gathered before for arm64"):
        run(tmp_path, "out", FakeSource(arch="aarch64"))


def test_docker_files_on_this_machine_come_from_here(tmp_path: Path) -> None:
    (tmp_path / "compose").write_bytes(COMPOSE)
    docker = environment(tmp_path).hosts[0].docker
    bundle = docker.bundle.model_copy(update={"compose_file": tmp_path / "compose"})
    made = run(tmp_path, "out", spec={"docker": docker.model_copy(update={"bundle": bundle})})
    assert digest_of(COMPOSE) in made.manifest.blobs


def test_wheels_of_a_folder(tmp_path: Path) -> None:
    for name, metadata in (
        ("difyfleet-0.1.0-py3-none-any.whl", "Version: 0.1.0\nLicense-Expression: Apache-2.0\n"),
        (
            "click-8.1.8-py3-none-any.whl",
            "Version: 8.1.8\nClassifier: License :: OSI Approved :: BSD License\n",
        ),
    ):
        (tmp_path / "w").mkdir(exist_ok=True)
        with zipfile.ZipFile(tmp_path / "w" / name, "w") as archive:
            archive.writestr(f"{name.split('-py3')[0]}.dist-info/METADATA", metadata)
    described = environment(tmp_path)
    order = Order(tmp_path / "out")
    made = make(
        order, "prod", [], lambda one: one.take(FakeSource(), described.hosts[0]), str(tmp_path / "w")
    )
    listed = [(one.name, one.version, one.license) for one in made.manifest.files if one.kind == "wheel"]
    assert listed == [
        ("click-8.1.8-py3-none-any.whl", "8.1.8", "BSD License"),
        ("difyfleet-0.1.0-py3-none-any.whl", "0.1.0", "Apache-2.0"),
    ]
    with pytest.raises(FleetError, match="no wheel of difyfleet"):
        make(order, "prod", [], lambda one: None, str(tmp_path / "docs"))


def test_what_a_bundle_carries_is_what_docker_and_oci_tools_list(tmp_path: Path) -> None:
    run(tmp_path, "out")
    index = json.loads((tmp_path / "out" / "index.json").read_text())
    assert [one["annotations"]["io.containerd.image.name"] for one in index["manifests"]] == [
        WEBUI,
        f"docker.io/{OLLAMA}",
    ]
    assert json.loads((tmp_path / "out" / "oci-layout").read_text()) == {"imageLayoutVersion": "1.0.0"}


def test_a_full_disk_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: Store, data: bytes) -> str:
        raise OSError(errno.ENOSPC, "No space left on device", str(self.folder))

    monkeypatch.setattr(Store, "put_bytes", full)
    with pytest.raises(FleetError, match=r"out\.tar\.unfinished: No space left on device") as caught:
        run(tmp_path, "out.tar")
    assert f"kept in {tmp_path / 'out.tar.unfinished'}" in str(caught.value.hint)


def test_wheels_are_those_that_run_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """pip is told exact versions, never to build anything, and difyfleet's own wheel by its path (an index may have another one)."""
    calls: list[tuple[str, ...]] = []

    def pip(*arguments: str) -> None:
        calls.append(arguments)
        (tmp_path / "difyfleet-0.1.0-py3-none-any.whl").touch()

    monkeypatch.setattr(wheels, "_pip", pip)
    assert [file.name for file in wheels.collect(tmp_path)] == ["difyfleet-0.1.0-py3-none-any.whl"]
    build, download = calls
    assert build[0] == "wheel"
    assert "--no-deps" in build
    assert download[0] == "download"
    assert download[download.index("--only-binary") + 1] == ":all:"
    assert download[-1] == str(tmp_path / "difyfleet-0.1.0-py3-none-any.whl")
    pinned = (tmp_path / "constraints.txt").read_text().splitlines()
    assert f"click=={version('click')}" in pinned
    assert not any(line.startswith("difyfleet") for line in pinned)
    monkeypatch.setattr(wheels, "package_root", lambda: tmp_path / "site-packages" / "difyfleet")
    with pytest.raises(FleetError, match="was installed from a wheel"):
        wheels.collect(tmp_path)
