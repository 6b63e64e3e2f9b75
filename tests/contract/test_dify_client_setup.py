"""Setup, login and models: the client against recorded exchanges."""

from __future__ import annotations

import pytest

from difyfleet.clients.dify import EMBEDDING, LLM, OllamaModel, Tokens
from difyfleet.clients.dify import errors as e
from difyfleet.secrets import Secret
from tests.contract.dify_replay import BASE, Replay, client, replays

PASSWORD = Secret("<PASSWORD>")
LAMP = OllamaModel("smollm2:135m", LLM, "http://127.0.0.1:11434", context_size=8192, max_tokens=512)
VECTORS = OllamaModel("hash-embed:latest", EMBEDDING, "http://127.0.0.1:11434")


@replays("setup.version", 4)
def test_version(server: Replay) -> None:
    assert client(server).setup.version() == "0.11.2"


@replays("setup.health", 1)
def test_health(server: Replay) -> None:
    assert client(server).setup.health() == "0.11.2"


@replays("setup.status", 7, 22)
def test_status_before_and_after(server: Replay) -> None:
    dify = client(server)
    assert not dify.setup.status().finished
    after = dify.setup.status()
    assert (after.finished, after.setup_at) == (True, "2026-11-23T06:55:02")


@replays("setup.wait", 535, 501, 7)
def test_wait_outlasts_a_database_that_is_away_or_empty(server: Replay) -> None:
    assert not client(server).setup.wait(seconds=10, pause=0).finished


@replays("setup.wait", 535)
def test_wait_ends_with_the_last_reason(server: Replay) -> None:
    with pytest.raises(e.ServerCrashed, match="Internal Server Error"):
        client(server).setup.wait(seconds=0)


@replays("setup.needs_init", 510, 8)
def test_needs_init(server: Replay) -> None:
    dify = client(server)
    assert dify.setup.needs_init() is True
    assert dify.setup.needs_init() is False


@replays("setup.create_admin", 513)
@replays("setup.confirm_init", 516, 517)
@replays("setup.create_admin", 521)
def test_the_init_password_is_proved_by_a_cookie(server: Replay) -> None:
    dify = client(server)
    password = Secret("abcdefg1")
    with pytest.raises(e.InitNotConfirmed):
        dify.setup.create_admin("admin@example.com", "Admin", password)
    with pytest.raises(e.InitPasswordWrong):
        dify.setup.confirm_init(Secret("nope"))
    dify.setup.confirm_init(Secret("<INIT_PASSWORD>"))
    assert dify.setup.create_admin("admin@example.com", "Admin", password) is True
    assert server.sent[-1].headers["Cookie"] == "session=<SESSION_COOKIE>"


@replays("setup.create_admin", 20, 21)
def test_create_admin_twice(server: Replay) -> None:
    dify = client(server)
    assert dify.setup.create_admin("admin@example.com", "Admin", PASSWORD) is True
    assert dify.setup.create_admin("admin@example.com", "Admin", PASSWORD) is False


@replays("setup.create_admin", 12)
def test_create_admin_names_the_bad_field(server: Replay) -> None:
    with pytest.raises(e.InvalidRequest) as caught:
        client(server).setup.create_admin("admin@example.com", "Admin", Secret("short"))
    assert caught.value.field == "password"


@replays("session.login", 27)
@replays("session.account", 35)
@replays("session.workspace", 37)
def test_login_keeps_the_token(server: Replay) -> None:
    dify = client(server)
    assert not dify.session.logged_in
    tokens = dify.session.login("admin@example.com", PASSWORD)
    assert tokens == Tokens(Secret("<ACCESS_TOKEN>"), Secret("<REFRESH_TOKEN>"))
    assert dify.session.logged_in
    assert dify.session.account().timezone == "America/New_York"
    assert dify.session.workspace().name == "Admin's Workspace"


@replays("session.resume", 27)
@replays("session.refresh", 28, 29)
def test_a_refresh_token_is_good_once(server: Replay) -> None:
    dify = client(server)
    first = dify.session.login("admin@example.com", PASSWORD)
    assert dify.session.refresh() == Tokens(Secret("<ACCESS_TOKEN_2>"), Secret("<REFRESH_TOKEN_2>"))
    dify.session.resume(first)
    with pytest.raises(e.SessionExpired, match="Invalid refresh token"):
        dify.session.refresh()


@replays("session.refresh", 550, 28, 35)
def test_an_expired_token_is_renewed_once_and_the_call_sent_again(server: Replay) -> None:
    dify = client(server)
    dify.session.resume(Tokens(dify.apps._transport.token or Secret(""), Secret("<REFRESH_TOKEN>")))
    assert dify.session.account().email == "admin@example.com"


@pytest.mark.parametrize(
    ("number", "kind", "password"),
    [
        (9, e.NotSetUp, "<PASSWORD>"), (512, e.InitNotConfirmed, "abcdefg1"), (24, e.WrongPassword, "Wrong-passw0rd"),
        (25, e.LoginRefused, "short"), (385, e.LockedOut, "<PASSWORD>"), (536, e.ServerCrashed, "<PASSWORD>"),
    ],
)  # fmt: skip
def test_login_refused(number: int, kind: type[e.DifyError], password: str) -> None:
    replay = Replay(number)
    body = replay.todo[0]["request_json"]
    body.setdefault("remember_me", True)  # recorded without; the client always sends it
    dify = client(replay)
    with pytest.raises(kind) as caught:
        dify.session.login("admin@example.com", Secret(password))
    assert not replay.todo, "one try only"
    assert type(caught.value) is kind
    assert password not in str(caught.value) + repr(caught.value)


@replays("session.logout", 382)
def test_logout(server: Replay) -> None:
    dify = client(server)
    dify.session.logout()
    assert not dify.session.logged_in


@replays("session.set_language", 700)
@replays("session.set_timezone", 701)
def test_account_settings(server: Replay) -> None:
    dify = client(server)
    dify.session.set_language("zh-Hans")
    dify.session.set_timezone("Asia/Shanghai")


@replays("models.all", 47, 69)
def test_models(server: Replay) -> None:
    dify = client(server)
    dify.models.all()
    assert {(m.name, m.type, m.status) for m in dify.models.all()} >= {("smollm2:135m", "llm", "active")}


@replays("models.of_type", 71)
def test_models_of_a_type(server: Replay) -> None:
    (found,) = client(server).models.of_type(EMBEDDING)
    assert (found.provider, found.name) == ("ollama", "hash-embed:latest")


@replays("models.credentials", 48, 65)
def test_credentials(server: Replay) -> None:
    dify = client(server)
    assert dify.models.credentials("smollm2:135m", LLM) is None
    stored = dify.models.credentials("smollm2:135m", LLM)
    assert LAMP.differences(stored) == {}
    assert LAMP.differences(None)["mode"] == (None, "chat")


@replays("models.validate", 67)
def test_validate(server: Replay) -> None:
    client(server).models.validate(VECTORS)


@replays("models.add", 68, 574)
def test_add_is_an_upsert(server: Replay) -> None:
    dify = client(server)
    for _ in range(2):
        dify.models.add(VECTORS)


@replays("models.add", 66)
def test_add_an_unknown_model(server: Replay) -> None:
    with pytest.raises(e.ModelRefused, match="404 Client Error") as caught:
        client(server).models.add(OllamaModel("nope-embed", EMBEDDING, "http://127.0.0.1:11434"))
    assert "pulled" in str(caught.value)


@pytest.mark.parametrize("number", [50, 51])
def test_validate_says_no_with_http_200(number: int) -> None:
    replay = Replay(number)
    recorded = replay.todo[0]["request_json"]
    recorded["credentials"].pop(
        "function_call_support"
    )  # the server drops it unread; the client does not send it
    address = recorded["credentials"]["base_url"]
    with pytest.raises(e.ModelRefused) as caught:
        client(replay).models.validate(OllamaModel(recorded["model"], LLM, address, max_tokens=512))
    assert caught.value.status == 200
    assert "An error occurred" not in str(caught.value)


@replays("models.remove", 82, 83)
def test_remove_also_when_it_is_not_there(server: Replay) -> None:
    dify = client(server)
    dify.models.remove("nomic-embed-text:latest", EMBEDDING)
    dify.models.remove("nomic-embed-text:latest", EMBEDDING)


@replays("models.parameter_rules", 72)
def test_parameter_rules(server: Replay) -> None:
    assert {"temperature", "num_ctx", "num_predict"} <= set(
        client(server).models.parameter_rules("smollm2:135m")
    )


@replays("models.default", 44, 62)
def test_default(server: Replay) -> None:
    dify = client(server)
    assert dify.models.default(LLM) is None
    assert dify.models.default(LLM) == ("ollama", "smollm2:135m")


@replays("models.set_defaults", 62, 78, 75, 77, 78)
def test_set_defaults_reads_before_and_after(server: Replay) -> None:
    client(server).models.set_defaults({LLM: "smollm2:135m", EMBEDDING: "hash-embed:latest"})


@replays("models.set_defaults", 44, 76, 44)
def test_set_defaults_that_the_server_does_not_show(server: Replay) -> None:
    """0.11.2 stores a default that it has no row for where it never looks."""
    with pytest.raises(e.DifyError, match="the default llm model is None"):
        client(server).models.set_defaults({LLM: "smollm2:135m"})


@replays("models.set_defaults", 62, 74)
def test_set_defaults_to_an_unknown_model(server: Replay) -> None:
    with pytest.raises(e.InvalidRequest, match="nope:1b does not exist"):
        client(server).models.set_defaults({LLM: "nope:1b"})


def test_base_url_may_end_with_a_slash() -> None:
    assert OllamaModel("a", EMBEDDING, f"{BASE}/").credentials()["base_url"] == BASE
    assert (
        OllamaModel("a", EMBEDDING, BASE).differences({"base_url": f"{BASE}/", "context_size": "4096"}) == {}
    )
