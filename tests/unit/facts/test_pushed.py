"""What was pushed, and what a host has of it already: a lab host's own answers."""

from __future__ import annotations

import subprocess
from pathlib import Path

from difyfleet.facts import pushed
from difyfleet.facts.pushed import Contents, Installed, InstalledParts, Pushed, PushedBundle, PushedImage

RECORDED = Path(__file__).with_name("recorded") / "installed_parts.txt"


def test_what_a_host_has() -> None:
    seen = InstalledParts().process(RECORDED.read_text().splitlines())
    assert seen.machine == "x86_64"
    assert not seen.containerd
    assert len(seen.ids) == len(seen.chains) == 2
    base = "sha256:7f0a37f927ed17b060550316cb71327111cbfb061e035e1dcf48cdaf52ee260f"
    assert [chain[0] for chain in seen.chains] == [base, base]
    weights = "sha256:b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
    assert seen.blobs[weights] == 98362432
    qwen = "manifests/registry.ollama.ai/library/qwen2.5/7b"
    assert seen.manifests[qwen].startswith("sha256:48be25d1aa27")
    assert seen.room["/var/lib/docker"].mount == "/var/lib/docker"
    assert seen.room["/var/lib/docker"].fs != seen.room["/opt/ollama/models"].fs


def test_a_host_with_nothing() -> None:
    assert InstalledParts().process(["##machine", "x86_64", "##images", "##blobs"]) == Installed("x86_64")
    assert PushedBundle().process(["##contents", "", "##there", "##begun"]) == Pushed()


def test_containerds_store_is_told_apart() -> None:
    driver = '[["driver-type","io.containerd.snapshotter.v1"]]'
    assert InstalledParts().process(["##images", "##driver", driver]).containerd


def test_the_store_as_it_lies_on_a_disk(tmp_path: Path) -> None:
    """The fact's own command, over a folder instead of the host's."""
    whole, half = "1" * 64, "2" * 64
    (tmp_path / "blobs" / "sha256").mkdir(parents=True)
    (tmp_path / "blobs" / "sha256" / whole).write_bytes(b"12345")
    (tmp_path / "partial").mkdir()
    (tmp_path / "partial" / half).write_bytes(b"12")
    image = PushedImage("a:1", "docker.io/library/a:1", f"sha256:{whole}", f"sha256:{half}", (), ())
    contents = Contents({"a:1": image}, {}, {}, {f"sha256:{whole}": 5, f"sha256:{half}": 4})
    (tmp_path / "contents.json").write_text(contents.to_text())
    command = PushedBundle().command().replace(pushed.STORE, str(tmp_path))
    said = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=True, timeout=60)
    seen = PushedBundle().process(said.stdout.splitlines())
    assert seen == Pushed(contents, {f"sha256:{whole}": 5}, {f"sha256:{half}": 2})
    assert seen.missing(image.digests) == (f"sha256:{half}",)
