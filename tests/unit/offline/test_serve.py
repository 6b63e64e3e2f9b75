"""A bundle as a registry: what Docker and Ollama ask for, and nothing else."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from difyfleet.offline.manifest import digest_of
from difyfleet.offline.reader import open_bundle
from difyfleet.offline.serve import server
from difyfleet.offline.tarball import pack
from tests.unit.offline.samples import small, write

MANIFEST, BLOBS = small()
LINES: list[str] = []


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("serve")
    write(folder / "prod")
    pack(folder / "prod", folder / "prod.tar")
    with (
        open_bundle(folder / "prod.tar") as bundle,
        server(bundle, "127.0.0.1", 0, LINES.append) as listening,
    ):
        thread = threading.Thread(target=listening.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{listening.server_address[1]}"
        listening.shutdown()
        thread.join(timeout=10)


def test_it_answers_like_a_registry(url: str) -> None:
    answer = requests.get(f"{url}/v2/", timeout=10)
    assert (answer.status_code, answer.json()) == (200, {})
    assert answer.headers["Docker-Distribution-Api-Version"] == "registry/2.0"
    assert any("GET /v2/" in line for line in LINES)


@pytest.mark.parametrize("name", ["library/nginx", "docker.io/library/nginx"])
def test_an_image_by_tag_and_all_it_consists_of(url: str, name: str) -> None:
    head = requests.head(f"{url}/v2/{name}/manifests/1.27.3?ns=docker.io", timeout=10)
    assert head.status_code == 200
    digest = head.headers["Docker-Content-Digest"]
    answer = requests.get(f"{url}/v2/{name}/manifests/{digest}", timeout=10)
    assert answer.headers["Content-Type"] == answer.json()["mediaType"]
    assert digest_of(answer.content) == digest
    assert int(head.headers["Content-Length"]) == len(answer.content)
    for part in [answer.json()["config"], *answer.json()["layers"]]:
        blob = requests.get(f"{url}/v2/{name}/blobs/{part['digest']}", timeout=10)
        assert (digest_of(blob.content), len(blob.content)) == (part["digest"], part["size"])


def test_other_registries_images(url: str) -> None:
    for name in ("open-webui/open-webui", "ghcr.io/open-webui/open-webui"):
        assert requests.get(f"{url}/v2/{name}/manifests/0.4.7", timeout=10).status_code == 200


def test_a_model_as_ollama_pulls_it(url: str) -> None:
    answer = requests.get(f"{url}/v2/library/qwen2.5/manifests/7b", timeout=10)
    assert digest_of(answer.content) == MANIFEST.models[0].manifest
    assert answer.headers["Content-Type"] == "application/vnd.docker.distribution.manifest.v2+json"
    weights = answer.json()["layers"][0]
    path = f"/v2/library/qwen2.5/blobs/{weights['digest']}"
    first = requests.get(f"{url}{path}", timeout=10, allow_redirects=False)
    assert first.headers["Location"] == path
    pieces = []
    for start in range(0, weights["size"], 3000):
        last = min(start + 3000, weights["size"]) - 1
        part = requests.get(f"{url}{path}", headers={"Range": f"bytes={start}-{last}"}, timeout=10)
        assert part.status_code == 206
        assert part.headers["Content-Range"] == f"bytes {start}-{last}/{weights['size']}"
        pieces.append(part.content)
    assert "sha256:" + hashlib.sha256(b"".join(pieces)).hexdigest() == weights["digest"]
    assert (
        requests.get(f"{url}{path}", headers={"Range": "bytes=100-"}, timeout=10).content
        == first.content[100:]
    )
    assert requests.get(f"{url}{path}", headers={"Range": "bytes=99999-"}, timeout=10).status_code == 416


def test_documents_wheels_and_paths_are_not_given_out(url: str) -> None:
    for file in MANIFEST.files:
        assert requests.get(f"{url}/v2/library/nginx/blobs/{file.digest}", timeout=10).status_code == 404
    for path in (
        "/",
        "/bundle.json",
        "/v2/../bundle.json",
        "/v2/x/manifests/1",
        "/v2/library/nginx/manifests/9",
    ):
        assert requests.get(f"{url}{path}", timeout=10).status_code == 404
    assert requests.post(f"{url}/v2/library/nginx/blobs/uploads/", timeout=10).status_code == 501


def test_many_at_once(url: str) -> None:
    """Threads share one file below; each must get its own bytes."""
    layers = [layer for image in MANIFEST.images for layer in image.layers] * 10
    wrong: list[str] = []

    def get(digest: str) -> None:
        if digest_of(requests.get(f"{url}/v2/x/blobs/{digest}", timeout=30).content) != digest:
            wrong.append(digest)

    threads = [threading.Thread(target=get, args=(layer,)) for layer in layers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert wrong == []


def test_what_a_delta_leaves_out_is_not_there(tmp_path: Path) -> None:
    from difyfleet.offline.manifest import Manifest
    from difyfleet.offline.serve import Shelf

    plain = json.loads(MANIFEST.model_dump_json())
    delta = Manifest.model_validate(
        plain | {"base": "sha256:" + "0" * 64, "absent": [MANIFEST.images[0].layers[0]]}
    )
    assert set(Shelf(MANIFEST).blobs) - set(Shelf(delta).blobs) == {MANIFEST.images[0].layers[0]}
