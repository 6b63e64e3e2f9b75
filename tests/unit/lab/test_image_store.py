"""Writing images into a registry's storage folder."""

from __future__ import annotations

import gzip
import hashlib
import json
from pathlib import Path

import pytest

from lab import cache
from lab.images import catalogue, layers, store


def sha(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


@pytest.fixture
def layer(tmp_path: Path) -> Path:
    path = tmp_path / "layer"
    path.write_bytes(b"compressed layer")
    return path


def test_an_image_in_the_layout_of_registry_2(tmp_path: Path, layer: Path) -> None:
    config = b'{"rootfs": {}}'
    digest = store.Store(tmp_path / "hub").add_image(
        "library/nginx", ["latest", "1.27.3"], config, [(sha(layer.read_bytes()), layer)]
    )
    root = tmp_path / "hub" / "docker" / "registry" / "v2"
    hexadecimal = digest.removeprefix("sha256:")
    raw = (root / "blobs" / "sha256" / hexadecimal[:2] / hexadecimal / "data").read_bytes()
    assert sha(raw) == digest
    manifest = json.loads(raw)
    assert manifest["schemaVersion"] == 2
    assert manifest["config"] == {"mediaType": store.CONFIG_TYPE, "size": len(config), "digest": sha(config)}
    assert [entry["digest"] for entry in manifest["layers"]] == [sha(b"compressed layer")]
    repository = root / "repositories" / "library" / "nginx"
    for tag in ("latest", "1.27.3"):
        assert (repository / "_manifests" / "tags" / tag / "current" / "link").read_text() == digest
    assert (repository / "_manifests" / "revisions" / "sha256" / hexadecimal / "link").read_text() == digest
    for blob in (config, b"compressed layer"):
        link = repository / "_layers" / "sha256" / sha(blob).removeprefix("sha256:") / "link"
        assert link.read_text() == sha(blob)


def test_two_images_share_a_layer_on_disk(tmp_path: Path, layer: Path) -> None:
    target = store.Store(tmp_path / "hub")
    for name in ("a/one", "a/two"):
        target.add_image(name, ["1"], name.encode(), [(sha(layer.read_bytes()), layer)])
    assert target.blob_path(sha(b"compressed layer")).stat().st_nlink == 2  # the source and one blob


def test_layers_are_compressed_reproducibly_and_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "root", lambda: tmp_path / "cache")
    source = tmp_path / "layer.tar"
    source.write_bytes(b"tar " * 1000)
    first = store.compressed("sha256:aa", source)
    assert gzip.decompress(first[1].read_bytes()) == source.read_bytes()
    assert first[1].read_bytes()[4:8] == b"\0\0\0\0"  # no time stamp
    source.unlink()
    assert store.compressed("sha256:aa", source) == first
    other = tmp_path / "other.tar"
    other.write_bytes(b"tar " * 1000)
    assert store.compressed("sha256:bb", other)[0] == first[0]


def test_a_layer_that_is_compressed_already_stays_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache, "root", lambda: tmp_path / "cache")
    source = tmp_path / "layer.tar.gz"
    source.write_bytes(gzip.compress(b"x"))
    assert store.compressed("sha256:cc", source)[0] == sha(source.read_bytes())


def test_every_image_of_the_users_document_is_there() -> None:
    names = {name for image in catalogue.IMAGES for name in image.names}
    assert names >= {
        "ghcr.io/open-webui/open-webui:main", "ghcr.io/open-webui/open-webui:0.4.7", "ollama/ollama:0.4.7", "nginx:latest",
        "postgres:15-alpine", "langgenius/dify-web:0.11.2", "langgenius/dify-api:0.11.2", "langgenius/dify-sandbox:0.2.10",
        "redis:6-alpine", "ubuntu/squid:latest", "semitechnologies/weaviate:1.19.0",
    }  # fmt: skip


def test_stand_ins_are_named_as_such() -> None:
    named = {name.rpartition(":")[0].rpartition("/")[2] for name in catalogue.stand_ins()}
    assert named == {"dify-api", "dify-web", "dify-sandbox", "weaviate", "open-webui"}


def test_every_image_has_a_context_and_a_layer() -> None:
    for image in catalogue.IMAGES:
        assert (catalogue.CONTEXTS / image.context / "Dockerfile").is_file()
        assert image.layer in layers.LAYERS or image.layer in layers.ROOTS


def test_no_dockerfile_reaches_for_a_network() -> None:
    for path in catalogue.CONTEXTS.glob("*/Dockerfile"):
        text = path.read_text()
        assert "apt" not in text, path
        assert "://" not in text.replace("http://localhost", ""), path


def test_the_script_of_a_layer_leaves_no_apt_settings_behind() -> None:
    script = layers.LAYERS["nginx"].script()
    assert "APT_CONFIG=/mnt/apt.conf" in script
    assert "--no-install-recommends nginx-light curl gettext-base\n" in script
    assert script.index("--uid 101") < script.index("apt-get install") < script.index("rm -rf /var/cache/apt")
