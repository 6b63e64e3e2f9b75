"""The script that takes images and models out of the pushed store, as a program of this machine, with a docker that only writes down."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest

from difyfleet.operations import pushed

DOCKER = """#!/bin/bash
echo "$*" >>"$0.calls"
case "$1 $2" in
"load --quiet") cat >"$0.tar"; [ ! -e "$0.fails" ] || { echo 'no space left on device'; exit 1; };;
"info --format") echo '[["Backing Filesystem","extfs"]]';;
"image ls") [ ! -e "$0.chains" ] || echo sha256:1;;
"image inspect") case "$4" in *Layers*) cat "$0.chains" 2>/dev/null;; *) cat "$0.id";; esac;;
esac
"""


class Place:
    """A store, a docker, an Ollama folder."""

    def __init__(self, folder: Path) -> None:
        self.store, self.models, self.docker = folder / "store", folder / "models", folder / "bin" / "docker"
        self.store.mkdir()
        self.docker.parent.mkdir()
        self.docker.write_text(DOCKER)
        self.docker.chmod(0o755)

    def keep(self, data: bytes) -> str:
        name = hashlib.sha256(data).hexdigest()
        (self.store / name).write_bytes(data)
        return f"sha256:{name}"

    def beside(self, ending: str) -> Path:
        return self.docker.with_name(f"docker.{ending}")

    def run(self, **job: Any) -> subprocess.CompletedProcess[str]:
        argument = json.dumps({"store": str(self.store), "release": [], **job})
        return subprocess.run(
            [sys.executable, "-c", pushed._SCRIPT.read_text(), argument],
            env={**os.environ, "PATH": f"{self.docker.parent}:{os.environ['PATH']}"},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def image(self) -> dict[str, Any]:
        base, own = self.keep(b"base layer"), self.keep(b"own layer")
        config, manifest = self.keep(b'{"config":1}'), self.keep(b'{"manifest":1}')
        self.beside("id").write_text(config)
        return {
            "tag": "nginx:1.27.3",
            "full_name": "docker.io/library/nginx:1.27.3",
            "id": config,
            "manifest": manifest,
            "layers": [base, own],
            "diff_ids": ["sha256:b", "sha256:o"],
        }

    def loaded(self) -> dict[str, bytes]:
        with tarfile.open(self.beside("tar")) as tar:
            return {info.name: (tar.extractfile(info) or pytest.fail(info.name)).read() for info in tar}


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_an_image_goes_into_docker_load_in_both_forms(place: Place) -> None:
    image = place.image()
    ended = place.run(image=image, release=[image["id"], image["layers"][1]])
    assert ended.returncode == 0, ended.stdout
    files = place.loaded()
    assert json.loads(files["manifest.json"]) == [
        {
            "Config": f"blobs/sha256/{image['id'][7:]}",
            "RepoTags": ["nginx:1.27.3"],
            "Layers": [f"blobs/sha256/{digest[7:]}" for digest in image["layers"]],
        }
    ]
    (entry,) = json.loads(files["index.json"])["manifests"]
    assert entry["digest"] == image["manifest"]
    assert entry["annotations"] == {"io.containerd.image.name": "docker.io/library/nginx:1.27.3"}
    for digest in (image["id"], image["manifest"], *image["layers"]):
        name = f"blobs/sha256/{digest[7:]}"
        assert hashlib.sha256(files[name]).hexdigest() == digest[7:]
    left = {path.name for path in place.store.iterdir()}
    assert left == {image["manifest"][7:], image["layers"][0][7:]}


def test_layers_that_docker_has_in_the_same_place_are_left_out(place: Place) -> None:
    image = place.image()
    place.beside("chains").write_text('["sha256:b","sha256:x"]\n["sha256:o"]\n')
    (place.store / image["layers"][0][7:]).unlink()
    assert place.run(image=image).returncode == 0
    names = [name for name in place.loaded() if name.startswith("blobs/")]
    assert f"blobs/sha256/{image['layers'][0][7:]}" not in names
    assert f"blobs/sha256/{image['layers'][1][7:]}" in names


def test_a_damaged_blob_is_found_before_docker_sees_anything(place: Place) -> None:
    image = place.image()
    bad = place.store / image["layers"][1][7:]
    bad.write_bytes(b"OWN layer")
    ended = place.run(image=image, release=[image["id"]])
    assert ended.returncode == 1
    assert f"blob {bad.name[:12]} is damaged" in ended.stdout
    assert not bad.exists()
    assert (place.store / image["id"][7:]).exists()
    assert not place.beside("tar").exists()


def test_what_is_missing_is_said(place: Place) -> None:
    image = place.image()
    (place.store / image["layers"][1][7:]).unlink()
    ended = place.run(image=image)
    assert ended.returncode == 1
    assert "1 blobs are not on the host" in ended.stdout


def test_dockers_own_words_and_another_id_are_failures(place: Place) -> None:
    image = place.image()
    place.beside("fails").touch()
    assert "docker load: no space left on device" in place.run(image=image, release=[image["id"]]).stdout
    place.beside("fails").unlink()
    place.beside("id").write_text("sha256:" + "9" * 64)
    ended = place.run(image=image, release=[image["id"]])
    assert "nginx:1.27.3 is 999999999999 after the load" in ended.stdout
    assert (place.store / image["id"][7:]).exists()


def model(place: Place) -> dict[str, Any]:
    layers = [place.keep(b'{"format":"gguf"}'), place.keep(b"weights")]
    manifest = place.keep(b'{"layers":[]}')
    path = "manifests/registry.ollama.ai/library/qwen2.5/7b"
    return {"name": "qwen2.5:7b", "manifest": manifest, "path": path, "layers": layers}


def test_a_model_is_moved_in_and_the_identity_key_left_alone(place: Place) -> None:
    wanted, key = model(place), place.models.parent / "id_ed25519"
    key.write_text("secret")
    ended = place.run(model=wanted, models=str(place.models), release=[])
    assert ended.returncode == 0, ended.stdout
    for digest in wanted["layers"]:
        file = place.models / "blobs" / digest.replace(":", "-")
        assert hashlib.sha256(file.read_bytes()).hexdigest() == digest[7:]
        assert oct(file.stat().st_mode & 0o777) == "0o644"
    assert hashlib.sha256((place.models / wanted["path"]).read_bytes()).hexdigest() == wanted["manifest"][7:]
    assert list(place.store.iterdir()) == []
    assert key.read_text() == "secret"


def test_a_damaged_model_gets_no_manifest(place: Place) -> None:
    wanted = model(place)
    (place.store / wanted["layers"][1][7:]).write_bytes(b"WEIGHTS")
    ended = place.run(model=wanted, models=str(place.models))
    assert ended.returncode == 1
    assert "damaged on the host" in ended.stdout
    assert not (place.models / wanted["path"]).exists()


def test_what_ollama_has_already_is_proved_and_used(place: Place) -> None:
    wanted = model(place)
    there = place.models / "blobs" / wanted["layers"][1].replace(":", "-")
    there.parent.mkdir(parents=True)
    there.write_bytes(b"weights")
    (place.store / wanted["layers"][1][7:]).unlink()
    assert place.run(model=wanted, models=str(place.models)).returncode == 0
    there.write_bytes(b"WEIGHTS")
    again = {**wanted, "manifest": place.keep(b'{"layers":[]}')}
    ended = place.run(model=again, models=str(place.models))
    assert "damaged on the host" in ended.stdout
    assert not there.exists()
