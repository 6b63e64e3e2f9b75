"""Ollama's registry in the lab: models, manifests, ranges, the brake."""

from __future__ import annotations

import hashlib
import io
import json
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from http.server import ThreadingHTTPServer
from pathlib import Path

import pytest

from lab import model_server, models

GGUF = b"GGUF header 8k-lc100k-mix1-ep2 weights" * 1


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for model in models.MODELS:
        models.write(tmp_path, model, GGUF)
    return tmp_path


def manifest_of(folder: Path, model: models.Model) -> bytes:
    return (folder / "manifests" / model.manifest).read_bytes()


@pytest.mark.parametrize("model", models.MODELS, ids=lambda model: model.name)
def test_a_manifest_names_blobs_by_their_content(folder: Path, model: models.Model) -> None:
    manifest = json.loads(manifest_of(folder, model))
    for entry in [manifest["config"], *manifest["layers"]]:
        content = (folder / "blobs" / entry["digest"].replace(":", "-")).read_bytes()
        assert entry["digest"] == f"sha256:{hashlib.sha256(content).hexdigest()}"
        assert entry["size"] == len(content)


def test_a_manifest_is_written_as_ollama_writes_it_after_a_pull(folder: Path) -> None:
    raw = manifest_of(folder, models.MODELS[0])
    assert raw.startswith(
        b'{"schemaVersion":2,"mediaType":"application/vnd.docker.distribution.manifest.v2+json","config":{"mediaType":'
    )
    assert b'"digest":"sha256:' in raw
    assert b" " not in raw


def test_models_differ_where_real_ones_do(folder: Path) -> None:
    def layers(model: models.Model, kind: str) -> set[str]:
        manifest = json.loads(manifest_of(folder, model))
        return {entry["digest"] for entry in manifest["layers"] if entry["mediaType"].endswith(kind)}

    for kind, count in (("model", 3), ("params", 3), ("license", 1)):
        assert len(set.union(*(layers(model, kind) for model in models.MODELS))) == count, kind
    assert len({manifest_of(folder, model) for model in models.MODELS}) == 3


def test_a_mark_keeps_the_length() -> None:
    assert models.marked(GGUF, None) == GGUF
    marked = models.marked(GGUF, "x" * 18)
    assert len(marked) == len(GGUF)
    assert marked != GGUF
    with pytest.raises(ValueError, match="needs 18 characters"):
        models.marked(GGUF, "short")
    with pytest.raises(ValueError, match="cannot mark"):
        models.marked(b"another model", "x" * 18)


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("", None), ("bytes=0-", (0, 9)), ("bytes=3-5", (3, 5)), ("bytes=3-99", (3, 9)), ("bytes=-4", (6, 9)),
        ("bytes=-99", (0, 9)), ("bytes=-", None), ("bytes=0-1,3-4", None), ("lines=0-1", None),
    ],
)  # fmt: skip
def test_ranges(header: str, expected: tuple[int, int] | None) -> None:
    assert model_server.byte_range(header, 10) == expected


def test_a_range_behind_the_end() -> None:
    with pytest.raises(model_server.RangeError):
        model_server.byte_range("bytes=10-", 10)


def test_the_rate_file_wins_over_the_default(tmp_path: Path) -> None:
    file = tmp_path / "rate"
    rate = model_server.Rate(file, 5)
    assert rate.now() == 5
    file.write_text("7\n")
    assert rate.now() == 7
    file.write_text("fast")
    assert rate.now() == 5


def test_the_brake(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr(model_server.time, "sleep", slept.append)
    target = io.BytesIO()
    model_server.copy(io.BytesIO(b"x" * 1000), target, 600, model_server.Rate(None, 1000))
    assert target.getvalue() == b"x" * 600
    assert sum(slept) == pytest.approx(0.6)
    assert len(slept) == 6  # a tenth of a second at a time
    slept.clear()
    model_server.copy(io.BytesIO(b"x" * 1000), io.BytesIO(), 1000, model_server.Rate(None, 0))
    assert slept == []


@pytest.fixture
def server(folder: Path) -> Iterator[str]:
    httpd = ThreadingHTTPServer(
        ("127.0.0.1", 0), model_server.handler(folder, model_server.Rate(None, 0), "10.0.2.3")
    )
    threading.Thread(target=httpd.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{httpd.server_port}"
    httpd.shutdown()
    httpd.server_close()


class NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *args: object, **kwargs: object) -> None:
        return None


def ask(url: str, method: str = "GET", **headers: str) -> tuple[int, dict[str, str], bytes]:
    opener = urllib.request.build_opener(NoRedirect, urllib.request.ProxyHandler({}))
    request = urllib.request.Request(url, method=method, headers=headers)
    try:
        with opener.open(request, timeout=5) as answer:
            return answer.status, dict(answer.headers), answer.read()
    except urllib.error.HTTPError as error:
        return error.code, dict(error.headers), error.read()


def test_the_protocol_of_a_pull(server: str, folder: Path) -> None:
    model = models.MODELS[0]
    status, headers, body = ask(f"{server}/v2/library/{model.name}/manifests/{model.tag}")
    assert (status, headers["Content-Type"], body) == (
        200,
        model_server.MANIFEST_TYPE,
        manifest_of(folder, model),
    )
    digest = json.loads(body)["layers"][0]["digest"]
    status, headers, body = ask(f"{server}/v2/library/{model.name}/blobs/{digest}", "HEAD")
    assert (status, headers["Content-Length"], body) == (200, str(len(GGUF)), b"")
    # Ollama 0.4.7 takes nothing but a redirect to another host
    status, headers, _ = ask(f"{server}/v2/library/{model.name}/blobs/{digest}")
    path = f"/content/sha256/{digest.removeprefix('sha256:')}"
    assert (status, headers["Location"]) == (307, f"https://10.0.2.3{path}")
    status, headers, body = ask(server + path, Range="bytes=5-10")
    assert (status, body) == (206, GGUF[5:11])
    assert headers["Content-Range"] == f"bytes 5-10/{len(GGUF)}"
    assert ask(server + path, Range="bytes=999-")[0] == 416
    assert ask(server + path)[::2] == (200, GGUF)


@pytest.mark.parametrize(
    "path",
    [
        "/v2/library/nosuch/manifests/latest", "/v2/library/qwen2.5/manifests/latest", "/v2/library/../manifests/x",
        f"/v2/library/qwen2.5/blobs/sha256:{'0' * 64}", "/content/sha256/../../manifests", "/",
    ],
)  # fmt: skip
def test_what_is_not_there(server: str, path: str) -> None:
    if "blobs" in path:
        path = path.replace("/v2/library/qwen2.5/blobs/sha256:", "/content/sha256/")
    assert ask(server + path)[0] == 404
