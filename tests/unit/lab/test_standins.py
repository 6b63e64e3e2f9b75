"""The pure parts of the stand-ins: settings, tokens, fields, keys."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lab import ollama, registries
from lab.images.dify_api.dify_api import settings, tokens
from lab.images.dify_api.dify_api.http import ApiError
from lab.images.weaviate.weaviate import settings as weaviate


@pytest.mark.parametrize(
    ("name", "value", "kind"),
    [
        ("UPLOAD_FILE_SIZE_LIMIT", "50M", "int_parsing"), ("UPLOAD_FILE_SIZE_LIMIT", "", "int_parsing"),
        ("UPLOAD_FILE_SIZE_LIMIT", "-1", "greater_than_equal"), ("UPLOAD_IMAGE_FILE_SIZE_LIMIT", "1.5", "int_parsing"),
        ("DB_PORT", "0", "greater_than"), ("REDIS_USE_SSL", "maybe", "bool_parsing"), ("DEBUG", "", "bool_parsing"),
    ],
)  # fmt: skip
def test_a_setting_of_the_wrong_type(name: str, value: str, kind: str) -> None:
    with pytest.raises(settings.SettingsError) as caught:
        settings.load({name: value})
    text = str(caught.value)
    assert text.startswith(f"1 validation error for DifyConfig\n{name}\n")
    assert f"[type={kind}, input_value={value!r}, input_type=str]" in text


def test_all_wrong_settings_are_named() -> None:
    with pytest.raises(settings.SettingsError, match="2 validation errors for DifyConfig") as caught:
        settings.load({"UPLOAD_FILE_SIZE_LIMIT": "50M", "DEBUG": "x"})
    assert "UPLOAD_FILE_SIZE_LIMIT" in str(caught.value)
    assert "DEBUG" in str(caught.value)


def test_good_settings() -> None:
    loaded = settings.load(
        {
            "UPLOAD_FILE_SIZE_LIMIT": " 50 ",
            "REDIS_PASSWORD": "r&d/x",
            "REDIS_HOST": "redis",
            "DB_PORT": "6000.0",
        }
    )
    assert loaded.integers["UPLOAD_FILE_SIZE_LIMIT"] == 50
    assert loaded.database["port"] == 6000
    assert loaded.redis_url == "redis://:r%26d%2Fx@redis:6379/0"


@pytest.mark.parametrize(("level", "status"), [("LOUD", 1), ("INFO", None)])
def test_a_log_level_that_is_none_ends_the_process(level: str, status: int | None) -> None:
    if status is None:
        assert settings.load_or_exit({"LOG_LEVEL": level}).log_level == level
        return
    with pytest.raises(SystemExit) as caught:
        settings.load_or_exit({"LOG_LEVEL": level})
    assert caught.value.code == status


def test_access_tokens() -> None:
    token = tokens.access_token("key", "user-1", "SELF_HOSTED", 60)
    assert tokens.verify("key", token) == "user-1"
    for secret, bad, message in (
        ("other", token, "Invalid token signature."),
        ("key", tokens.access_token("key", "u", "SELF_HOSTED", -1), "Token has expired."),
        ("key", "abc", "Invalid token."),
        ("key", "a.b.c", "Invalid token."),
    ):
        with pytest.raises(ApiError, match=message):
            tokens.verify(secret, bad)


def test_a_session_cookie_must_be_signed() -> None:
    cookie = (
        tokens.session_cookie("key", {"is_init_validated": True}).removeprefix("session=").partition(";")[0]
    )
    assert tokens.read_session("key", cookie) == {"is_init_validated": True}
    assert tokens.read_session("other", cookie) == {}
    assert tokens.read_session("key", "") == {}
    with pytest.raises(RuntimeError, match="no secret key"):
        tokens.session_cookie("", {})


KEYS = {
    "PERSISTENCE_DATA_PATH": "/data",
    "AUTHENTICATION_APIKEY_ENABLED": "true",
    "AUTHENTICATION_APIKEY_ALLOWED_KEYS": "k1,k2",
    "AUTHENTICATION_APIKEY_USERS": "a@x.io,b@x.io",
    "AUTHORIZATION_ADMINLIST_ENABLED": "true",
    "AUTHORIZATION_ADMINLIST_USERS": "a@x.io",
}


@pytest.mark.parametrize(
    ("authorization", "status"), [("", 401), ("Bearer no", 401), ("Basic k1", 401), ("Bearer k2", 403), ("Bearer k1", None)]
)  # fmt: skip
def test_weaviate_keys(authorization: str, status: int | None) -> None:
    refusal = weaviate.Settings.load(KEYS).refusal(authorization)
    assert (refusal[0] if refusal else None) == status


def test_weaviate_anonymous_access() -> None:
    assert weaviate.Settings.load({"PERSISTENCE_DATA_PATH": "/data"}).refusal("") is None
    both = {**KEYS, "AUTHENTICATION_ANONYMOUS_ACCESS_ENABLED": "true"}
    assert weaviate.Settings.load(both).refusal("") is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"PERSISTENCE_DATA_PATH": ""}, "dataPath"), ({"AUTHENTICATION_APIKEY_ALLOWED_KEYS": ""}, "valid allowed key"),
        ({"AUTHENTICATION_APIKEY_USERS": ""}, "at least one user"), ({"AUTHENTICATION_APIKEY_USERS": "a,b,c"}, "must match"),
    ],
)  # fmt: skip
def test_weaviate_refuses_to_start(changes: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        weaviate.Settings.load({**KEYS, **changes})


def test_go_install_of_a_runner() -> None:
    assert ollama.install_argv("go", "github.com/ollama/ollama/llama/runner", "avx,avx2") == [
        "go", "install", "-tags", "avx,avx2", "-ldflags", "-s -w", "github.com/ollama/ollama/llama/runner@v0.4.7",
    ]  # fmt: skip


def test_registry_configuration_is_read_only_with_tls() -> None:
    made = registries.configuration(Path("/store/hub"), "10.0.2.5", Path("/c.crt"), Path("/c.key"))
    assert json.loads(json.dumps(made)) == made
    assert made["http"]["addr"] == "10.0.2.5:443"
    assert made["http"]["tls"] == {"certificate": "/c.crt", "key": "/c.key"}
    assert made["storage"]["filesystem"] == {"rootdirectory": "/store/hub"}
    assert made["storage"]["maintenance"]["readonly"] == {"enabled": True}
