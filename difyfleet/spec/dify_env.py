"""What is known of Dify 0.11.2's .env: which keys our template sets itself, and the type of those a user may add.

Dify reads its settings at import time. One value of the wrong type (`UPLOAD_FILE_SIZE_LIMIT=50M`) and api and worker
restart for ever, so `dify.env` is checked here before a host is contacted. Keys that are not listed are passed on as text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

EnvValue = str | int | bool


@dataclass(frozen=True)
class Kind:
    """Type of a key: what `word` says in an error, and the pattern that its text must match as a whole."""

    word: str
    pattern: re.Pattern[str]


TEXT = Kind("text", re.compile(r".*"))
COUNT = Kind("a whole number", re.compile(r"\d+"))
INTEGER = Kind("a whole number", re.compile(r"-?\d+"))
MEGABYTES = Kind("a whole number of MB without a unit", re.compile(r"\d+"))
SECONDS = Kind("a whole number of seconds without a unit", re.compile(r"\d+"))
FLOAT = Kind("a number", re.compile(r"-?\d+(\.\d+)?"))
BOOLEAN = Kind("true or false", re.compile(r"true|false"))
ORIGIN = Kind(
    "an origin such as https://dify.example.com (no path) or empty", re.compile(r"|https?://[^\s/?#@]+")
)
URL = Kind("a URL or empty", re.compile(r"|https?://\S+"))
MEMORY = Kind("a PostgreSQL size such as 128MB", re.compile(r"\d+(kB|MB|GB)"))


def _one_of(*words: str) -> Kind:
    return Kind(
        f"one of {', '.join(repr(word) for word in words)}", re.compile("|".join(map(re.escape, words)))
    )


def _each(kind: Kind, keys: str) -> Iterator[tuple[str, Kind]]:
    return ((key, kind) for key in keys.split())


_FIXED_KEYS = """
    MODE COMPOSE_PROFILES COMPOSE_PROJECT_NAME COMPOSE_FILE MIGRATION_ENABLED DIFY_BIND_ADDRESS DIFY_PORT
    DB_TYPE DB_HOST DB_PORT DB_USERNAME DB_DATABASE PGUSER POSTGRES_USER POSTGRES_DB PGDATA
    REDIS_HOST REDIS_PORT REDIS_USERNAME REDIS_DB REDIS_USE_SSL REDIS_USE_SENTINEL BROKER_USE_SSL CELERY_BACKEND
    STORAGE_TYPE STORAGE_LOCAL_PATH VECTOR_STORE WEAVIATE_ENDPOINT WEAVIATE_PERSISTENCE_DATA_PATH
    WEAVIATE_AUTHENTICATION_ANONYMOUS_ACCESS_ENABLED WEAVIATE_AUTHENTICATION_APIKEY_ENABLED
    WEAVIATE_AUTHENTICATION_APIKEY_USERS WEAVIATE_AUTHORIZATION_ADMINLIST_ENABLED WEAVIATE_AUTHORIZATION_ADMINLIST_USERS
    WEAVIATE_CLUSTER_HOSTNAME WEAVIATE_DEFAULT_VECTORIZER_MODULE
    CODE_EXECUTION_ENDPOINT SANDBOX_PORT SANDBOX_HTTP_PROXY SANDBOX_HTTPS_PROXY
    SSRF_PROXY_HTTP_URL SSRF_PROXY_HTTPS_URL SSRF_HTTP_PORT SSRF_REVERSE_PROXY_PORT SSRF_SANDBOX_HOST SSRF_COREDUMP_DIR
    NGINX_PORT NGINX_SSL_PORT NGINX_SSL_PROTOCOLS NGINX_WORKER_PROCESSES NGINX_KEEPALIVE_TIMEOUT
    NGINX_PROXY_READ_TIMEOUT NGINX_PROXY_SEND_TIMEOUT NGINX_ENABLE_CERTBOT_CHALLENGE
"""
_FIXED = "fixed by difyfleet's own compose project"

# Keys that the template writes: key -> the field that sets it (or why it cannot be set).
MANAGED: dict[str, str] = {
    "SECRET_KEY": "dify.secrets.secret_key",
    "INIT_PASSWORD": "dify.secrets.init_password",
    "DB_PASSWORD": "dify.secrets.db_password",
    "POSTGRES_PASSWORD": "dify.secrets.db_password",
    "REDIS_PASSWORD": "dify.secrets.redis_password",
    "CELERY_BROKER_URL": "dify.secrets.redis_password",
    "WEAVIATE_API_KEY": "dify.secrets.weaviate_api_key",
    "WEAVIATE_AUTHENTICATION_APIKEY_ALLOWED_KEYS": "dify.secrets.weaviate_api_key",
    "SANDBOX_API_KEY": "dify.secrets.sandbox_api_key",
    "CODE_EXECUTION_API_KEY": "dify.secrets.sandbox_api_key",
    "UPLOAD_FILE_SIZE_LIMIT": "dify.upload_limit_mb",
    "NGINX_CLIENT_MAX_BODY_SIZE": "dify.upload_limit_mb",
    "UPLOAD_FILE_BATCH_LIMIT": "dify.upload_batch_limit",
    "LOG_LEVEL": "dify.log_level",
    "EXPOSE_NGINX_PORT": "dify.http_port",
    "EXPOSE_NGINX_SSL_PORT": "dify.https.port",
    "NGINX_SERVER_NAME": "dify.server_name",
    "NGINX_HTTPS_ENABLED": "dify.https.enabled",
    "NGINX_SSL_CERT_FILENAME": "dify.https.certificate",
    "NGINX_SSL_CERT_KEY_FILENAME": "dify.https.key",
    **dict.fromkeys(
        _FIXED_KEYS.split(),
        _FIXED,
    ),
}

# Keys of Dify 0.11.2's .env.example whose type is known and that a user may set.
KNOWN: dict[str, Kind] = dict(
    [
        *_each(
            MEGABYTES,
            "UPLOAD_IMAGE_FILE_SIZE_LIMIT UPLOAD_VIDEO_FILE_SIZE_LIMIT UPLOAD_AUDIO_FILE_SIZE_LIMIT LOG_FILE_MAX_SIZE",
        ),
        *_each(
            SECONDS,
            """
            APP_MAX_EXECUTION_TIME WORKFLOW_MAX_EXECUTION_TIME GUNICORN_TIMEOUT FILES_ACCESS_TIMEOUT SQLALCHEMY_POOL_RECYCLE
            API_TOOL_DEFAULT_CONNECT_TIMEOUT API_TOOL_DEFAULT_READ_TIMEOUT SANDBOX_WORKER_TIMEOUT
            """,
        ),
        *_each(
            COUNT,
            """
            ACCESS_TOKEN_EXPIRE_MINUTES APP_MAX_ACTIVE_REQUESTS CELERY_MAX_WORKERS CELERY_MIN_WORKERS
            CODE_GENERATION_MAX_TOKENS CODE_MAX_DEPTH CODE_MAX_NUMBER_ARRAY_LENGTH CODE_MAX_OBJECT_ARRAY_LENGTH
            CODE_MAX_PRECISION CODE_MAX_STRING_ARRAY_LENGTH CODE_MAX_STRING_LENGTH HTTP_REQUEST_NODE_MAX_BINARY_SIZE
            HTTP_REQUEST_NODE_MAX_TEXT_SIZE INDEXING_MAX_SEGMENTATION_TOKENS_LENGTH INVITE_EXPIRY_HOURS LOG_FILE_BACKUP_COUNT
            MAX_VARIABLE_SIZE POSTGRES_MAX_CONNECTIONS PROMPT_GENERATION_MAX_TOKENS RESET_PASSWORD_TOKEN_EXPIRY_MINUTES
            SMTP_PORT SQLALCHEMY_POOL_SIZE TEMPLATE_TRANSFORM_MAX_LENGTH TEXT_GENERATION_TIMEOUT_MS TOP_K_MAX_VALUE
            WEAVIATE_QUERY_DEFAULTS_LIMIT WORKFLOW_CALL_MAX_DEPTH WORKFLOW_FILE_UPLOAD_LIMIT WORKFLOW_MAX_EXECUTION_STEPS
            """,
        ),
        *_each(INTEGER, "CODE_MAX_NUMBER CODE_MIN_NUMBER"),
        # Empty is upstream's own default of these: the image then decides.
        *_each(
            Kind("a whole number or empty", re.compile(r"\d*")), "SERVER_WORKER_AMOUNT CELERY_WORKER_AMOUNT"
        ),
        *_each(
            FLOAT,
            """
            API_SENTRY_TRACES_SAMPLE_RATE API_SENTRY_PROFILES_SAMPLE_RATE
            CODE_EXECUTION_CONNECT_TIMEOUT CODE_EXECUTION_READ_TIMEOUT CODE_EXECUTION_WRITE_TIMEOUT
            """,
        ),
        *_each(
            BOOLEAN,
            """
            DEBUG FLASK_DEBUG SQLALCHEMY_ECHO ADMIN_API_KEY_ENABLE CELERY_AUTO_SCALE SMTP_USE_TLS SMTP_OPPORTUNISTIC_TLS
            SANDBOX_ENABLE_NETWORK SCARF_NO_ANALYTICS
            """,
        ),
        *_each(Kind("0 or 1", re.compile("0|1")), "NEXT_TELEMETRY_DISABLED"),
        *_each(ORIGIN, "CONSOLE_API_URL CONSOLE_WEB_URL SERVICE_API_URL APP_API_URL APP_WEB_URL FILES_URL"),
        *_each(
            URL,
            "CHECK_UPDATE_URL UNSTRUCTURED_API_URL RESEND_API_URL OPENAI_API_BASE SENTRY_DSN API_SENTRY_DSN WEB_SENTRY_DSN",
        ),
        *_each(
            MEMORY,
            "POSTGRES_SHARED_BUFFERS POSTGRES_WORK_MEM POSTGRES_MAINTENANCE_WORK_MEM POSTGRES_EFFECTIVE_CACHE_SIZE",
        ),
        *_each(_one_of("dify", "Unstructured"), "ETL_TYPE"),
        *_each(_one_of("base64", "url"), "MULTIMODAL_SEND_IMAGE_FORMAT MULTIMODAL_SEND_VIDEO_FORMAT"),
        *_each(_one_of("", "resend", "smtp"), "MAIL_TYPE"),
        *_each(_one_of("release", "debug", "test"), "SANDBOX_GIN_MODE"),
        *_each(_one_of("PRODUCTION", "TESTING"), "DEPLOY_ENV"),
        *_each(
            TEXT,
            """
            ADMIN_API_KEY CONSOLE_CORS_ALLOW_ORIGINS WEB_API_CORS_ALLOW_ORIGINS CSP_WHITELIST LOG_FILE LOG_DATEFORMAT LOG_TZ
            MAIL_DEFAULT_SEND_FROM RESEND_API_KEY SMTP_SERVER SMTP_USERNAME SMTP_PASSWORD UNSTRUCTURED_API_KEY
            SERVER_WORKER_CLASS CELERY_WORKER_CLASS NOTION_INTEGRATION_TYPE NOTION_CLIENT_SECRET NOTION_CLIENT_ID
            NOTION_INTERNAL_SECRET POSITION_TOOL_PINS POSITION_TOOL_INCLUDES POSITION_TOOL_EXCLUDES
            POSITION_PROVIDER_PINS POSITION_PROVIDER_INCLUDES POSITION_PROVIDER_EXCLUDES
            """,
        ),
    ]
)

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SECRET = re.compile(r"(^|_)(KEY|PASSWORD|SECRET|TOKEN)$")


def text(value: EnvValue) -> str:
    """The value as it stands in .env: booleans in lower case (Dify compares with `true`), numbers plain."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def holds_secret(key: str) -> bool:
    """Whether a key's value must not be shown (its name ends in KEY, PASSWORD, SECRET or TOKEN)."""
    return bool(_SECRET.search(key)) and KNOWN.get(key) is not BOOLEAN


def problem(key: str, value: EnvValue) -> str | None:
    """Why this entry of `dify.env` cannot be used, in words for its author; None when it can.

    The value of a key that holds a secret is never part of the text.
    """
    if not NAME.fullmatch(key):
        return "is not a name for an environment variable (letters, digits and _)"
    written = text(value)
    if key in MANAGED:
        return _managed(key, written)
    unsafe = unsafe_text(written)
    if unsafe:
        return unsafe
    kind = KNOWN.get(key)
    if kind is None or kind.pattern.fullmatch(written):
        return None
    shown = "" if holds_secret(key) else f", not {written!r}"
    why = (
        "; Dify would not start with it"
        if kind in (COUNT, INTEGER, MEGABYTES, SECONDS, FLOAT, BOOLEAN)
        else ""
    )
    return f"should be {kind.word}{shown}{why}"


def _managed(key: str, written: str) -> str:
    target = MANAGED[key]
    if target == _FIXED:
        return f"is {_FIXED} and cannot be set here"
    if target == "dify.upload_limit_mb":
        number = re.match(r"\d+", written)
        example = number.group() if number else "50"
        because = (
            ""
            if written.isdigit()
            else f"; {written!r} would keep api and worker from starting, the limit is a whole number of MB"
        )
        return f"is set by difyfleet: write `dify.upload_limit_mb: {example}` instead{because}"
    return f"is set by difyfleet: use {target} instead"


def unsafe_text(written: str) -> str | None:
    """Why a text cannot stand between single quotes in an .env file (where `$` and `"` are plain text), or None."""
    if any(ord(character) < 32 or ord(character) == 127 for character in written):
        return "may not hold line breaks or control characters"
    if "'" in written or "\\" in written:
        return "may not hold a single quote or a backslash: .env files have no safe way to carry them"
    return None
