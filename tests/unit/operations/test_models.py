"""operations.models: facts in, exact notes and commands out."""

from __future__ import annotations

from typing import Any

import pytest

from difyfleet.clients.ollama_pull import pull_argv
from difyfleet.errors import HostError
from difyfleet.facts.ollama import HASH_TIMEOUT, Blob, OllamaStore, Store, StoredModel
from difyfleet.operations import models
from difyfleet.operations.share_models import WantedModel
from difyfleet.remote.jobs import Job
from difyfleet.remote.neighbours import Neighbours
from difyfleet.spec.models import HostSpec
from tests.unit.fakehost import fact, fake_host, run_steps

BLOBS = (Blob("sha256:" + "a" * 64, 100, "ok", 100), Blob("sha256:" + "b" * 64, 7, "ok", 7))
DIGEST = "845dbda0ea48" + "0" * 52
RECORD = "python3 - record /opt/ollama/models /var/lib/difyfleet/ollama-verified.json"
ANSWERED = (
    f"python3 - answered /opt/ollama/models /var/lib/difyfleet/ollama-verified.json qwen2.5:7b {DIGEST}"
)
PULL = Job("model", "qwen2.5:7b", pull_argv("qwen2.5:7b"), 14400)
ASKED = "model qwen2.5:7b: has not answered since it was pulled"
STORE = fact(OllamaStore, data_dir="/opt/ollama", _timeout=HASH_TIMEOUT)


def store(*blobs: Blob, answered: bool = True, digest: str = DIGEST, error: str | None = None) -> Store:
    model = StoredModel("qwen2.5:7b", digest, "/opt/ollama/models/manifests/m", blobs, error)
    return Store({model.name: model}, (), {model.name: digest} if answered else {})


def steps(*stores: Store, **arguments: Any) -> tuple[list[str], list[str]]:
    """Notes and commands, the store being read anew each time; the last answer holds for all later looks."""
    with fake_host({STORE: None}) as host:
        left = list(stores)
        host.get_fact = lambda *_, **__: left.pop(0) if len(left) > 1 else left[0]  # type: ignore[method-assign]
        changes, commands = run_steps(models.model, "qwen2.5:7b", "/opt/ollama", **arguments)
    return [change.why for change in changes], commands


def bring(*remove: str, timeout: int = 14400) -> str:
    wanted = WantedModel("qwen2.5:7b", "/opt/ollama", None, timeout)
    return f"FunctionCommand(bring, ({wanted!r}, {list(remove)}), {{}})"


def test_whole_and_answered_model_is_left_alone() -> None:
    assert steps(store(*BLOBS), digest="845dbda0ea48") == ([], [])


def test_absent_model_is_pulled_recorded_and_asked_once() -> None:
    notes, commands = steps(Store(), store(*BLOBS, answered=False), timeout=60)
    assert notes == ["model qwen2.5:7b: absent", "model qwen2.5:7b: has not answered since it was pulled"]
    assert commands == [
        bring(timeout=60),
        RECORD,
        "FunctionCommand(warm_up, ('qwen2.5:7b', 'http://127.0.0.1:11434'), {})",
        ANSWERED,
    ]


def test_truncated_blob_is_removed_before_the_pull_which_would_trust_its_name() -> None:
    cut = Blob("sha256:" + "a" * 64, 100, "size", 10)
    notes, commands = steps(store(cut, BLOBS[1]), store(*BLOBS))
    assert notes == ["model qwen2.5:7b: blob aaaaaaaaaaaa: 10 bytes, its manifest says 100", ASKED]
    path = f"/opt/ollama/models/blobs/sha256-{'a' * 64}"
    assert commands[:2] == [bring(path), RECORD]
    assert commands[2].startswith("FunctionCommand(warm_up")  # what is in memory may be the cut file


def test_blob_found_damaged_after_the_pull_is_pulled_again() -> None:
    bad = Blob("sha256:" + "a" * 64, 100, "hash", 100)
    notes, commands = steps(Store(), store(bad, BLOBS[1]), store(*BLOBS))
    assert notes[1] == "model qwen2.5:7b: blob aaaaaaaaaaaa: content does not match its SHA-256, after a pull"
    assert [command.split("(")[1].split(",")[0] for command in commands if "bring" in command] == [
        "bring",
        "bring",
    ]


def test_two_pulls_that_do_not_mend_it_are_an_error() -> None:
    bad = Blob("sha256:" + "a" * 64, 100, "hash", 100)
    with pytest.raises(HostError, match="still wrong after 2 pulls"):
        steps(store(bad))


def test_broken_manifest_is_removed_before_the_pull() -> None:
    _, commands = steps(store(error="ValueError: x"), store(*BLOBS))
    assert commands[0] == bring("/opt/ollama/models/manifests/m")


def test_another_digest_is_pulled_then_named_and_nothing_is_removed() -> None:
    with pytest.raises(HostError, match="nothing was removed") as caught:
        steps(store(*BLOBS), digest="a80c4f17acd5")
    assert DIGEST in str(caught.value)
    assert "a80c4f17acd5" in str(caught.value)
    assert "set ollama.models digest: 845dbda0ea48" in str(caught.value.hint)


def test_only_a_whole_model_of_another_digest_may_be_somebodys_own() -> None:
    cut = Blob("sha256:" + "a" * 64, 100, "size", 10)
    for found, loses in ((store(*BLOBS), True), (store(cut, BLOBS[1]), False), (Store(), False)):
        with fake_host({STORE: found}):
            first = next(models.model.steps("qwen2.5:7b", "/opt/ollama", digest="a80c4f17acd5"))  # type: ignore[attr-defined]
        assert first.loses_data is loses


def test_touched_blobs_are_recorded_again_without_a_pull() -> None:
    touched = Blob("sha256:" + "a" * 64, 100, "ok", 100, recorded=False)
    assert steps(store(touched)) == (
        ["model qwen2.5:7b: hashes are right, but blobs came or changed their times since they were proved"],
        [PULL.forget_command(), RECORD],
    )


def test_pulls_of_absent_models_begin_without_being_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("qwen2.5:7b", "llama3.2:latest")
    with fake_host({STORE: store(*BLOBS)}) as host:
        changes, commands = run_steps(models.begun, names, "/opt/ollama", 60)
        sent: list[str] = []
        monkeypatch.setattr(models, "execute", lambda on, script, **_: (sent.append(script) or True, ""))
        models.begin(host, names, 14400)
    assert [change.why for change in changes] == ["model llama3.2:latest: absent, its pull begins"]
    assert commands == ["FunctionCommand(begin, (('llama3.2:latest',), 60), {})"]
    assert len(sent) == 2
    assert sent[0] == PULL.start_command()
    with fake_host({STORE: store(*BLOBS)}):
        assert run_steps(models.begun, names[:1], "/opt/ollama") == ([], [])


@pytest.mark.parametrize(("hosts", "begins"), [(("fake",), 1), (("fake", "other"), 0)])
def test_a_host_with_neighbours_asks_them_first(hosts: tuple[str, ...], begins: int) -> None:
    spec = HostSpec.model_validate(
        {"name": "fake", "address": "192.0.2.1", "admin": {"email": "a@example.com"}}
    )
    with fake_host({STORE: Store()}, spec=spec, neighbours=Neighbours(hosts)):
        _, commands = run_steps(models.begun, ("qwen2.5:7b",), "/opt/ollama")
    assert len(commands) == begins


def test_warm_can_be_switched_off() -> None:
    assert steps(store(*BLOBS, answered=False), warm=False) == ([], [])


def test_only_declared() -> None:
    extra = StoredModel("old:latest", DIGEST, "/m", BLOBS)
    both = Store({**store(*BLOBS).models, "old:latest": extra})
    with fake_host({STORE: both}):
        changes, commands = run_steps(models.only_declared, ("qwen2.5:7b",), "/opt/ollama")
    assert [(change.why, change.loses_data) for change in changes] == [
        ("model old:latest: present but not declared, to be removed", True)
    ]
    assert commands == ["docker exec ollama ollama rm old:latest"]


@pytest.mark.parametrize(
    ("words", "tries"),
    [
        ("Error: pull model manifest: dial tcp: lookup registry.ollama.ai on 127.0.0.11:53: i/o timeout", 3),
        ("Error: max retries exceeded: unexpected EOF", 3),
        ("Error: pull model manifest: file does not exist", 1),
        ("Error: write /root/.ollama/models/blobs/x: no space left on device", 1),
    ],
)
def test_a_pull_that_the_network_failed_is_tried_three_times(
    words: str, tries: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []

    def fail(on: Any, job: Any, **_: Any) -> None:
        seen.append(job.subject)
        raise HostError(words, where="model qwen2.5:7b")

    monkeypatch.setattr(models, "run_to_end", fail)
    monkeypatch.setattr(models, "PAUSE_SECONDS", 0.0)
    with fake_host({}) as host, pytest.raises(HostError, match=words.split(": ")[-1]):
        models.pull(host, "qwen2.5:7b", 60, [])
    assert len(seen) == tries
