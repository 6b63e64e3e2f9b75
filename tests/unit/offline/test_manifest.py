"""bundle.json: one form, nothing that contradicts itself, clear words about anything else."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import ValidationError

from difyfleet.offline.layout import docker_archive, full_name, oci_index, small_files, tag_of
from difyfleet.offline.manifest import BundleError, Manifest, blob_name, parse, render
from tests.unit.offline.samples import small


def test_what_is_rendered_is_read_back_and_rendered_alike() -> None:
    manifest, _ = small()
    text = render(manifest)
    assert render(parse(text, "bundle.json")) == text


def test_the_order_of_gathering_does_not_show() -> None:
    manifest, _ = small()
    turned = manifest.model_copy(
        update={
            "images": manifest.images[::-1],
            "files": manifest.files[::-1],
            "blobs": dict(reversed(manifest.blobs.items())),
        }
    )
    assert render(turned) == render(manifest)


def test_a_changed_blank_is_seen() -> None:
    text = render(small()[0])
    with pytest.raises(BundleError, match="it was changed"):
        parse(text.replace(b'"models": [', b'"models":  ['), "b/bundle.json")


@pytest.mark.parametrize("version", [0, 2, "1", None])
def test_another_version_is_named(version: Any) -> None:
    plain = json.loads(render(small()[0])) | {"version": version}
    with pytest.raises(BundleError, match=f"version {version}; this difyfleet reads version 1") as caught:
        parse(json.dumps(plain).encode(), "b/bundle.json")
    assert caught.value.where == "b/bundle.json"
    assert "make the bundle again" in str(caught.value.hint)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"blobs": {}}, "is used but not listed"),
        ({"absent": ["sha256:" + "0" * 64]}, "absent blob"),
        ({"images": []}, "nothing uses it"),
        ({"architecture": "riscv"}, "architecture"),
        ({"extra": 1}, "extra"),
    ],
)
def test_contradictions(change: dict[str, Any], words: str) -> None:
    plain = json.loads(render(small()[0])) | change
    with pytest.raises(BundleError, match=words):
        parse(json.dumps(plain).encode(), "bundle.json")


def test_names_cannot_lead_elsewhere() -> None:
    manifest, _ = small()
    for path in ("../../etc/passwd", "/etc/passwd", "a//b", ""):
        model = manifest.models[0].model_copy(update={"path": path})
        with pytest.raises(ValidationError, match="leads out of its folder"):
            Manifest(**{**manifest.model_dump(), "models": [model.model_dump()]})


def test_absent_needs_a_base() -> None:
    manifest, _ = small()
    plain = manifest.model_dump() | {"absent": [manifest.images[0].layers[0]]}
    with pytest.raises(ValidationError, match="no base"):
        Manifest(**plain)
    delta = Manifest(**(plain | {"base": "sha256:" + "0" * 64}))
    assert set(manifest.blobs) - set(delta.carried) == {manifest.images[0].layers[0]}


def test_wrong_architecture() -> None:
    manifest, _ = small()
    manifest.require_architecture("x86_64", "llm")
    with pytest.raises(BundleError, match="is for amd64, this machine is arm64"):
        manifest.require_architecture("aarch64", "llm")


def test_shared_blobs_have_several_owners() -> None:
    manifest, _ = small()
    assert manifest.owners(manifest.images[0].layers[0]) == [
        "image nginx:1.27.3",
        "image ghcr.io/open-webui/open-webui:0.4.7",
    ]


@pytest.mark.parametrize(
    ("reference", "tag", "full"),
    [
        ("nginx", "nginx:latest", "docker.io/library/nginx:latest"),
        ("ollama/ollama:0.4.7", "ollama/ollama:0.4.7", "docker.io/ollama/ollama:0.4.7"),
        ("ghcr.io/a/b:1@sha256:" + "0" * 64, "ghcr.io/a/b:1", "ghcr.io/a/b:1"),
        ("localhost:5000/x:1", "localhost:5000/x:1", "localhost:5000/x:1"),
        ("nginx@sha256:" + "0" * 64, None, None),
    ],
)
def test_tags(reference: str, tag: str | None, full: str | None) -> None:
    assert tag_of(reference) == tag
    if tag is not None:
        assert full_name(tag) == full


def test_both_lists_of_images_name_the_same_blobs() -> None:
    manifest, blobs = small()
    archive = json.loads(docker_archive(manifest))
    index = json.loads(oci_index(manifest))
    assert [one["RepoTags"] for one in archive] == [["ghcr.io/open-webui/open-webui:0.4.7"], ["nginx:1.27.3"]]
    for old, new in zip(archive, index["manifests"], strict=True):
        inner = json.loads(blobs[new["digest"]])
        assert new["size"] == len(blobs[new["digest"]])
        assert blob_name(inner["config"]["digest"]) == old["Config"]
        assert [blob_name(one["digest"]) for one in inner["layers"]] == old["Layers"]
    assert [one["RepoTags"] for one in json.loads(docker_archive(manifest, {"nginx:1.27.3"}))] == [
        ["nginx:1.27.3"]
    ]


def test_sums_hold_every_file() -> None:
    manifest, blobs = small()
    files = small_files(manifest, render(manifest))
    listed = [line.split("  ")[1] for line in files["SHA256SUMS"].decode().splitlines()]
    assert listed == sorted({*files, *map(blob_name, blobs)} - {"SHA256SUMS"})
