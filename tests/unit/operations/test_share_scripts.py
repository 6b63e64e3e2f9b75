"""The two programs that hand things over, really run, with a `docker` that only copies."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from difyfleet.operations import share_service

OPERATIONS = Path(share_service.__file__).parent
TOKEN = "t0ken"
DOCKER = """#!/bin/sh
case "$2" in
save) [ -f "$DEPOT/$3" ] || { echo no such image >&2; exit 1; }; cat "$DEPOT/$3"; [ ! -e "$DEPOT/broken" ] ;;
load) cat >"$DEPOT/loaded" ;;
esac
"""


class Hosts:
    """A giving host's folder and a taking host's."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder, self.port = folder, port
        self.gives, self.takes, self.depot = folder / "gives", folder / "takes", folder / "depot"
        self.environment = {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}", "DEPOT": str(self.depot)}

    def blob(self, content: bytes) -> dict[str, Any]:
        digest = hashlib.sha256(content).hexdigest()
        (self.gives / "blobs" / f"sha256-{digest}").write_bytes(content)
        return {"digest": f"sha256:{digest}", "size": len(content)}

    def manifest(self, content: bytes = b'{"layers": []}') -> dict[str, Any]:
        path = self.gives / "manifests" / "r" / "m" / "latest"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return {"path": "r/m/latest", "digest": hashlib.sha256(content).hexdigest()}

    def take(self, token: str = TOKEN, **order: Any) -> tuple[int, str]:
        where = self.folder / "order"
        where.mkdir()
        urls = ["http://127.0.0.1:1", f"http://127.0.0.1:{self.port}"]  # nobody listens on the first
        (where / "order.json").write_text(json.dumps({"urls": urls, "token": token, "size": 1, **order}))
        program = [sys.executable, str(OPERATIONS / "share_take_script.py"), str(where)]
        done = subprocess.run(
            program, env=self.environment, capture_output=True, text=True, timeout=120, check=False
        )
        assert not where.exists()
        return done.returncode, done.stderr.strip()

    def model(self, *blobs: dict[str, Any]) -> tuple[int, str]:
        return self.take(models=str(self.takes), manifest=self.manifest(), blobs=list(blobs))

    def taken(self) -> set[str]:
        return {str(path.relative_to(self.takes)) for path in self.takes.rglob("*") if path.is_file()}


@pytest.fixture
def hosts(tmp_path: Path) -> Iterator[Hosts]:
    service = tmp_path / "service"
    for folder in (service, tmp_path / "gives" / "blobs", tmp_path / "takes", tmp_path / "depot"):
        folder.mkdir(parents=True)
    (tmp_path / "docker").write_text(DOCKER)
    (tmp_path / "docker").chmod(0o755)
    config = {"token": TOKEN, "port": 19470, "idle": 120, "models": str(tmp_path / "gives")}
    (service / "config.json").write_text(json.dumps(config))
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "DEPOT": str(tmp_path / "depot")}
    server = subprocess.Popen(
        [sys.executable, str(OPERATIONS / "share_serve_script.py"), str(service)], env=environment
    )
    deadline = time.monotonic() + 60
    while not (service / "port").exists():
        assert server.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    yield Hosts(tmp_path, int((service / "port").read_text()))
    server.terminate()
    server.wait(30)


def test_a_model_comes_whole_with_its_manifest_last(hosts: Hosts) -> None:
    one, two = hosts.blob(os.urandom(3_000_000)), hosts.blob(b"small")
    assert hosts.model(one, two) == (0, "")
    names = {f"blobs/{blob['digest'].replace(':', '-')}" for blob in (one, two)}
    assert hosts.taken() == names | {"manifests/r/m/latest"}
    for name in hosts.taken():
        assert (hosts.takes / name).read_bytes() == (hosts.gives / name).read_bytes()
        assert (hosts.takes / name).stat().st_mode & 0o777 == 0o644


def test_what_came_before_a_cut_is_not_asked_for_again(hosts: Hosts) -> None:
    content = os.urandom(2_000_000)
    blob = hosts.blob(content)
    name = blob["digest"].replace(":", "-")
    staging = hosts.takes / ".difyfleet"
    staging.mkdir()
    (staging / f"{name}.part").write_bytes(content[:1_500_000])
    given = hosts.gives / "blobs" / name
    given.write_bytes(
        b"\0" * 1_500_000 + content[1_500_000:]
    )  # were the beginning asked for, the hash would be wrong
    assert hosts.model(blob) == (0, "")
    assert (hosts.takes / "blobs" / name).read_bytes() == content
    assert not staging.exists()


@pytest.mark.parametrize("position", [0, 77_777, 199_999])
def test_a_flipped_bit_never_gets_its_name(hosts: Hosts, position: int) -> None:
    content = os.urandom(200_000)
    blob = hosts.blob(content)
    name = blob["digest"].replace(":", "-")
    wrong = bytearray(content)
    wrong[position] ^= 1
    (hosts.gives / "blobs" / name).write_bytes(bytes(wrong))
    code, words = hosts.model(blob)
    assert (code, words) == (1, f"error: {blob['digest'][:19]} came with another content")
    assert hosts.taken() == set()
    assert not (hosts.takes / ".difyfleet").exists()


def test_a_damaged_blob_that_is_there_is_replaced(hosts: Hosts) -> None:
    blob = hosts.blob(b"right")
    target = hosts.takes / "blobs" / blob["digest"].replace(":", "-")
    target.parent.mkdir()
    target.write_bytes(b"wrong")
    assert hosts.model(blob) == (0, "")
    assert target.read_bytes() == b"right"


def test_an_image_goes_into_docker(hosts: Hosts) -> None:
    content = os.urandom(5_000_000)
    (hosts.depot / "nginx:1").write_bytes(content)
    assert hosts.take(image="nginx:1") == (0, "")
    assert (hosts.depot / "loaded").read_bytes() == content


def test_a_save_that_fails_half_way_does_not_look_whole(hosts: Hosts) -> None:
    (hosts.depot / "nginx:1").write_bytes(os.urandom(3_000_000))
    (hosts.depot / "broken").touch()
    code, words = hosts.take(image="nginx:1")
    assert code == 1
    assert words.startswith("error: cut off after")


def test_refusals(hosts: Hosts) -> None:
    assert hosts.take(image="nosuch:1") == (1, f"error: http://127.0.0.1:{hosts.port} answers 404")
    assert hosts.take(token="other", image="nginx:1") == (
        1,
        f"error: http://127.0.0.1:{hosts.port} answers 403",
    )
    (hosts.folder / "secret").write_text("x")
    for path in (
        "manifest/../../secret",
        "blob/../../secret",
        "manifest//etc/passwd",
        "image/-o",
        "",
        "other",
    ):
        request = urllib.request.Request(
            f"http://127.0.0.1:{hosts.port}/{path}", headers={"Authorization": f"Bearer {TOKEN}"}
        )
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(request, timeout=30)
        assert caught.value.code == 404


def test_nobody_there(hosts: Hosts) -> None:
    hosts.port = 2
    code, words = hosts.take(image="nginx:1")
    assert code == 1
    assert words.startswith("error: not reachable: http://127.0.0.1:1: ")
