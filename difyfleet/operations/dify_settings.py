"""Dify's settings: every key of .env, and which of them each service is given. Pure: spec and secrets in, texts out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote

from difyfleet.once import once
from difyfleet.secrets import Secret
from difyfleet.spec import dify_env
from difyfleet.spec.models import Dify

# Secrets of the kept store, by what they are for.
SECRETS = {
    "secret_key": "dify_secret_key",
    "db_password": "dify_db_password",
    "redis_password": "dify_redis_password",
    "weaviate_api_key": "dify_weaviate_api_key",
    "sandbox_api_key": "dify_sandbox_api_key",
    "init_password": "dify_init_password",
}

_ROOM_MB = 5  # above the largest file, for the rest of a multipart body
_WEAVIATE_USER = "dify@difyfleet.local"  # only a name that ties key and permission together

# Container variable -> key of .env, where a service is not simply given the key under its own name.
_RENAMED: dict[str, dict[str, str]] = {
    "web": {"SENTRY_DSN": "WEB_SENTRY_DSN"},
    "redis": {"REDISCLI_AUTH": "REDIS_PASSWORD"},
    "sandbox": {
        "API_KEY": "SANDBOX_API_KEY",
        "GIN_MODE": "SANDBOX_GIN_MODE",
        "WORKER_TIMEOUT": "SANDBOX_WORKER_TIMEOUT",
        "ENABLE_NETWORK": "SANDBOX_ENABLE_NETWORK",
        "HTTP_PROXY": "SANDBOX_HTTP_PROXY",
        "HTTPS_PROXY": "SANDBOX_HTTPS_PROXY",
        "SANDBOX_PORT": "SANDBOX_PORT",
    },
    "weaviate": {
        "PERSISTENCE_DATA_PATH": "WEAVIATE_PERSISTENCE_DATA_PATH",
        "QUERY_DEFAULTS_LIMIT": "WEAVIATE_QUERY_DEFAULTS_LIMIT",
        "AUTHENTICATION_ANONYMOUS_ACCESS_ENABLED": "WEAVIATE_AUTHENTICATION_ANONYMOUS_ACCESS_ENABLED",
        "DEFAULT_VECTORIZER_MODULE": "WEAVIATE_DEFAULT_VECTORIZER_MODULE",
        "CLUSTER_HOSTNAME": "WEAVIATE_CLUSTER_HOSTNAME",
        "AUTHENTICATION_APIKEY_ENABLED": "WEAVIATE_AUTHENTICATION_APIKEY_ENABLED",
        "AUTHENTICATION_APIKEY_ALLOWED_KEYS": "WEAVIATE_AUTHENTICATION_APIKEY_ALLOWED_KEYS",
        "AUTHENTICATION_APIKEY_USERS": "WEAVIATE_AUTHENTICATION_APIKEY_USERS",
        "AUTHORIZATION_ADMINLIST_ENABLED": "WEAVIATE_AUTHORIZATION_ADMINLIST_ENABLED",
        "AUTHORIZATION_ADMINLIST_USERS": "WEAVIATE_AUTHORIZATION_ADMINLIST_USERS",
    },
}
_WEB = (
    "CONSOLE_API_URL",
    "APP_API_URL",
    "NEXT_TELEMETRY_DISABLED",
    "TEXT_GENERATION_TIMEOUT_MS",
    "CSP_WHITELIST",
)
_DB = ("POSTGRES_PASSWORD", "POSTGRES_DB", "PGUSER", "PGDATA")
_DB_COMMAND = (
    "POSTGRES_MAX_CONNECTIONS",
    "POSTGRES_SHARED_BUFFERS",
    "POSTGRES_WORK_MEM",
    "POSTGRES_MAINTENANCE_WORK_MEM",
    "POSTGRES_EFFECTIVE_CACHE_SIZE",
)
_SHARED = (
    "CONSOLE_API_URL",
    "APP_API_URL",
    "REDIS_PASSWORD",
)  # keys of other services that api and worker need as well


@dataclass(frozen=True)
class Settings:
    """Everything .env holds.

    Args:
        sections: title -> key -> value, in the order of the file.
        services: service -> container variable -> key of .env.
    """

    sections: tuple[tuple[str, dict[str, str]], ...]
    services: Mapping[str, dict[str, str]]

    def __repr__(self) -> str:  # values are secrets
        return "Settings(...)"


def body_limit_mb(dify: Dify) -> int:
    """nginx's body limit in MB: above the largest file that Dify itself takes, of any kind, so that Dify's own answer is seen."""
    kinds = [dify.upload_limit_mb]
    for key, default in (("IMAGE", 10), ("VIDEO", 100), ("AUDIO", 50)):
        kinds.append(int(dify.env.get(f"UPLOAD_{key}_FILE_SIZE_LIMIT", default)))
    largest = max(kinds)
    return largest + max(_ROOM_MB, largest // 10)


def public_origin(dify: Dify) -> str:
    """Where people reach Dify, if the inventory names the server; else empty = wherever they came from."""
    if dify.server_name == "_":
        return ""
    name = dify.server_name.split()[0]
    scheme, port, usual = (
        ("https", dify.https.port, 443) if dify.https.enabled else ("http", dify.http_port, 80)
    )
    return f"{scheme}://{name}" if port == usual else f"{scheme}://{name}:{port}"


@once(64)
def settings(dify: Dify, secrets: Mapping[str, Secret]) -> Settings:
    """The .env of Dify 0.11.2.

    Args:
        secrets: a value for each key of SECRETS; init_password may be missing.
    """
    extra = {key: dify_env.text(value) for key, value in dify.env.items()}
    sections = [
        (title, {key: extra.pop(key, value) for key, value in values.items()})
        for title, values in _sections(dify, secrets)
    ]
    if extra:
        sections.append(("From dify.env of the inventory", extra))
    return Settings(tuple(sections), _services([key for _, values in sections for key in values]))


def _services(keys: list[str]) -> dict[str, dict[str, str]]:
    services = {name: dict(renamed) for name, renamed in _RENAMED.items()}
    services["web"] = {key: key for key in _WEB} | services["web"]
    services["db"] = {key: key for key in _DB}
    elsewhere = {key for given in services.values() for key in given.values()}
    not_for_api = (elsewhere | set(_DB_COMMAND)) - set(_SHARED)
    services["api"] = {key: key for key in keys if key not in not_for_api}
    return services


def _sections(dify: Dify, secrets: Mapping[str, Secret]) -> list[tuple[str, dict[str, str]]]:
    secret = {name: value.reveal() for name, value in secrets.items()}
    origin = public_origin(dify)
    return [
        (
            "Server",
            {
                "LOG_LEVEL": dify.log_level,
                "LOG_FILE": "/app/logs/server.log",
                "LOG_FILE_MAX_SIZE": "20",
                "LOG_FILE_BACKUP_COUNT": "5",
                "DEBUG": "false",
                "FLASK_DEBUG": "false",
                "DEPLOY_ENV": "PRODUCTION",
                "MIGRATION_ENABLED": "true",
                "SECRET_KEY": secret["secret_key"],
                "INIT_PASSWORD": secret.get("init_password", ""),
                "CHECK_UPDATE_URL": "",  # 0.11.2 asks without a time-out
                "DIFY_BIND_ADDRESS": "0.0.0.0",
                "DIFY_PORT": "5001",
                "GUNICORN_TIMEOUT": "360",
                "SERVER_WORKER_AMOUNT": "",
                "CELERY_WORKER_AMOUNT": "",
                "ACCESS_TOKEN_EXPIRE_MINUTES": "60",
                "APP_MAX_EXECUTION_TIME": "12000",
            },
        ),
        (
            "Addresses: empty means the origin a visitor came from",
            {
                "CONSOLE_WEB_URL": origin,
                "CONSOLE_API_URL": "",
                "SERVICE_API_URL": origin,
                "APP_WEB_URL": origin,
                "APP_API_URL": "",
                "FILES_URL": "",
                # One origin serves everything, so no other needs to be let in.
                "WEB_API_CORS_ALLOW_ORIGINS": origin,
                "CONSOLE_CORS_ALLOW_ORIGINS": origin,
            },
        ),
        (
            "Database",
            {
                "DB_USERNAME": "postgres",
                "DB_PASSWORD": secret["db_password"],
                "DB_HOST": "db",
                "DB_PORT": "5432",
                "DB_DATABASE": "dify",
                "SQLALCHEMY_POOL_SIZE": "30",
                "SQLALCHEMY_POOL_RECYCLE": "3600",
                "POSTGRES_PASSWORD": secret["db_password"],
                "POSTGRES_DB": "dify",
                "PGUSER": "postgres",
                "PGDATA": "/var/lib/postgresql/data/pgdata",
                "POSTGRES_MAX_CONNECTIONS": "100",
                "POSTGRES_SHARED_BUFFERS": "128MB",
                "POSTGRES_WORK_MEM": "4MB",
                "POSTGRES_MAINTENANCE_WORK_MEM": "64MB",
                "POSTGRES_EFFECTIVE_CACHE_SIZE": "4096MB",
            },
        ),
        (
            "Redis and the broker",
            {
                "REDIS_HOST": "redis",
                "REDIS_PORT": "6379",
                "REDIS_USERNAME": "",
                "REDIS_PASSWORD": secret["redis_password"],
                "REDIS_USE_SSL": "false",
                "REDIS_DB": "0",
                "CELERY_BROKER_URL": f"redis://:{quote(secret['redis_password'], safe='')}@redis:6379/1",
                "BROKER_USE_SSL": "false",
            },
        ),
        (
            "Files and uploads (sizes in whole MB: a unit here keeps api and worker from starting)",
            {
                "STORAGE_TYPE": "local",
                "STORAGE_LOCAL_PATH": "storage",
                "UPLOAD_FILE_SIZE_LIMIT": str(dify.upload_limit_mb),
                "UPLOAD_FILE_BATCH_LIMIT": str(dify.upload_batch_limit),
                "UPLOAD_IMAGE_FILE_SIZE_LIMIT": "10",
                "UPLOAD_VIDEO_FILE_SIZE_LIMIT": "100",
                "UPLOAD_AUDIO_FILE_SIZE_LIMIT": "50",
                "ETL_TYPE": "dify",
                "INDEXING_MAX_SEGMENTATION_TOKENS_LENGTH": "1000",
                "MULTIMODAL_SEND_IMAGE_FORMAT": "base64",
            },
        ),
        (
            "Vector store",
            {
                "VECTOR_STORE": "weaviate",
                "WEAVIATE_ENDPOINT": "http://weaviate:8080",
                "WEAVIATE_API_KEY": secret["weaviate_api_key"],
                "WEAVIATE_PERSISTENCE_DATA_PATH": "/var/lib/weaviate",
                "WEAVIATE_QUERY_DEFAULTS_LIMIT": "25",
                "WEAVIATE_AUTHENTICATION_ANONYMOUS_ACCESS_ENABLED": "false",
                "WEAVIATE_DEFAULT_VECTORIZER_MODULE": "none",
                "WEAVIATE_CLUSTER_HOSTNAME": "node1",  # data belongs to the node's name
                "WEAVIATE_AUTHENTICATION_APIKEY_ENABLED": "true",
                "WEAVIATE_AUTHENTICATION_APIKEY_ALLOWED_KEYS": secret["weaviate_api_key"],
                "WEAVIATE_AUTHENTICATION_APIKEY_USERS": _WEAVIATE_USER,
                "WEAVIATE_AUTHORIZATION_ADMINLIST_ENABLED": "true",
                "WEAVIATE_AUTHORIZATION_ADMINLIST_USERS": _WEAVIATE_USER,
            },
        ),
        (
            "Code sandbox and the proxy in front of it",
            {
                "CODE_EXECUTION_ENDPOINT": "http://sandbox:8194",
                "CODE_EXECUTION_API_KEY": secret["sandbox_api_key"],
                "SSRF_PROXY_HTTP_URL": "http://ssrf_proxy:3128",
                "SSRF_PROXY_HTTPS_URL": "http://ssrf_proxy:3128",
                "SANDBOX_API_KEY": secret["sandbox_api_key"],
                "SANDBOX_GIN_MODE": "release",
                "SANDBOX_WORKER_TIMEOUT": "15",
                "SANDBOX_ENABLE_NETWORK": "true",
                "SANDBOX_HTTP_PROXY": "http://ssrf_proxy:3128",
                "SANDBOX_HTTPS_PROXY": "http://ssrf_proxy:3128",
                "SANDBOX_PORT": "8194",
            },
        ),
        ("Mail: none", {"MAIL_TYPE": "", "MAIL_DEFAULT_SEND_FROM": ""}),
        (
            "Web console",
            {
                "NEXT_TELEMETRY_DISABLED": "1",
                "TEXT_GENERATION_TIMEOUT_MS": "600000",  # upstream's minute is too short for a model on CPU
                "CSP_WHITELIST": "",
                "WEB_SENTRY_DSN": "",
            },
        ),
    ]
