"""The table of Dify's .env keys."""

from __future__ import annotations

import pytest

from difyfleet.operations import dify_settings
from difyfleet.secrets import Secret
from difyfleet.spec import dify_env
from difyfleet.spec.dify_env import KNOWN, MANAGED, holds_secret, problem, text
from difyfleet.spec.models import Dify, HostSpec


def test_a_key_is_managed_or_known_but_not_both() -> None:
    assert not set(MANAGED) & set(KNOWN)


def test_every_field_that_manages_a_key_exists() -> None:
    for target in set(MANAGED.values()):
        if target.startswith("dify."):
            model: object = HostSpec
            for name in target.split("."):
                annotation = model.model_fields[name].annotation  # type: ignore[attr-defined]
                model = annotation


def test_the_table_knows_every_key_that_is_written() -> None:
    secrets = {name: Secret(f"canary-{name}") for name in dify_settings.SECRETS}
    sections = dify_settings.settings(Dify(), secrets).sections
    written = {key: value for _, values in sections for key, value in values.items()}
    assert set(written) <= set(MANAGED) | set(KNOWN)
    assert {key for key, target in MANAGED.items() if target.startswith("dify.secrets.")} <= set(written)
    free = {key: value for key, value in written.items() if key in KNOWN}
    assert {key: problem(key, value) for key, value in free.items()} == dict.fromkeys(free)


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        ("UPLOAD_IMAGE_FILE_SIZE_LIMIT", 10, None),
        ("UPLOAD_IMAGE_FILE_SIZE_LIMIT", "10", None),
        (
            "UPLOAD_IMAGE_FILE_SIZE_LIMIT",
            "",
            "should be a whole number of MB without a unit, not ''; Dify would not start with it",
        ),
        (
            "UPLOAD_IMAGE_FILE_SIZE_LIMIT",
            True,
            "should be a whole number of MB without a unit, not 'true'; Dify would not start with it",
        ),
        (
            "GUNICORN_TIMEOUT",
            "6m",
            "should be a whole number of seconds without a unit, not '6m'; Dify would not start with it",
        ),
        ("CODE_MIN_NUMBER", -9223372036854775808, None),
        ("CELERY_WORKER_AMOUNT", "", None),
        ("SMTP_USE_TLS", True, None),
        ("SMTP_USE_TLS", "True", "should be true or false, not 'True'; Dify would not start with it"),
        ("MAIL_TYPE", "", None),
        ("MAIL_TYPE", "sendgrid", "should be one of '', 'resend', 'smtp', not 'sendgrid'"),
        ("POSTGRES_WORK_MEM", "4M", "should be a PostgreSQL size such as 128MB, not '4M'"),
        ("CONSOLE_WEB_URL", "https://dify.example.com:8443", None),
        (
            "CONSOLE_WEB_URL",
            "dify.example.com",
            "should be an origin such as https://dify.example.com (no path) or empty, not 'dify.example.com'",
        ),
        ("SMTP_PORT", "mail", "should be a whole number, not 'mail'; Dify would not start with it"),
        ("ANYTHING_ELSE", 'a "b" $c #d %', None),
        ("ANYTHING_ELSE", "a\nb", "may not hold line breaks or control characters"),
        ("UPLOAD_FILE_SIZE_LIMIT", 50, "is set by difyfleet: write `dify.upload_limit_mb: 50` instead"),
        (
            "NGINX_CLIENT_MAX_BODY_SIZE",
            "big",
            "is set by difyfleet: write `dify.upload_limit_mb: 50` instead; 'big' would keep api and worker from starting, the limit is a whole number of MB",
        ),
        ("EXPOSE_NGINX_PORT", 8080, "is set by difyfleet: use dify.http_port instead"),
        ("VECTOR_STORE", "qdrant", "is fixed by difyfleet's own compose project and cannot be set here"),
    ],
)
def test_problem(key: str, value: dify_env.EnvValue, reason: str | None) -> None:
    assert problem(key, value) == reason


@pytest.mark.parametrize(
    ("key", "secret"),
    [
        ("ADMIN_API_KEY", True),
        ("SMTP_PASSWORD", True),
        ("X_TOKEN", True),
        ("ADMIN_API_KEY_ENABLE", False),
        ("KEYBOARD", False),
        ("LOG_TZ", False),
    ],
)
def test_holds_secret(key: str, secret: bool) -> None:
    assert holds_secret(key) is secret


@pytest.mark.parametrize(("value", "written"), [(True, "true"), (False, "false"), (15, "15"), ("x", "x")])
def test_text(value: dify_env.EnvValue, written: str) -> None:
    assert text(value) == written
