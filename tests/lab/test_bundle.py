"""A bundle from a real host: the same bytes every time, also after a cut; smaller than the document's way; loaded and served from."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from difyfleet.offline.layout import tag_of
from difyfleet.remote.upload import sha256_of
from tests.lab.conftest import DIFYFLEET, ROOT, LabHost
from tests.unit.offline.samples import PUBLIC_KEY, SECRET_KEY

pytestmark = [pytest.mark.lab, pytest.mark.slow]

OLLAMA, WEBUI, MODEL = "ollama/ollama:0.4.7", "ghcr.io/open-webui/open-webui:0.4.7", "nomic-embed-text:latest"
CONTROLLER, PORT = "10.0.2.2", 8177  # the lab's bridge, which hosts reach


def image_id(host: LabHost, name: str) -> str:
    return host.sh(f"docker image inspect --format '{{{{.Id}}}}' {name}").strip()


def make(host: LabHost, output: Path, *more: str) -> Any:
    done = host.difyfleet(
        "bundle", "make", str(host.inventory), str(output), "--wheels", "none", "--json", *more
    )
    assert done.code == 0, done.err
    return done.json


def cut_make(host: LabHost, output: Path) -> int:
    """A run that is killed when its first layer is there and the next one on its way; blobs that it brought in."""
    argv = [str(DIFYFLEET), "bundle", "make", str(host.inventory), str(output), "--wheels", "none"]
    environment = {**os.environ, "DIFYFLEET_STATE_DIR": str(host.state)}
    blobs = output.with_name(f"{output.name}.unfinished") / "blobs" / "sha256"
    with subprocess.Popen(
        argv, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as running:
        deadline = time.monotonic() + 600
        while time.monotonic() < deadline and running.poll() is None:
            names = [file.name for file in blobs.iterdir()] if blobs.is_dir() else []
            if any(len(name) == 64 for name in names) and any(name.endswith(".partial") for name in names):
                break
            time.sleep(0.02)
        running.kill()
    return sum(len(file.name) == 64 for file in blobs.iterdir())


def test_a_bundle_of_a_real_host(bare_host: LabHost, tmp_path: Path) -> None:
    host = bare_host
    plain = {
        "ollama": {"models": ["nomic-embed-text"]},
        "openwebui": {"enabled": True},
        "dify": {"enabled": False, "models": None},
        "knowledge": None,
        "assistants": None,
    }
    host.write_inventory(**plain)
    applied = host.apply()
    assert applied.code == 0, applied.out + applied.err
    (tmp_path / "sign.key").write_text(SECRET_KEY)

    made = make(host, tmp_path / "prod", "--sign-key", str(tmp_path / "sign.key"))
    assert host.changing_commands() == []
    verified = host.difyfleet(
        "bundle", "verify", str(tmp_path / "prod"), "--public-key", PUBLIC_KEY, "--json"
    )
    assert verified.code == 0, verified.out
    assert verified.json["signed_by"] == "31A4112C10E8B784"
    manifest = json.loads((tmp_path / "prod" / "bundle.json").read_text())
    assert {one["reference"]: one["id"] for one in manifest["images"]} == {
        name: image_id(host, name) for name in (OLLAMA, WEBUI)
    }
    assert [one["name"] for one in manifest["models"]] == [MODEL]
    assert manifest["architecture"] == "amd64"

    # against the document's way on the same host: docker save for each image, the whole models folder
    tars = {name: int(host.sh(f"docker save {name} | wc -c")) for name in (OLLAMA, WEBUI)}
    layers = {layer for one in manifest["images"] for layer in one["layers"]}
    once = sum(manifest["blobs"][layer] for layer in layers)
    print(f"layers {once} bytes, one tar per image {sum(tars.values())} bytes")
    assert once < sum(tars.values())
    shown = host.difyfleet("bundle", "inspect", str(tmp_path / "prod"), "--json").json
    assert shown["bytes_one_tar_per_image"] == pytest.approx(sum(tars.values()), rel=0.01)

    # killed on the way and run again: the same bytes as in one go; nothing that was whole is read again
    kept = cut_make(host, tmp_path / "cut.tar")
    assert kept > 0
    make(host, tmp_path / "cut.tar")
    make(host, tmp_path / "whole.tar")
    assert sha256_of(tmp_path / "cut.tar") == sha256_of(tmp_path / "whole.tar")

    # a delta against it is next to nothing
    delta = make(host, tmp_path / "delta", "--against", str(tmp_path / "prod"))
    assert delta["bytes"] == 0
    assert made["bytes"] > 300e6

    # Docker itself loads the tar, without any help
    right = image_id(host, WEBUI)
    host.sh(f"docker rm -f open-webui; docker rmi {WEBUI}")
    with (tmp_path / "whole.tar").open("rb") as tar:
        argv = ["ssh", "-F", str(ROOT / ".lab" / "ssh_config"), host.name, "sudo docker load"]
        loaded = subprocess.run(argv, stdin=tar, capture_output=True, text=True, timeout=600, check=True)
    assert f"Loaded image: {tag_of(WEBUI)}" in loaded.stdout
    assert image_id(host, WEBUI) == right

    served(host, tmp_path / "whole.tar", plain, manifest["models"][0]["manifest"])


def served(host: LabHost, bundle: Path, plain: dict[str, Any], model: str) -> None:
    """A host that reaches the controller and no registry: images through the mirror, a model by Ollama's own pull.

    Args:
        model: digest of its manifest.
    """
    right = image_id(host, OLLAMA)
    argv = [sys.executable, "-m", "lab", "net", "--", str(DIFYFLEET), "bundle", "serve", str(bundle)]
    log = (bundle.parent / "serve.log").open("w+")
    with (
        log,
        subprocess.Popen(
            [*argv, "--address", CONTROLLER], cwd=ROOT, stderr=log, start_new_session=True
        ) as serving,
    ):
        try:
            host.sh(
                f"for i in $(seq 50); do curl -fs http://{CONTROLLER}:{PORT}/v2/ && exit; sleep 0.2; done; exit 1"
            )
            host.sh(f"docker rm -f ollama; docker rmi {OLLAMA}")
            host.write_inventory(**plain, docker={"mirrors": [f"http://{CONTROLLER}:{PORT}"]})
            mended = host.apply()
            assert mended.code == 0, mended.out + mended.err
            assert image_id(host, OLLAMA) == right
            name = f"{CONTROLLER}:{PORT}/library/{MODEL}"
            # Ollama trusts blobs by name and would fetch none: the model has to go first
            host.sh(f"docker exec ollama ollama rm {MODEL}")
            host.sh(
                f"docker exec ollama ollama pull --insecure {name} && docker exec ollama ollama cp {name} {MODEL}"
            )
            host.sh(f"docker exec ollama ollama rm {name}")
            path = "/opt/ollama/models/manifests/registry.ollama.ai/library/nomic-embed-text/latest"
            assert host.sh(f"sha256sum {path}").split()[0] == model[7:]
            assert host.apply().code == 0  # notes that the model is proved
            assert host.plan().code == 0
            assert host.verify().code == 0
        finally:
            os.killpg(serving.pid, 15)
            serving.wait(timeout=30)
        log.seek(0)
        said = log.read()
    assert "GET /v2/ollama/ollama/manifests/" in said
    assert "/v2/library/nomic-embed-text/blobs/sha256:" in said
