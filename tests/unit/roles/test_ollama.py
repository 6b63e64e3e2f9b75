"""roles.ollama: what the container is made of, and what its checks say."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from difyfleet.clients.ollama import OllamaClient, OllamaError
from difyfleet.facts.ollama import Blob, Store, StoredModel
from difyfleet.spec.models import Admin, HostSpec, Model, Ollama
from roles import ollama


def spec(**section: Any) -> HostSpec:
    return HostSpec(
        name="llm", address="10.0.0.1", admin=Admin(email="a@example.com"), ollama=Ollama(**section)
    )


def service(**section: Any) -> dict[str, Any]:
    loaded = yaml.safe_load(ollama.compose_project(spec(**section)).text)
    found: dict[str, Any] = loaded["services"]["ollama"]
    return found


def test_default_container_is_private_restarted_and_hardened() -> None:
    container = service()
    assert container["image"] == "ollama/ollama:0.4.7"
    assert container["pull_policy"] == "never"
    assert container["restart"] == "always"
    assert container["ports"] == [{"host_ip": "127.0.0.1", "published": "11434", "target": 11434}]
    assert container["cap_drop"] == ["ALL"]
    assert container["security_opt"] == ["no-new-privileges:true"]
    assert container["networks"] == {"stack": {"aliases": ["ollama"]}}
    assert container["healthcheck"]["test"] == ["CMD", "ollama", "list"]
    assert container["logging"]["options"] == {"max-size": "20m", "max-file": "5"}
    assert container["volumes"] == [{"type": "bind", "source": "/opt/ollama", "target": "/root/.ollama"}]
    assert not {"mem_limit", "deploy", "privileged", "network_mode"} & set(container)


def test_environment_says_only_what_is_set() -> None:
    assert service()["environment"] == {
        "OLLAMA_HOST": "0.0.0.0:11434",
        "OLLAMA_KEEP_ALIVE": "30m",
        "OLLAMA_NOPRUNE": "1",
    }


def test_environment_of_the_inventory() -> None:
    wanted = service(
        keep_alive="-1", num_parallel=2, max_loaded_models=3, env={"HTTPS_PROXY": "http://p:3128"}
    )
    assert wanted["environment"] == {
        "OLLAMA_HOST": "0.0.0.0:11434",
        "OLLAMA_KEEP_ALIVE": "-1",
        "OLLAMA_NOPRUNE": "1",
        "OLLAMA_NUM_PARALLEL": "2",
        "OLLAMA_MAX_LOADED_MODELS": "3",
        "HTTPS_PROXY": "http://p:3128",
    }


def test_dollar_in_a_value_is_not_interpolated_by_compose() -> None:
    assert service(env={"X": "a$b"})["environment"]["X"] == "a$$b"


def test_limits_and_gpus() -> None:
    container = service(memory_mib=4096, gpus=True)
    assert container["mem_limit"] == "4096m"
    assert container["deploy"]["resources"]["reservations"]["devices"][0]["capabilities"] == ["gpu"]


def test_stamp_changes_with_what_the_container_is_made_of() -> None:
    stamps = {
        service(**section)["labels"]["io.difyfleet.stamp"]
        for section in ({}, {"keep_alive": "5m"}, {"port": 11500}, {"image": "ollama/ollama:0.5.13"})
    }
    assert len(stamps) == 4
    assert all(len(stamp) == 32 for stamp in stamps)


@pytest.mark.parametrize(
    ("bind", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:11434"),
        ("0.0.0.0", "http://127.0.0.1:11434"),
        ("10.0.0.1", "http://10.0.0.1:11434"),
    ],
)
def test_local_url(bind: str, url: str) -> None:
    assert Ollama(bind=bind).local_url == url


class Version(OllamaClient):
    """A server of one version, or none."""

    def __init__(self, said: str | None) -> None:
        self.said = said

    def wait(self, seconds: float = 60.0) -> str:
        if self.said is None:
            raise OllamaError("nothing answers")
        return self.said


@pytest.mark.parametrize(
    ("said", "image", "ok"),
    [
        ("0.4.7", "ollama/ollama:0.4.7", True),
        ("0.4.7", "ollama/ollama:0.4.7-rocm", True),
        ("0.4.6", "ollama/ollama:0.4.7", False),
        ("0.4.7", "registry.site:5000/ollama:site", True),
        (None, "ollama/ollama:0.4.7", False),
    ],
)
def test_version_check(said: str | None, image: str, ok: bool) -> None:
    assert ollama.version_check(Version(said), image).ok is ok


def stored(state: str) -> Store:
    blob = Blob("sha256:" + "a" * 64, 2_000_000_000, state, 1)
    return Store(
        {"llama3.2:latest": StoredModel("llama3.2:latest", "a80c4f17acd5" + "0" * 52, "/m", (blob,))}
    )


def test_stored_check_shows_the_digest() -> None:
    check = ollama.stored_check(stored("ok"), Model(name="llama3.2:latest"))
    assert (check.ok, check.evidence) == (True, "digest a80c4f17acd5, 1 blobs, 2.0 GB")


@pytest.mark.parametrize("state", ["missing", "size", "hash"])
def test_stored_check_fails_on_any_damage(state: str) -> None:
    check = ollama.stored_check(stored(state), Model(name="llama3.2:latest"))
    assert not check.ok
    assert "blob aaaaaaaaaaaa" in check.evidence


def test_undeclared_models_are_shown_but_fail_nothing() -> None:
    checks = list(ollama.leftover_checks(stored("ok"), Ollama(models=["qwen2.5:7b"])))
    assert [(check.ok, check.warn_only) for check in checks] == [(False, True), (True, True)]
    assert "llama3.2:latest (2.0 GB)" in checks[0].evidence
