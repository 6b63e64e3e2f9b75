"""The whole inside of a Dify: made once, found again, mended, and never doubled wherever a run is cut."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from difyfleet.clients.dify import Icon, OllamaModel, Settings
from difyfleet.content import state
from difyfleet.errors import HostError
from difyfleet.facts.dify_models import ModelAnswer, Reach
from difyfleet.facts.dify_state import REFUSED_PATH, STATE_PATH
from difyfleet.operations import dify_admin, dify_assistants, dify_knowledge, dify_models
from difyfleet.secrets import Secret
from difyfleet.spec.loader import load
from difyfleet.spec.models import HostSpec
from tests.unit.content.fakedify import Cut, Failed, FakeDify, FakeOn, good_reach, run

INVENTORY = """
    admin: {email: ops@example.com}
    hosts: {llm: 10.9.9.9}
    ollama: {models: ["qwen2.5:7b", nomic-embed-text]}
    knowledge:
      manuals:
        name: 手册
        documents: docs
    assistants:
      helper:
        name: 助手
        prompt: 只根据文档回答。
        parameters: {temperature: 0}
        knowledge: [manuals]
        golden: [{ask: 几点？, contains: "12", cites: bell.txt}]
    """


@pytest.fixture
def docs(tmp_path: Path) -> Path:
    folder = tmp_path / "docs"
    folder.mkdir()
    (folder / "bell.txt").write_text("钟在12点敲响。")
    (folder / "tower.md").write_text("# 灯塔\n建于1874年。")
    return folder


@pytest.fixture
def spec(tmp_path: Path, docs: Path) -> HostSpec:
    (tmp_path / "inv.yml").write_text(textwrap.dedent(INVENTORY), encoding="utf-8")
    return load(tmp_path / "inv.yml").hosts[0]


def everything(on: FakeOn, spec: HostSpec, *, executing: bool = True) -> list[str]:
    """The four roles, on a new connection."""
    on.connector_data.clear()
    on.server.session.logged_in = False
    said = run(on, dify_admin.password, spec, executing=executing)
    said += run(on, dify_admin.admin, spec, executing=executing)
    said += run(on, dify_models.providers, spec, executing=executing)
    said += run(on, dify_models.defaults, spec, executing=executing)
    for key in spec.knowledge:
        said += run(on, dify_knowledge.knowledge_base, spec, key, executing=executing)
        said += run(on, dify_knowledge.documents, spec, key, executing=executing)
    for key in spec.assistants:
        said += run(on, dify_assistants.assistant, spec, key, executing=executing)
        said += run(on, dify_assistants.api_key, spec, key, executing=executing)
    return said


@pytest.fixture
def on() -> FakeOn:
    return FakeOn(FakeDify())


@pytest.fixture
def made(on: FakeOn, spec: HostSpec) -> FakeOn:
    """A host with everything on it, and no changing call counted."""
    everything(on, spec)
    on.server.writes.clear()
    on.server.logins.clear()
    return on


def test_first_run(on: FakeOn, spec: HostSpec) -> None:
    everything(on, spec)
    server = on.server
    assert server.writes == [
        "setup",
        "model qwen2.5:7b",
        "model nomic-embed-text",
        "create 手册",
        "update 手册",
        "upload bell.txt",
        "upload tower.md",
        "add bell.txt, tower.md",
        "app 助手",
        "config",
        "key",
    ]
    dataset = server.datasets.find("手册")
    assert dataset is not None
    assert (dataset.indexing_technique, dataset.embedding_model, dataset.permission) == (
        "high_quality",
        "nomic-embed-text",
        "only_me",
    )
    settings = next(iter(server.apps_.values())).config.settings()  # type: ignore[union-attr]
    assert settings.citations is True
    assert settings.params == {"temperature": 0, "num_ctx": 4096}
    assert settings.datasets == (dataset.id,)
    state = json.loads(on.files[STATE_PATH])
    assert state["dimensions"] == {"nomic-embed-text": 768}
    assert sorted(state["knowledge"]["manuals"]["documents"]) == ["bell.txt", "tower.md"]
    key = server.keys_[next(iter(server.apps_))][0]
    assert on.files["/etc/difyfleet/secrets/dify_app_key_helper"] == key.token.reveal()


def test_a_plan_of_an_empty_dify_changes_nothing(on: FakeOn, spec: HostSpec) -> None:
    said = everything(on, spec, executing=False)
    assert said[:2] == [
        "/etc/difyfleet/secrets/dify_admin_password: absent, generated",
        "Dify admin ops@example.com: absent",
    ]
    assert all("known after apply" in why for why in said[2:])
    assert len(said) == 8
    assert (on.server.writes, on.scripts, on.server.logins) == ([], [], [])


def test_second_run_changes_nothing(made: FakeOn, spec: HostSpec) -> None:
    made.scripts.clear()
    assert everything(made, spec) == []
    assert (made.server.writes, made.scripts) == ([], [])
    assert len(made.server.logins) == 1, "one login per run"


def test_plan_says_what_apply_does(made: FakeOn, spec: HostSpec, docs: Path) -> None:
    (docs / "bell.txt").write_text("钟在13点敲响。")
    assert everything(made, spec, executing=False) == [
        "knowledge base 手册: document bell.txt: content changed"
    ]
    assert made.server.writes == []
    everything(made, spec)
    assert made.server.writes == ["upload bell.txt", "add bell.txt"]
    assert everything(made, spec, executing=False) == []


def test_a_removed_file_takes_only_its_document_along(made: FakeOn, spec: HostSpec, docs: Path) -> None:
    (docs / "tower.md").unlink()
    assert everything(made, spec) == [
        "knowledge base 手册: document tower.md: in Dify, not declared any more"
    ]
    assert made.server.writes == ["delete tower.md"]


def test_documents_of_others_stay(made: FakeOn, spec: HostSpec) -> None:
    server = made.server
    dataset = next(iter(server.sets))
    upload = server.files.upload("foreign.txt", b"x")
    server.documents.add(dataset, [upload.id], None)  # type: ignore[arg-type]
    assert everything(made, spec, executing=False) == []


CONFIG = {
    "prompt": ({"prompt": "Sei kurz"}, "assistant 助手: prompt Sei kurz, wanted 只根据文档回答。"),
    "model": ({"model": "llama3.2"}, "assistant 助手: model llama3.2, wanted qwen2.5:7b"),
    "temperature": (
        {"params": {"temperature": 0.9, "num_ctx": 4096}},
        "assistant 助手: parameter temperature 0.9, wanted 0.0",
    ),
    "citations": ({"citations": False}, "assistant 助手: citation switch off, wanted on"),
    "detached": ({"datasets": []}, 'assistant 助手: knowledge bases [], wanted ["手册"]'),
}


@pytest.mark.parametrize(("edit", "said"), CONFIG.values(), ids=CONFIG)
def test_an_edited_configuration_is_found_and_mended(
    made: FakeOn, spec: HostSpec, edit: dict[str, object], said: str
) -> None:
    server = made.server
    identity, app = next(iter(server.apps_.items()))
    assert app.config is not None
    server.apps_[identity] = replace(app, config=app.config.change(Settings(**edit)))  # type: ignore[arg-type]
    assert everything(made, spec, executing=False) == [said]
    assert server.writes == []
    everything(made, spec)
    assert server.writes == ["config"]
    assert everything(made, spec, executing=False) == []


def _change_app(**fields: object) -> Callable[[FakeDify], None]:
    def edit(server: FakeDify) -> None:
        identity = next(iter(server.apps_))
        server.apps_[identity] = replace(server.apps_[identity], **fields)

    return edit


def _remove_document(server: FakeDify) -> None:
    documents = next(iter(server.docs.values()))
    del documents[next(each.id for each in documents.values() if each.name == "bell.txt")]


def _change_document(**fields: object) -> Callable[[FakeDify], None]:
    def edit(server: FakeDify) -> None:
        documents = next(iter(server.docs.values()))
        found = next(each for each in documents.values() if each.name == "bell.txt")
        documents[found.id] = replace(found, **fields)

    return edit


def _change_model(server: FakeDify) -> None:
    server.stored["qwen2.5:7b", "llm"] = OllamaModel("qwen2.5:7b", "llm", "http://else:11434", 2048)


EDITS: dict[str, tuple[Callable[[FakeDify], None], str, list[str]]] = {
    "document deleted": (
        _remove_document,
        "knowledge base 手册: document bell.txt: absent",
        ["upload bell.txt", "add bell.txt"],
    ),
    "document replaced": (
        _change_document(file_id="11111111-0000-0000-0000-000000000000"),
        "knowledge base 手册: document bell.txt: replaced in Dify by another upload",
        ["upload bell.txt", "add bell.txt"],
    ),
    "document segmented anew": (
        _change_document(rule_id="22222222-0000-0000-0000-000000000000"),
        "knowledge base 手册: document bell.txt: segmented anew in Dify",
        ["upload bell.txt", "add bell.txt"],
    ),
    "document switched off": (
        _change_document(enabled=False),
        "knowledge base 手册: document bell.txt: switched off in Dify",
        ["enable bell.txt"],
    ),
    "document renamed": (
        _change_document(name="glocke.txt"),
        "knowledge base 手册: document bell.txt: named glocke.txt in Dify",
        ["rename bell.txt"],
    ),
    "document archived": (
        _change_document(archived=True),
        "knowledge base 手册: document bell.txt: archived in Dify",
        ["delete bell.txt", "upload bell.txt", "add bell.txt"],
    ),
    "document failed": (
        _change_document(indexing_status="error", error="no connection"),
        "knowledge base 手册: document bell.txt: error no connection",
        ["upload bell.txt", "add bell.txt"],
    ),
    "document without text": (
        _change_document(word_count=0),
        "knowledge base 手册: document bell.txt: indexed without any text in it",
        ["upload bell.txt", "add bell.txt"],
    ),
    "document still indexing": (
        _change_document(indexing_status="indexing"),
        "knowledge base 手册: document bell.txt: indexing, not indexed yet",
        [],
    ),
    "key removed": (
        lambda server: server.keys_[next(iter(server.apps_))].clear(),
        "API key of assistant 助手: removed in Dify",
        ["key"],
    ),
    "another default model": (
        lambda server: server.default_models.update({"llm": ("ollama", "llama3.2")}),
        "default llm model: ollama llama3.2, wanted ollama qwen2.5:7b",
        ["defaults {'llm': 'qwen2.5:7b'}"],
    ),
    "model removed": (
        lambda server: server.stored.pop(("nomic-embed-text", "text-embedding")) and None,
        "model nomic-embed-text (text-embedding): absent",
        ["model nomic-embed-text"],
    ),
    "model changed": (
        _change_model,
        "model qwen2.5:7b (llm): base_url 'http://else:11434', wanted 'http://ollama:11434'",
        ["model qwen2.5:7b"],
    ),
    "web page off": (
        _change_app(enable_site=False),
        "assistant 助手: web page off, wanted on",
        ["site True"],
    ),
    "service API off": (
        _change_app(enable_api=False),
        "assistant 助手: service API off, wanted on",
        ["api True"],
    ),
    "renamed": (_change_app(name="Anders"), "assistant 助手: name Anders, wanted 助手", ["about 助手"]),
}


@pytest.mark.parametrize(("edit", "said", "writes"), EDITS.values(), ids=EDITS)
def test_an_edit_is_found_and_mended(
    made: FakeOn, spec: HostSpec, edit: Callable[[FakeDify], None], said: str, writes: list[str]
) -> None:
    edit(made.server)
    assert said in everything(made, spec, executing=False)
    assert made.server.writes == []
    everything(made, spec)
    assert made.server.writes == writes
    assert everything(made, spec, executing=False) == []


def test_a_half_started_dify_is_known_after_apply_and_not_the_end_of_the_plan(
    made: FakeOn, spec: HostSpec
) -> None:
    """A run cut between the new Redis and the new api leaves a server that answers and cannot log anybody in."""
    made.server.session.crashes = True
    planned = everything(made, spec, executing=False)
    assert len(planned) == 7
    assert all("known after apply" in why for why in planned)
    made.server.session.crashes = False
    assert everything(made, spec) == []


def test_an_icon_that_is_not_declared_is_left_alone(made: FakeOn, spec: HostSpec) -> None:
    _change_app(icon=Icon("🚢", "#000000"))(made.server)
    assert everything(made, spec, executing=False) == []


def test_lost_state_is_found_again_by_name_and_hash(made: FakeOn, spec: HostSpec) -> None:
    del made.files[STATE_PATH]
    assert everything(made, spec) == []
    assert made.server.writes == []


def test_lost_state_and_a_silent_database_send_the_documents_again(made: FakeOn, spec: HostSpec) -> None:
    del made.files[STATE_PATH]
    made.database = False
    documents = set(next(iter(made.server.docs.values())))
    everything(made, spec)
    assert made.server.writes == ["upload bell.txt", "upload tower.md", "add bell.txt, tower.md"]
    assert set(next(iter(made.server.docs.values()))) == documents, "replaced in place"


def test_two_of_one_name_are_an_error_that_lists_both(made: FakeOn, spec: HostSpec) -> None:
    server = made.server
    del made.files[STATE_PATH]
    first = next(iter(server.apps_))
    second = server.apps.create("助手", "chat", "", None)
    with pytest.raises(HostError, match=f"{first}, {second}"):
        everything(made, spec, executing=False)


@pytest.mark.parametrize("cut_after", [False, True])
@pytest.mark.parametrize("number", range(1, 12))
def test_a_run_cut_at_any_call_leaves_nothing_double(
    on: FakeOn, spec: HostSpec, number: int, cut_after: bool
) -> None:
    server = on.server
    server.cut_at, server.cut_after = number, cut_after
    with pytest.raises(Cut):
        everything(on, spec)
    server.cut_at = None
    everything(on, spec)
    assert [app.name for app in server.apps_.values()] == ["助手"]
    assert [dataset.name for dataset in server.sets.values()] == ["手册"]
    assert sorted(each.name for each in next(iter(server.docs.values())).values()) == ["bell.txt", "tower.md"]
    assert [len(keys) for keys in server.keys_.values()] == [1]
    assert server.writes.count("setup") <= 2
    assert everything(on, spec) == []


def test_a_cut_at_any_model_loses_no_dimension(on: FakeOn, spec: HostSpec) -> None:
    """The run after it has no model left to do, so it would not look at vectors any more."""
    everything(FakeOn(FakeDify()), spec)
    last = len(spec.dify_models) + 1  # setup, then each model
    on.server.cut_at, on.server.cut_after = last, True
    with pytest.raises(Cut):
        everything(on, spec)
    on.server.cut_at = None
    everything(on, spec)
    assert json.loads(on.files[STATE_PATH])["dimensions"] == {"nomic-embed-text": 768}


def test_a_cut_before_any_state_is_written(
    on: FakeOn, spec: HostSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the n-th writing of the state file is about, the next run finds what was made."""
    from difyfleet.content import state

    save = state.save
    for number in range(1, 7):
        fresh = FakeOn(FakeDify())
        seen = [0]

        def cutting(host: object, what: object, seen: list[int] = seen, number: int = number) -> None:
            seen[0] += 1
            if seen[0] == number:
                raise Cut
            save(host, what)  # type: ignore[arg-type]

        monkeypatch.setattr(state, "save", cutting)
        with pytest.raises(Cut):
            everything(fresh, spec)
        monkeypatch.setattr(state, "save", save)
        everything(fresh, spec)
        assert len(fresh.server.apps_) == len(fresh.server.sets) == 1
        assert [len(keys) for keys in fresh.server.keys_.values()] == [1]
        assert everything(fresh, spec) == []


def test_a_wrong_password_is_tried_once_and_never_again(
    made: FakeOn, spec: HostSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    made.files["/etc/difyfleet/secrets/dify_admin_password"] = "another-Passw0rd"
    with pytest.raises(HostError, match="One try was made"):
        everything(made, spec, executing=False)
    assert len(made.server.logins) == 1
    assert "another-Passw0rd" not in made.files[REFUSED_PATH]
    for executing in (False, True, False):
        with pytest.raises((HostError, Failed), match="not tried again"):
            everything(made, spec, executing=executing)
    assert len(made.server.logins) == 1


def test_the_note_of_a_refused_password_goes_when_another_works(made: FakeOn, spec: HostSpec) -> None:
    path = "/etc/difyfleet/secrets/dify_admin_password"
    right, made.files[path] = made.files[path], "another-Passw0rd"
    with pytest.raises(HostError):
        everything(made, spec)
    made.files[path] = right
    assert everything(made, spec) == [f"{REFUSED_PATH}: the login works again"]
    assert REFUSED_PATH not in made.files
    assert everything(made, spec) == []


def test_the_init_password_is_given(on: FakeOn, spec: HostSpec) -> None:
    on.server.init_password = Secret("init-secret")
    on.files["/etc/difyfleet/secrets/dify_init_password"] = "init-secret"
    everything(on, spec)
    assert on.server.admin is not None


def test_another_init_password_is_an_error(on: FakeOn, spec: HostSpec) -> None:
    on.server.init_password = Secret("init-secret")
    on.files["/etc/difyfleet/secrets/dify_init_password"] = "old-secret"
    with pytest.raises(Failed, match="another INIT_PASSWORD"):
        everything(on, spec)
    assert on.server.admin is None


def test_an_admin_of_somebody_else_is_no_reason_for_a_new_password(on: FakeOn, spec: HostSpec) -> None:
    on.server.admin = ("boss@example.com", Secret("whatever-1"))
    with pytest.raises(HostError, match="known neither to the inventory nor to the host"):
        run(on, dify_admin.password, spec, executing=False)
    assert on.files == {}


def test_models_are_tried_from_inside_before_anything_is_stored(on: FakeOn, spec: HostSpec) -> None:
    seen = good_reach(())
    on.reach = {"api": seen["api"], "worker": Reach(error="URLError: [Errno -2] Name or service not known")}
    on.server.admin = ("ops@example.com", Secret("Passw0rd-1"))
    on.files["/etc/difyfleet/secrets/dify_admin_password"] = "Passw0rd-1"
    with pytest.raises(Failed, match="Ollama has no model"):
        run(on, dify_models.providers, spec)
    on.reach = {"api": Reach(("qwen2.5:7b", "nomic-embed-text:latest")), "worker": on.reach["worker"]}
    with pytest.raises(Failed, match=r"(?s)dify-worker-1.*not known.*the containers do not know the name"):
        run(on, dify_models.providers, spec)
    assert on.server.writes == []


def test_other_vectors_are_refused_while_old_ones_are_stored(made: FakeOn, spec: HostSpec) -> None:
    del made.server.stored["nomic-embed-text", "text-embedding"]
    tags = ("qwen2.5:7b", "nomic-embed-text:latest")
    reach = Reach(tags, None, {"nomic-embed-text": ModelAnswer(0.1, 1024, None)})
    made.reach = {"api": reach, "worker": reach}
    made.connector_data.clear()
    with pytest.raises(Failed, match="1024 numbers now, 768 before"):
        run(made, dify_models.providers, spec)
    assert made.server.writes == []


def test_a_document_that_cannot_be_indexed_is_named_with_the_servers_words(
    on: FakeOn, spec: HostSpec
) -> None:
    on.server.fail["bell.txt"] = "Connection to weaviate:8080 refused"
    with pytest.raises(
        Failed, match=r"(?s)1 document.*bell.txt: Connection to weaviate:8080 refused.*docker logs"
    ):
        everything(on, spec)
    on.server.fail.clear()
    on.server.writes.clear()
    said = everything(on, spec)
    assert said[0] == "knowledge base 手册: document bell.txt: error Connection to weaviate:8080 refused"
    assert on.server.writes[:2] == ["upload bell.txt", "add bell.txt"]


def test_another_technique_under_documents_is_refused(made: FakeOn, spec: HostSpec) -> None:
    identity = next(iter(made.server.sets))
    made.server.sets[identity] = replace(
        made.server.sets[identity], indexing_technique="economy", embedding_model=None
    )
    with pytest.raises(HostError, match=r"indexing_technique economy, wanted high_quality.*2 documents"):
        everything(made, spec, executing=False)


def test_the_state_is_read_again_when_the_run_has_taken_the_lease(made: FakeOn) -> None:
    made.connector_data.clear()
    made.connector = SimpleNamespace(lease=None)
    planned = state.load(made)
    assert state.load(made) is planned
    made.connector.lease = object()
    seen = state.load(made)
    assert seen is not planned
    assert state.load(made) is seen
