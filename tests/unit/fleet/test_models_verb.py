"""fleet.models_verb: what each verb reads, changes and refuses."""

from __future__ import annotations

from typing import Any

import pytest

from difyfleet.clients.ollama import ModelNotFound, RunningModel, Unreachable
from difyfleet.errors import HostError
from difyfleet.facts.ollama import Blob, Store, StoredModel
from difyfleet.fleet import models_verb
from difyfleet.spec.models import Admin, HostSpec, Model, Ollama
from difyfleet.spec.values import model_name

DIGEST = "9647e24d036a" + "0" * 52
GOOD = Blob("sha256:" + "a" * 64, 98_000_000, "ok", 98_000_000)
CUT = Blob("sha256:" + "b" * 64, 98_000_000, "size", 7)
SPEC = HostSpec(
    name="llm",
    address="10.0.0.1",
    admin=Admin(email="a@example.com"),
    ollama=Ollama(models=[Model(name="qwen2.5:7b", digest="9647e24d036a"), "llama3.2"]),
)


def model(name: str, *blobs: Blob) -> tuple[str, StoredModel]:
    return name, StoredModel(name, DIGEST, f"/opt/ollama/models/manifests/{name}", blobs)


class Host:
    """A host with this store."""

    name = "llm"

    def __init__(self, *models: tuple[str, StoredModel]) -> None:
        self.store = Store(dict(models))
        self.data: dict[str, Any] = {"_sudo": True}
        self.asked: list[dict[str, Any]] = []

    def get_fact(self, fact: type, **arguments: Any) -> Store:
        self.asked.append(arguments)
        return self.store


class Client:
    """A server with qwen2.5:7b in memory."""

    def __init__(self, reachable: bool = True) -> None:
        self.reachable, self.done = reachable, list[str]()

    def ps(self) -> list[RunningModel]:
        if not self.reachable:
            raise Unreachable("nothing answers")
        return [RunningModel("qwen2.5:7b", DIGEST, 1, 0, "")]

    def stop(self, name: str) -> None:
        self.done.append(f"stop {name}")

    def delete(self, name: str) -> None:
        if name == "gone:latest":
            raise ModelNotFound(f"model '{name}' not found", 404)
        self.done.append(f"delete {name}")


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> Client:
    made = Client()
    monkeypatch.setattr(models_verb, "_client", lambda on, spec: made)
    return made


@pytest.mark.parametrize(
    ("given", "full"),
    [
        ("llama3.2", "llama3.2:latest"),
        ("qwen2.5:7b", "qwen2.5:7b"),
        ("registry.site:5000/a/b", "registry.site:5000/a/b:latest"),
    ],
)
def test_no_tag_means_latest(given: str, full: str) -> None:
    assert model_name(given) == full


@pytest.mark.usefixtures("client")
def test_rows_tell_declared_verified_and_loaded_and_name_what_is_absent() -> None:
    rows = models_verb.rows(Host(model("qwen2.5:7b", GOOD), model("old:latest", CUT)), SPEC)
    seen = [(row.name, row.declared, row.faults, row.loaded) for row in rows]
    cut = "model old:latest: blob bbbbbbbbbbbb: 7 bytes, its manifest says 98000000"
    assert seen == [
        ("old:latest", False, (cut,), False),
        ("qwen2.5:7b", True, (), True),
        ("llama3.2:latest", True, ("model llama3.2:latest: absent",), None),
    ]
    assert rows[1].to_json()["id"] == "9647e24d036a"


def test_rows_come_from_disk_although_the_server_is_down(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models_verb, "_client", lambda on, spec: Client(reachable=False))
    assert models_verb.rows(Host(model("qwen2.5:7b", GOOD)), SPEC)[0].loaded is None


@pytest.mark.usefixtures("client")
def test_deep_asks_for_every_hash() -> None:
    host = Host()
    models_verb.rows(host, SPEC, deep=True)
    assert host.asked[0]["deep"] is True


def test_rm_refuses_a_declared_model(client: Client) -> None:
    with pytest.raises(HostError, match="declared by the inventory"):
        models_verb.remove(Host(), SPEC, "llama3.2")
    assert client.done == []


def test_rm_force_and_rm_of_others(client: Client) -> None:
    models_verb.remove(Host(), SPEC, "llama3.2", force=True)
    models_verb.remove(Host(), SPEC, "old")
    assert client.done == ["delete llama3.2:latest", "delete old:latest"]


@pytest.mark.usefixtures("client")
def test_rm_of_an_unknown_model_says_so() -> None:
    with pytest.raises(HostError, match="not found"):
        models_verb.remove(Host(), SPEC, "gone")


def test_stop_only_asks_for_what_is_loaded(client: Client) -> None:
    assert models_verb.stop(Host(), SPEC, "llama3.2") == "llama3.2:latest is not in memory"
    assert models_verb.stop(Host(), SPEC, "qwen2.5:7b") == "qwen2.5:7b unloaded"
    assert client.done == ["stop qwen2.5:7b"]
