"""Asking registries what tags mean: whom, and the script that runs on the host, against a registry on loopback."""

from __future__ import annotations

import hashlib
import json
import platform
import subprocess
from typing import Any

from difyfleet.facts.registry import Answer, RegistryAnswers, image_places, model_places
from tests.unit.facts.test_mirrors import serving

MIRROR = "https://m.example"
HUB = "https://registry-1.docker.io"


def test_places_of_images() -> None:
    hub = f"{HUB}/v2/library/nginx/manifests/1.27.3"
    assert image_places("nginx:1.27.3") == [{"manifest": hub}]
    assert image_places("docker.io/library/nginx:1.27.3") == [{"manifest": hub}]
    assert image_places("ollama/ollama", [f"{MIRROR}/", "http://b.example/hub"]) == [
        {"manifest": f"{MIRROR}/v2/ollama/ollama/manifests/latest", "timeout": 4.0},
        {"manifest": "http://b.example/hub/v2/ollama/ollama/manifests/latest", "timeout": 4.0},
        {"manifest": f"{HUB}/v2/ollama/ollama/manifests/latest"},
    ]
    ghcr = "https://ghcr.io/v2/open-webui/open-webui/manifests/0.4.7"
    assert image_places("ghcr.io/open-webui/open-webui:0.4.7", [MIRROR]) == [{"manifest": ghcr}]
    digest = "sha256:" + "1" * 64
    assert image_places(f"r.example:5000/a/b:3@{digest}") == [
        {"manifest": f"https://r.example:5000/v2/a/b/manifests/{digest}"}
    ]
    assert image_places("r.example:5000/a:3", insecure=["r.example:5000"]) == [
        {"manifest": "https://r.example:5000/v2/a/manifests/3", "insecure": True},
        {"manifest": "http://r.example:5000/v2/a/manifests/3", "insecure": True},
    ]


def test_places_of_models() -> None:
    def address(name: str) -> str:
        [place] = model_places(name)
        return str(place["manifest"])

    assert address("qwen2.5:7b") == "https://registry.ollama.ai/v2/library/qwen2.5/manifests/7b"
    assert address("me/mine:latest") == "https://registry.ollama.ai/v2/me/mine/manifests/latest"
    assert address("hf-mirror.com/a/b:Q4") == "https://hf-mirror.com/v2/a/b/manifests/Q4"


def sha(text: str) -> str:
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


LAYERS = [{"digest": "sha256:" + "1" * 64, "size": 70}, {"digest": "sha256:" + "2" * 64, "size": 7}]
MANIFEST = json.dumps({"config": {"digest": "sha256:" + "c" * 64, "size": 5}, "layers": LAYERS})
BLOBS = {"sha256:" + "c" * 64: 5, "sha256:" + "1" * 64: 70, "sha256:" + "2" * 64: 7}
ARCHITECTURE = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
JSON = {"Content-Type": "application/json"}


def index(architecture: str) -> str:
    here = {"digest": sha(MANIFEST), "platform": {"os": "linux", "architecture": architecture}}
    proof = {"digest": sha("x"), "platform": {"os": "unknown", "architecture": "unknown"}}
    return json.dumps({"manifests": [proof, here]})


def answers(*questions: tuple[tuple[str, str], list[dict[str, Any]]]) -> dict[tuple[str, str], Answer]:
    command = RegistryAnswers().command(questions=questions)
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, timeout=30, check=True)
    return RegistryAnswers().process(done.stdout.split("\n")[:-1])


def answer(table: Any, asked: str = "1.27.3") -> Answer:
    with serving(table) as url:
        places = [{"manifest": f"{url}/v2/library/nginx/manifests/{asked}", "timeout": 2}]
        return answers((("image", "nginx"), places))["image", "nginx"]


def path(what: str) -> str:
    return f"/v2/library/nginx/manifests/{what}"


def test_an_image_of_one_platform() -> None:
    found = answer({path("1.27.3"): (200, JSON, MANIFEST)})
    assert (found.digest, found.config, found.blobs) == (sha(MANIFEST), "sha256:" + "c" * 64, BLOBS)
    assert found.error is None


def test_an_index_is_followed_to_this_machines_platform() -> None:
    text = index(ARCHITECTURE)
    found = answer({path("1.27.3"): (200, JSON, text), path(sha(MANIFEST)): (200, JSON, MANIFEST)})
    assert (found.digest, found.config, found.blobs) == (sha(text), "sha256:" + "c" * 64, BLOBS)


def test_a_registry_that_wants_a_token() -> None:
    def table(request: Any) -> tuple[int, dict[str, str], str]:
        host = request.headers["Host"]
        if request.path.startswith("/token"):
            assert request.path == "/token?scope=repository%3Alibrary%2Fnginx%3Apull&service=r"
            return 200, JSON, '{"token": "t"}'
        if request.headers.get("Authorization") != "Bearer t":
            return 401, {"Www-Authenticate": f'Bearer realm="http://{host}/token",service="r"'}, "{}"
        return 200, JSON, MANIFEST

    assert answer(table).digest == sha(MANIFEST)


def test_what_is_no_answer() -> None:
    other = "answers with another content than asked for"
    cases: dict[str, tuple[Any, str]] = {
        "none": ((404, JSON, "{}"), "does not have it"),
        "limit": ((429, JSON, "{}"), "HTTP 429"),
        "page": ((200, {"Content-Type": "text/html"}, "<html>"), "a web page, not a registry"),
        "empty": ((200, JSON, "{}"), "answers, but with no manifest"),
        "foreign": ((200, JSON, index("riscv64")), f"has it, but not for linux/{ARCHITECTURE}"),
        sha("x"): ((200, JSON, MANIFEST), other),
        "forged": ((200, JSON, index(ARCHITECTURE)), other),
        "login": ((401, {"Www-Authenticate": "Bearer x"}, "{}"), "wants a login"),
    }
    table = {path(name): served for name, (served, _) in cases.items()}
    with serving({**table, path(sha(MANIFEST)): (200, JSON, "{}")}) as url:
        found = answers(
            *((("image", name), [{"manifest": url + path(name), "timeout": 2}]) for name in cases)
        )
    words = {name: str(one.error).partition(": ")[2] for (_, name), one in found.items()}
    assert words == {name: said for name, (_, said) in cases.items()}


def test_the_next_place_is_asked_and_all_are_named() -> None:
    with serving({}) as empty, serving({path("1.27.3"): (200, JSON, MANIFEST)}) as full:
        places = [{"manifest": url + path("1.27.3"), "timeout": 2} for url in (empty, full)]
        both = answers((("image", "a"), places), (("image", "b"), places[:1]), (("engine", "1"), []))
        assert both["image", "a"].place == full.removeprefix("http://")
        assert both["image", "b"].error == f"{empty.removeprefix('http://')}: does not have it"
        assert both["engine", "1"].error == "nobody to ask"


def test_a_file_is_hashed() -> None:
    with serving({"/docker.tgz": (200, {}, "content")}) as url:
        found = answers((("engine", "28.5.2"), [{"file": f"{url}/docker.tgz"}]))["engine", "28.5.2"]
        gone = answers((("engine", "1"), [{"file": f"{url}/none.tgz"}]))["engine", "1"]
    assert (found.digest, found.config) == (sha("content"), None)
    assert "404" in str(gone.error)
