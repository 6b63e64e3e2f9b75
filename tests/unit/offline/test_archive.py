"""What `docker save` gives, in its three forms, becomes the same image."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest

from difyfleet.errors import FleetError
from difyfleet.offline.archive import take
from difyfleet.offline.layout import image_manifest
from difyfleet.offline.manifest import blob_name, digest_of
from difyfleet.offline.store import Store
from tests.unit.offline.samples import layer, noise

BASE, APP = (
    layer("base", noise("base", 6 << 20)),
    layer("app", b"small"),
)  # one that goes to disk, one in memory
CONFIG = json.dumps(
    {
        "architecture": "amd64",
        "os": "linux",
        "config": {"Labels": {"org.opencontainers.image.licenses": "MIT"}},
        "rootfs": {"type": "layers", "diff_ids": [digest_of(BASE), digest_of(APP), digest_of(APP)]},
    }
).encode()


def tar(files: dict[str, bytes], links: dict[str, str] | None = None) -> io.BytesIO:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as out:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            out.addfile(info, io.BytesIO(data))
        for name, target in (links or {}).items():
            info = tarfile.TarInfo(name)
            info.type, info.linkname = tarfile.SYMTYPE, target
            out.addfile(info)
    buffer.seek(0)
    return buffer


def listed(config: str, layers: list[str]) -> bytes:
    return json.dumps([{"Config": config, "RepoTags": ["x:1"], "Layers": layers}]).encode()


def up_to_24() -> io.BytesIO:
    """ID/layer.tar; the empty layer that stands twice is a link."""
    config = f"{digest_of(CONFIG)[7:]}.json"
    return tar(
        {
            "aa/VERSION": b"1.0",
            "aa/layer.tar": BASE,
            "bb/json": b"{}",
            "bb/layer.tar": APP,
            config: CONFIG,
            "manifest.json": listed(config, ["aa/layer.tar", "bb/layer.tar", "cc/layer.tar"]),
        },
        {"cc/layer.tar": "../bb/layer.tar"},
    )


def from_25(left_out: tuple[str, ...] = ()) -> io.BytesIO:
    """The classic store: blobs by digest, uncompressed, an OCI layout around them."""
    blobs = {digest_of(data): data for data in (BASE, APP, CONFIG)}
    files = {blob_name(digest): data for digest, data in blobs.items() if digest not in left_out}
    names = [blob_name(digest_of(data)) for data in (BASE, APP, APP)]
    return tar({**files, "manifest.json": listed(blob_name(digest_of(CONFIG)), names), "oci-layout": b"{}"})


def of_containerd(manifest: bytes, layers: list[bytes]) -> io.BytesIO:
    """containerd's store: blobs as the registry has them, below an index of several platforms."""
    inner = json.dumps(
        {"manifests": [{"digest": "sha256:" + "0" * 64}, {"digest": digest_of(manifest)}]}
    ).encode()
    index = json.dumps({"manifests": [{"digest": digest_of(inner)}]}).encode()
    blobs = {blob_name(digest_of(data)): data for data in (*layers, CONFIG, manifest, inner)}
    names = [blob_name(digest_of(data)) for data in layers]
    return tar({**blobs, "index.json": index, "manifest.json": listed(blob_name(digest_of(CONFIG)), names)})


def test_old_and_new_archives_give_the_same_image(tmp_path: Path) -> None:
    results = [
        take(archive, "x:1", Store(tmp_path / str(i))) for i, archive in enumerate((up_to_24(), from_25()))
    ]
    assert results[0] == results[1]
    image, architecture = results[0]
    assert architecture == "amd64"
    assert image.id == digest_of(CONFIG)
    assert image.layers == [digest_of(BASE), digest_of(APP), digest_of(APP)]
    assert image.license == "MIT"
    inner = json.loads(Store(tmp_path / "0").read(image.manifest))
    assert [part["size"] for part in inner["layers"]] == [len(BASE), len(APP), len(APP)]


def test_layers_that_are_known_need_not_be_sent(tmp_path: Path) -> None:
    known = Store(tmp_path / "a", elsewhere={digest_of(BASE): len(BASE)})
    assert digest_of(BASE) in known.known()
    assert take(from_25(left_out=(digest_of(BASE),)), "x:1", known) == take(
        from_25(), "x:1", Store(tmp_path / "b")
    )
    with pytest.raises(FleetError, match=f"docker save gave no {blob_name(digest_of(BASE))}"):
        take(from_25(left_out=(digest_of(BASE),)), "x:1", Store(tmp_path / "c"))


def test_compressed_layers_keep_the_manifest_that_the_registry_had(tmp_path: Path) -> None:
    layers = [gzip.compress(data, mtime=0) for data in (BASE, APP, APP)]

    def descriptor(data: bytes) -> dict[str, Any]:
        return {
            "mediaType": "application/vnd.oci.image.layer.v1.tar+gzip",
            "digest": digest_of(data),
            "size": len(data),
        }

    manifest = image_manifest(descriptor(CONFIG), [descriptor(data) for data in layers])
    image, _ = take(of_containerd(manifest, layers), "x:1", Store(tmp_path))
    assert image.manifest == digest_of(manifest)
    assert image.id == digest_of(CONFIG)
    assert image.layers == [digest_of(data) for data in layers]


def test_a_stream_that_breaks_off(tmp_path: Path) -> None:
    data = from_25().getvalue()
    with pytest.raises(FleetError, match="broke off"):
        take(io.BytesIO(data[: len(data) // 2]), "x:1", Store(tmp_path))
    with pytest.raises(FleetError, match=r"docker save gave no manifest\.json"):
        take(tar({}), "x:1", Store(tmp_path))


def test_the_host_script_leaves_out_what_is_known(tmp_path: Path) -> None:
    import os
    import subprocess
    import sys

    from difyfleet.offline.sources import SAVE_SCRIPT

    (tmp_path / "saved.tar").write_bytes(from_25().getvalue())
    (tmp_path / "docker").write_text(f"#!/bin/sh\n[ \"$1 $2\" = 'save x:1' ] && cat {tmp_path}/saved.tar\n")
    (tmp_path / "docker").chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}

    def save(name: str) -> subprocess.CompletedProcess[bytes]:
        argv = [sys.executable, "-c", SAVE_SCRIPT.read_text(), name]
        return subprocess.run(
            argv, input=digest_of(BASE).encode() + b"\n", capture_output=True, env=environment, timeout=60
        )

    done = save("x:1")
    assert done.returncode == 0
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as passed:
        passed_on = set(passed.getnames())
    with tarfile.open(fileobj=from_25()) as whole:
        assert passed_on == set(whole.getnames()) - {blob_name(digest_of(BASE))}
    assert save("y:1").returncode != 0
