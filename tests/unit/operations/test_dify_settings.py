"""operations.dify_settings: one consistent .env, and no service is given more of it than it needs."""

from __future__ import annotations

from typing import Any

import pytest

from difyfleet.operations.dify_settings import SECRETS, Settings, body_limit_mb, public_origin, settings
from difyfleet.secrets import Secret
from difyfleet.spec.dify_env import MANAGED
from difyfleet.spec.models import Dify

VALUES = {field: Secret(f"{field}-canary-value") for field in SECRETS}


def made(**dify: Any) -> Settings:
    return settings(Dify(**dify), VALUES)


def env(**dify: Any) -> dict[str, str]:
    return {key: value for _, values in made(**dify).sections for key, value in values.items()}


def test_what_must_be_equal_is_equal() -> None:
    values = env()
    assert values["DB_PASSWORD"] == values["POSTGRES_PASSWORD"] == "db_password-canary-value"
    assert values["CODE_EXECUTION_API_KEY"] == values["SANDBOX_API_KEY"]
    assert values["WEAVIATE_API_KEY"] == values["WEAVIATE_AUTHENTICATION_APIKEY_ALLOWED_KEYS"]
    assert values["WEAVIATE_AUTHENTICATION_APIKEY_USERS"] == values["WEAVIATE_AUTHORIZATION_ADMINLIST_USERS"]
    assert values["CELERY_BROKER_URL"] == "redis://:redis_password-canary-value@redis:6379/1"


def test_broker_url_escapes_the_password() -> None:
    values = settings(Dify(), VALUES | {"redis_password": Secret("a+b=c&d12")})
    broker = {key: value for _, part in values.sections for key, value in part.items()}["CELERY_BROKER_URL"]
    assert broker == "redis://:a%2Bb%3Dc%26d12@redis:6379/1"


def test_safe_forms() -> None:
    values = env()
    assert values["WEAVIATE_AUTHENTICATION_ANONYMOUS_ACCESS_ENABLED"] == "false"
    assert values["MIGRATION_ENABLED"] == "true"
    assert (values["CHECK_UPDATE_URL"], values["MAIL_TYPE"]) == ("", "")
    assert "*" not in (values["CONSOLE_CORS_ALLOW_ORIGINS"], values["WEB_API_CORS_ALLOW_ORIGINS"])
    assert values["UPLOAD_FILE_SIZE_LIMIT"] == "15"
    assert values["LOG_LEVEL"] == "INFO"


def test_nobody_gets_a_secret_that_it_does_not_need() -> None:
    services = made().services
    values = env()

    def secrets_of(service: str) -> set[str]:
        return {
            SECRETS[field]
            for field in SECRETS
            for key in services[service].values()
            if f"{field}-canary" in values[key]
        }

    assert secrets_of("web") == set()
    assert secrets_of("db") == {"dify_db_password"}
    assert secrets_of("redis") == {"dify_redis_password"}
    assert secrets_of("weaviate") == {"dify_weaviate_api_key"}
    assert secrets_of("sandbox") == {"dify_sandbox_api_key"}
    assert secrets_of("api") == set(SECRETS.values())


def test_every_key_a_service_asks_for_is_there() -> None:
    values = env()
    for service, keys in made().services.items():
        assert set(keys.values()) <= set(values), service


def test_keys_of_the_inventory_win_over_defaults_and_new_ones_reach_api() -> None:
    own = {
        "TEXT_GENERATION_TIMEOUT_MS": 1000,
        "POSTGRES_SHARED_BUFFERS": "1GB",
        "MULTIMODAL_SEND_IMAGE_FORMAT": "url",
        "FOO": True,
    }
    values = env(env=own)
    assert (values["TEXT_GENERATION_TIMEOUT_MS"], values["POSTGRES_SHARED_BUFFERS"], values["FOO"]) == (
        "1000",
        "1GB",
        "true",
    )
    api = made(env=own).services["api"]
    assert "FOO" in api
    assert "MULTIMODAL_SEND_IMAGE_FORMAT" in api
    assert "POSTGRES_SHARED_BUFFERS" not in api


def test_keys_that_we_write_for_a_reason_are_refused_in_the_inventory() -> None:
    """dify_env.MANAGED is what validation refuses; whatever holds a secret or a derived value here must be in it."""
    values = env()
    derived = {key for key, value in values.items() if "canary" in value}
    assert derived <= set(MANAGED)


@pytest.mark.parametrize(
    ("dify", "expected"),
    [
        ({}, 110),
        ({"upload_limit_mb": 50}, 110),
        ({"upload_limit_mb": 200}, 220),
        (
            {
                "upload_limit_mb": 15,
                "env": {"UPLOAD_VIDEO_FILE_SIZE_LIMIT": 1, "UPLOAD_AUDIO_FILE_SIZE_LIMIT": 1},
            },
            20,
        ),
        ({"upload_limit_mb": 15, "env": {"UPLOAD_VIDEO_FILE_SIZE_LIMIT": "500"}}, 550),
    ],
)
def test_nginx_lets_through_what_dify_takes(dify: dict[str, Any], expected: int) -> None:
    assert body_limit_mb(Dify(**dify)) == expected


@pytest.mark.parametrize(
    ("dify", "origin"),
    [
        ({}, ""),
        ({"server_name": "dify.lan"}, "http://dify.lan"),
        ({"server_name": "dify.lan other", "http_port": 8088}, "http://dify.lan:8088"),
        (
            {"server_name": "dify.lan", "https": {"enabled": True, "certificate": "c", "key": "k"}},
            "https://dify.lan",
        ),
        (
            {
                "server_name": "dify.lan",
                "https": {"enabled": True, "certificate": "c", "key": "k", "port": 8443},
            },
            "https://dify.lan:8443",
        ),
    ],
)
def test_public_origin(dify: dict[str, Any], origin: str) -> None:
    assert public_origin(Dify(**dify)) == origin


def test_settings_do_not_print_their_values() -> None:
    assert "canary" not in repr(made())
