"""The lock file on a real host: registries and the host say the same, and what is not as locked is put right."""

from __future__ import annotations

import json

import pytest
import yaml

from tests.lab.conftest import LabHost

pytestmark = [pytest.mark.lab, pytest.mark.slow]

WEBUI, OLLAMA = "ghcr.io/open-webui/open-webui:0.4.7", "ollama/ollama:0.4.7"
MODEL = "nomic-embed-text:latest"


def image_id(host: LabHost, name: str) -> str:
    return host.sh(f"docker image inspect --format '{{{{.Id}}}}' {name}").strip()


def test_the_lock_file_from_a_fresh_host_to_a_mended_one(bare_host: LabHost) -> None:
    host = bare_host
    host.write_inventory(
        ollama={"models": ["nomic-embed-text"]},
        openwebui={"enabled": True},
        dify={"enabled": False, "models": None},
        knowledge=None,
        assistants=None,
    )
    path = host.inventory.with_name(f"{host.name}.lock.yml")

    # nothing is installed yet: the registries are asked, from the host
    first = host.difyfleet("lock", str(host.inventory))
    assert first.code == 0, first.err
    assert "registry.ollama.ai (asked by t-bare)" in first.out
    locked = yaml.safe_load(path.read_text())
    assert sorted(locked["images"]) == [WEBUI, OLLAMA]
    assert host.changing_commands() == []

    # over http an engine without a known hash is refused: from here on only the lock file knows it
    written = yaml.safe_load(host.inventory.read_text())
    del written["docker"]["bundle"]["sha256sums"]
    host.inventory.write_text(yaml.safe_dump(written, allow_unicode=True))
    applied = host.apply()
    assert applied.code == 0, applied.out + applied.err
    assert host.plan().code == 0
    assert image_id(host, OLLAMA) == locked["images"][OLLAMA]["id"]

    # a host that has it all says the same as the registries, byte for byte
    text = path.read_text()
    path.unlink()
    again = host.difyfleet("lock", str(host.inventory), "--installed")
    assert again.code == 0, again.err
    assert path.read_text() == text

    # the tag on another image and the right one gone; a model under a name that is not its own
    host.sh(f"docker rm -f open-webui; docker rmi {WEBUI} && docker tag {OLLAMA} {WEBUI}")
    host.sh(
        "docker exec ollama ollama pull llama3.2 && docker exec ollama ollama cp llama3.2 nomic-embed-text"
    )
    planned = host.plan()
    assert planned.code == 2
    said = "\n".join(planned.would_change)
    ollama, webui = (locked["images"][name]["id"][7:19] for name in (OLLAMA, WEBUI))
    assert (
        f"image {WEBUI}: the tag is on {ollama}, {webui} is locked; pulled by its digest and tagged" in said
    )
    assert f"declared {locked['models'][MODEL]['digest'][7:19]}" in said

    mended = host.apply()
    assert mended.code == 0, mended.out + mended.err
    assert image_id(host, WEBUI) == locked["images"][WEBUI]["id"]
    assert image_id(host, OLLAMA) == locked["images"][OLLAMA]["id"]
    assert host.plan().code == 0
    assert host.verify().code == 0

    # engine and Compose came from the locked files; were others locked, plan and drift would say so
    engine = json.loads(host.sh("cat /etc/difyfleet/engine.json"))
    docker = locked["docker"]
    assert docker["engine"] == {engine["version"]: f"sha256:{engine['archive_sha256']}"}
    assert docker["compose"] == {engine["compose_version"]: f"sha256:{engine['compose_sha256']}"}
    path.write_text(text.replace(engine["archive_sha256"], "0" * 64))
    assert any("installed from another archive" in why for why in host.plan().would_change)
    drift = host.difyfleet("drift", str(host.inventory), "--json")
    assert drift.code == 2
    assert "installed from another archive" in drift.out

    # --update ollama looks again what that group means, and touches no other
    for kind, name in (("images", OLLAMA), ("images", WEBUI), ("models", MODEL)):
        assert locked[kind][name]["digest"] in text
    stale = text
    for entry in (locked["images"][OLLAMA], locked["images"][WEBUI]):
        stale = stale.replace(entry["digest"], f"sha256:{'0' * 64}").replace(
            entry["id"], f"sha256:{'1' * 64}"
        )
    path.write_text(stale)
    moved = host.difyfleet("lock", str(host.inventory), "--update", "ollama", "--json")
    assert moved.code == 0, moved.err
    assert [(move["kind"], move["name"]) for move in moved.json["moves"]] == [("image", OLLAMA)]
    after = yaml.safe_load(path.read_text())
    assert after["images"][OLLAMA] == locked["images"][OLLAMA]
    assert after["images"][WEBUI] == yaml.safe_load(stale)["images"][WEBUI]
    path.write_text(text)
    assert host.plan().code == 0

    # a model that is declared and not locked: nothing is contacted
    host.inventory.write_text(host.inventory.read_text().replace("nomic-embed-text", "llama3.2"))
    refused = host.plan()
    assert refused.code == 64
    assert "model llama3.2:latest is not in the lock file; run: difyfleet lock" in refused.err
