"""Apps, their configuration, keys and DSL: the client against recorded exchanges."""

from __future__ import annotations

from typing import Any

import pytest

from difyfleet.clients.dify import Icon, ModelConfig, Settings
from difyfleet.clients.dify import errors as e
from difyfleet.secrets import Secret
from tests.contract.dify_replay import Replay, client, exchange, replays

CHAT = "c4c37a6d-6980-4a51-8fb0-a04cbe894997"
MINIMAL = "d8995dc3-26eb-46a7-b48c-08b73d77f0cd"
HARBOUR = "13ba6e2a-3695-43de-ae9b-ff4e2be7b5f5"
DATASET = "fe5d3e3f-cfec-40cf-a02c-d67bcb6d7c4e"


@replays("apps.all", 100)
def test_all(server: Replay) -> None:
    apps = client(server).apps
    apps.page_size = 30
    found = apps.all()
    assert [(app.name, app.mode) for app in found][:2] == [("Lab minimal", "chat"), ("Lab chat", "chat")]
    assert (found[0].icon, found[1].icon) == (None, Icon("🤖", "#FFEAD5"))


@replays("apps.find", 704)
def test_find(server: Replay) -> None:
    found = client(server).apps.find("Harbour", "chat")
    assert found is not None
    assert (found.id, found.description) == (HARBOUR, "new words")


@pytest.mark.parametrize(("name", "mode"), [("harbour", None), ("Harb", None), ("Harbour", "completion")])
def test_find_takes_no_likeness(name: str, mode: str | None) -> None:
    replay = Replay(704)
    replay.todo[0]["query"]["name"] = name  # the server answers the same for any part of the name
    assert client(replay).apps.find(name, mode) is None


def test_find_lists_all_ids_of_one_name() -> None:
    replay = Replay(101)
    replay.todo[0]["query"] |= {"page": 1, "limit": 100}  # recorded without
    with pytest.raises(e.DifyError, match=f"2 apps are called 'Lab chat': {CHAT}, 422bc209"):
        client(replay).apps.find("Lab chat")


@replays("apps.get", 199)
def test_get(server: Replay) -> None:
    app = client(server).apps.get(CHAT)
    assert (app.name, app.enable_site, app.enable_api, app.icon) == (
        "Lab chat",
        True,
        True,
        Icon("🤖", "#FFEAD5"),
    )
    assert app.site["default_language"] == "en-US"
    assert app.config is not None
    assert app.config.datasets == (DATASET,)
    assert app.config.settings().citations is True


@replays("apps.get", 104, 361)
def test_get_what_is_gone(server: Replay) -> None:
    apps = client(server).apps
    for step in (104, 361):
        with pytest.raises(e.NotFound) as caught:
            apps.get(exchange(step)["path"].rpartition("/")[2])
        assert caught.value.code == "app_not_found"


@replays("apps.get", 105)
def test_get_by_no_uuid(server: Replay) -> None:
    with pytest.raises(e.NoSuchRoute, match="404 Not Found"):
        client(server).apps.get("not-a-uuid")


@replays("apps.create", 95)
def test_create(server: Replay) -> None:
    assert client(server).apps.create("Lab chat", "chat", "made by the oracle", Icon("🤖", "#FFEAD5")) == CHAT


@replays("apps.update", 329)
def test_update(server: Replay) -> None:
    client(server).apps.update(CHAT, "Lab chat 2", "changed", Icon("🚢", "#E0F2FE"))


@replays("apps.rename", 553)
@replays("apps.enable_api", 324, 326)
@replays("apps.enable_site", 711)
@replays("apps.set_icon", 712)
def test_one_thing_at_a_time(server: Replay) -> None:
    apps = client(server).apps
    apps.rename(CHAT, "Lab chat renamed")
    apps.enable_api(CHAT, False)
    apps.enable_api(CHAT, True)
    apps.enable_site(HARBOUR, False)
    apps.set_icon(HARBOUR, Icon("⚓", "#FFFFFF"))


@replays("apps.set_site", 709, 710)
def test_site(server: Replay) -> None:
    apps = client(server).apps
    apps.set_site(HARBOUR, title="Harbour", default_language="zh-Hans", description="x")
    with pytest.raises(e.InvalidRequest) as caught:
        apps.set_site(HARBOUR, default_language="xx")
    assert caught.value.field == "default_language"


@replays("apps.set_config", 198)
def test_set_config_sends_the_whole(server: Replay) -> None:
    recorded = exchange(198)["request_json"]
    config = ModelConfig(recorded)
    client(server).apps.set_config(CHAT, config)
    assert config.body() == recorded


@pytest.mark.parametrize(
    ("number", "kind"),
    [(195, e.InvalidRequest), (196, e.InvalidRequest), (201, e.NotFound), (202, e.NotFound)],
)
def test_set_config_refused(number: int, kind: type[e.DifyError]) -> None:
    replay = Replay(number)
    recorded = replay.todo[0]
    with pytest.raises(kind):
        client(replay).apps.set_config(recorded["path"].split("/")[4], ModelConfig(recorded["request_json"]))


@replays("apps.delete", 360, 362)
def test_delete(server: Replay) -> None:
    apps = client(server).apps
    identity = exchange(360)["path"].rpartition("/")[2]
    apps.delete(identity)
    with pytest.raises(e.NotFound):
        apps.delete(identity)


# --- the configuration as a value ----------------------------------------------------------------------------------------------------


def config_of(number: int) -> ModelConfig:
    return ModelConfig.from_answer(exchange(number)["response_json"]["model_config"])


def test_a_new_configuration_has_what_a_new_app_has_and_citations() -> None:
    fresh, new = config_of(103), ModelConfig.new("ollama", "smollm2:135m")
    assert fresh.compare(new.settings()) == ()
    assert new.body()["retriever_resource"] == {"enabled": True}
    assert new.retrieval_mode == "multiple"


def test_a_short_body_lost_the_citations_and_compare_says_so() -> None:
    """192 is the app after a configuration of the model alone."""
    lost = config_of(192)
    found = {
        change.key: (change.is_now, change.wanted)
        for change in lost.compare(Settings(citations=True, datasets=()))
    }
    assert found == {"citations": (False, True), "retrieval_model": ("single", "multiple")}
    assert (
        lost.change(Settings(citations=True, datasets=())).compare(Settings(citations=True, datasets=()))
        == ()
    )


def test_what_is_not_managed_stays() -> None:
    before = config_of(199).body()
    after = config_of(199).change(Settings(prompt="Answer briefly.")).body()
    assert after.pop("pre_prompt") == "Answer briefly."
    before.pop("pre_prompt")
    assert after == before


def test_what_only_the_server_writes_is_not_sent_back() -> None:
    assert not {"created_at", "updated_by", "annotation_reply"} & set(config_of(199).body())


@pytest.mark.parametrize(
    ("wanted", "keys"),
    [
        (Settings(), []),
        (Settings(model="smollm2:135m", provider="ollama", model_mode="chat"), []),
        (
            Settings(params={"temperature": 0.1, "num_predict": 64}),
            [],
        ),  # the server's empty `stop` does not count
        (Settings(params={"temperature": 0.2, "num_predict": 64}), ["params"]),
        (Settings(params={"temperature": 0.1}), ["params"]),
        (Settings(datasets=[DATASET]), []),
        (Settings(datasets=[]), ["datasets"]),
        (Settings(datasets=[DATASET, CHAT]), ["datasets"]),
        (Settings(suggested=["When was the lighthouse built?"]), []),
        (Settings(opening="", suggested=[]), ["opening", "suggested"]),
        (Settings(citations=False), ["citations"]),
    ],
)
def test_compare_looks_at_managed_settings_only(wanted: Settings, keys: list[str]) -> None:
    assert [change.key for change in config_of(199).compare(wanted)] == keys
    assert config_of(199).change(wanted).compare(wanted) == ()


def test_datasets_are_attached_in_the_form_that_the_server_reads() -> None:
    configs: dict[str, Any] = config_of(103).change(Settings(datasets=[DATASET])).body()["dataset_configs"]
    assert configs == {
        "retrieval_model": "multiple",
        "datasets": {"strategy": "router", "datasets": [{"dataset": {"enabled": True, "id": DATASET}}]},
    }


# --- keys and DSL --------------------------------------------------------------------------------------------------------------------


@replays("keys.all", 203, 205, 206, 208)
def test_keys(server: Replay) -> None:
    keys = client(server).keys
    assert keys.all(CHAT) == []
    (key,) = keys.all(CHAT)
    assert key.token == Secret("<APP_API_KEY>")
    assert "<APP_API_KEY>" not in repr(key)
    assert keys.all() == []
    assert [key.token.reveal() for key in keys.all()] == ["<DATASET_API_KEY>"]


@replays("keys.create", 204, 207, 330)
@replays("keys.delete", 331, 332, 721)
def test_make_and_delete_keys(server: Replay) -> None:
    keys = client(server).keys
    assert keys.create(CHAT).id == "ceb3e572-36b7-4f31-b5ae-56cc9055e317"
    assert keys.create().token.reveal() == "<DATASET_API_KEY>"
    with pytest.raises(e.TooManyKeys, match="more than 10"):
        keys.create(MINIMAL)
    identity = exchange(331)["path"].rpartition("/")[2]
    keys.delete(identity, MINIMAL)
    with pytest.raises(e.NotFound, match="API key not found"):
        keys.delete(identity, MINIMAL)
    keys.delete(exchange(721)["path"].rpartition("/")[2])


@replays("dsl.export", 310, 311)
def test_export(server: Replay) -> None:
    dsl = client(server).dsl
    text = dsl.export(CHAT)
    assert text.startswith("app:\n")
    assert "version: 0.1.3" in text
    assert dsl.export(CHAT, include_secret=True) == text


@replays("dsl.import_app", 312, 313, 315, 316, 317)
def test_import(server: Replay) -> None:
    dsl = client(server).dsl
    text = exchange(312)["request_json"]["data"]
    app = dsl.import_app(text)
    assert app.name == "Lab chat"
    assert app.config is not None
    assert app.config.datasets == (DATASET,)
    renamed = exchange(313)["request_json"]
    icon = Icon(renamed["icon"], renamed["icon_background"])
    assert dsl.import_app(text, name=renamed["name"], description="d", icon=icon).icon == icon
    with pytest.raises(e.InvalidRequest, match="Invalid YAML"):
        dsl.import_app("{: not yaml")
    with pytest.raises(e.ServerCrashed):
        dsl.import_app("just a string")
    with pytest.raises(e.InvalidRequest, match="Missing app"):
        dsl.import_app("kind: app\nversion: 0.1.3\n")
