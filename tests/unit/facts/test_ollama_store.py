"""The model store read from disk: the script runs for real on a store made here, small but in Ollama's layout."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from difyfleet.facts.ollama import (
    Blob,
    OllamaStore,
    Store,
    StoredModel,
    parse_store,
    run_script,
    store_script,
)
from difyfleet.facts.ollama_store_script import short_name


class Disk:
    """A model store in a temporary folder."""

    def __init__(self, root: Path) -> None:
        self.root = root / "models"
        self.record = root / "record.json"
        (self.root / "blobs").mkdir(parents=True)

    def blob(self, content: bytes) -> dict[str, object]:
        digest = hashlib.sha256(content).hexdigest()
        self.path(digest).write_bytes(content)
        return {
            "mediaType": "application/vnd.ollama.image.model",
            "digest": f"sha256:{digest}",
            "size": len(content),
        }

    def path(self, digest: str) -> Path:
        return self.root / "blobs" / f"sha256-{digest}"

    def model(self, relative: str, *contents: bytes) -> str:
        config, *layers = [self.blob(content) for content in contents]
        path = self.root / "manifests" / relative
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"schemaVersion": 2, "config": config, "layers": layers}))
        return hashlib.sha256(path.read_bytes()).hexdigest()

    def run(self, action: str, *more: str) -> str:
        command = ["sh", "-c", run_script(action, str(self.root), str(self.record), *more)]
        return subprocess.run(
            command, input=store_script(), text=True, capture_output=True, check=True
        ).stdout

    def read(self, *more: str) -> Store:
        return parse_store(self.run("report", *more))


QWEN = "registry.ollama.ai/library/qwen2.5/7b"
WEIGHTS = b"weights" * 1000


@pytest.fixture
def disk(tmp_path: Path) -> Disk:
    return Disk(tmp_path)


def test_whole_model_is_complete_and_its_digest_is_the_manifests(disk: Disk) -> None:
    digest = disk.model(QWEN, b"{}", WEIGHTS)
    model = disk.read().models["qwen2.5:7b"]
    assert (model.digest, model.complete, model.size, model.faults()) == (digest, True, 2 + len(WEIGHTS), [])


def test_reading_changes_nothing(disk: Disk) -> None:
    disk.model(QWEN, b"{}", WEIGHTS)
    disk.read()
    assert not disk.record.exists()


def test_missing_blob(disk: Disk) -> None:
    disk.model(QWEN, b"{}", WEIGHTS)
    digest = hashlib.sha256(WEIGHTS).hexdigest()
    disk.path(digest).unlink()
    model = disk.read().models["qwen2.5:7b"]
    assert model.faults() == [f"model qwen2.5:7b: blob {digest[:12]}: missing"]
    assert model.damaged_files("/opt/ollama") == []


def test_truncated_blob_is_found_by_size_even_when_recorded(disk: Disk) -> None:
    disk.model(QWEN, b"{}", WEIGHTS)
    disk.run("record")
    digest = hashlib.sha256(WEIGHTS).hexdigest()
    os.truncate(disk.path(digest), 10)
    model = disk.read().models["qwen2.5:7b"]
    assert model.faults() == [
        f"model qwen2.5:7b: blob {digest[:12]}: 10 bytes, its manifest says {len(WEIGHTS)}"
    ]
    assert model.damaged_files("/opt/ollama") == [f"/opt/ollama/models/blobs/sha256-{digest}"]


def test_flipped_bit_is_found_because_the_times_changed(disk: Disk) -> None:
    disk.model(QWEN, b"{}", WEIGHTS)
    disk.run("record")
    digest = hashlib.sha256(WEIGHTS).hexdigest()
    path = disk.path(digest)
    before = path.stat()
    path.write_bytes(b"W" + WEIGHTS[1:])
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))  # mtime put back: ctime still tells
    assert disk.read().models["qwen2.5:7b"].faults() == [
        f"model qwen2.5:7b: blob {digest[:12]}: content does not match its SHA-256"
    ]


def test_recorded_blob_is_not_hashed_again_unless_deep(disk: Disk) -> None:
    """A record that lies shows who looks: the quick read believes it, the deep one does not."""
    disk.model(QWEN, b"{}", WEIGHTS)
    digest = hashlib.sha256(WEIGHTS).hexdigest()
    disk.path(digest).write_bytes(b"W" + WEIGHTS[1:])
    info = disk.path(digest).stat()
    stamp = [info.st_size, info.st_mtime_ns, info.st_ctime_ns]
    disk.record.write_text(json.dumps({"blobs": {f"sha256-{digest}": stamp}, "answered": {}}))
    assert disk.read().models["qwen2.5:7b"].complete
    assert not disk.read("deep").models["qwen2.5:7b"].complete


def test_touched_blob_is_proved_again_and_known_as_not_recorded(disk: Disk) -> None:
    disk.model(QWEN, b"{}", WEIGHTS)
    disk.run("record")
    assert disk.read().models["qwen2.5:7b"].recorded
    os.utime(disk.path(hashlib.sha256(WEIGHTS).hexdigest()), (1, 1))
    model = disk.read().models["qwen2.5:7b"]
    assert (model.complete, model.recorded) == (True, False)


def test_record_never_holds_a_damaged_blob(disk: Disk) -> None:
    disk.model(QWEN, b"{}", WEIGHTS)
    digest = hashlib.sha256(WEIGHTS).hexdigest()
    disk.path(digest).write_bytes(b"W" + WEIGHTS[1:])
    disk.run("record")
    assert f"sha256-{digest}" not in json.loads(disk.record.read_text())["blobs"]
    assert (disk.record.stat().st_mode & 0o777) == 0o600


def test_answers_are_kept_while_the_manifest_stays(disk: Disk) -> None:
    digest = disk.model(QWEN, b"{}", WEIGHTS)
    disk.run("record")
    disk.run("answered", "qwen2.5:7b", digest)
    disk.run("record")
    assert disk.read().answered == {"qwen2.5:7b": digest}
    disk.model(QWEN, b"{ }", WEIGHTS)
    disk.run("record")
    assert disk.read().answered == {}


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"config": {}}', '{"config": {"digest": "sha256:00"}, "layers": []}']
)
def test_broken_manifest_is_a_fault_of_that_model_only(disk: Disk, text: str) -> None:
    disk.model(QWEN, b"{}", WEIGHTS)
    disk.model("registry.ollama.ai/library/llama3.2/latest", b"{}", WEIGHTS)
    path = disk.root / "manifests" / QWEN
    path.write_text(text)
    models = disk.read().models
    assert models["llama3.2:latest"].complete
    assert "its manifest cannot be read" in models["qwen2.5:7b"].faults()[0]
    assert models["qwen2.5:7b"].damaged_files("/opt/ollama") == [str(path)]


def test_strays_are_blobs_that_no_manifest_names(disk: Disk) -> None:
    disk.model(QWEN, b"{}", WEIGHTS)
    (disk.root / "blobs" / "sha256-aa-partial-0").write_text("{}")
    assert disk.read().strays == ("sha256-aa-partial-0",)


def test_no_store_at_all(tmp_path: Path) -> None:
    command = OllamaStore().command(data_dir=str(tmp_path / "nothing"))
    said = subprocess.run(["sh", "-c", command], text=True, capture_output=True, check=True).stdout
    assert OllamaStore().process(said.splitlines()) == Store()


def test_host_without_python() -> None:
    command = OllamaStore().command(data_dir="/opt/ollama").replace("python3", "no-such-python")
    done = subprocess.run(["sh", "-c", command], text=True, capture_output=True, check=True)
    assert (done.stdout, done.returncode) == ("", 0)


def test_script_runs_on_old_python_syntax() -> None:
    """openEuler 22.03 has Python 3.9; nothing newer may slip in."""
    compile(store_script(), "script", "exec", flags=0, dont_inherit=True)
    code = "import ast,sys; ast.parse(sys.stdin.read(), feature_version=(3, 7))"
    subprocess.run([sys.executable, "-c", code], input=store_script(), text=True, check=True)


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("registry.ollama.ai/library/qwen2.5/7b", "qwen2.5:7b"),
        ("registry.ollama.ai/someone/model/latest", "someone/model:latest"),
        ("hf.co/org/repo-GGUF/Q4_K_M", "hf.co/org/repo-GGUF:Q4_K_M"),
    ],
)
def test_short_names_as_ollama_list_prints_them(path: str, name: str) -> None:
    assert short_name(path) == name


def test_declared_digest_is_a_prefix() -> None:
    blob = Blob("sha256:" + "0" * 64, 1, "ok", 1)
    model = StoredModel("m:latest", "845dbda0ea48" + "0" * 52, "/m", (blob,))
    assert model.faults("845dbda0ea48") == []
    assert model.faults("a80c4f17acd5") == ["model m:latest: digest 845dbda0ea48, declared a80c4f17acd5"]
