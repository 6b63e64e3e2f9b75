"""The environment, read the way the real server's pydantic settings read it: a wrong type ends the process."""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote_plus

_TRUE = {"1", "true", "t", "yes", "y", "on"}
_FALSE = {"0", "false", "f", "no", "n", "off"}

# name -> (least allowed value, default); the real server's NonNegativeInt and PositiveInt fields
_INTEGERS = {
    "UPLOAD_FILE_SIZE_LIMIT": (0, 15),
    "UPLOAD_FILE_BATCH_LIMIT": (0, 5),
    "UPLOAD_IMAGE_FILE_SIZE_LIMIT": (0, 10),
    "UPLOAD_VIDEO_FILE_SIZE_LIMIT": (0, 100),
    "UPLOAD_AUDIO_FILE_SIZE_LIMIT": (0, 50),
    "BATCH_UPLOAD_LIMIT": (0, 20),
    "DB_PORT": (1, 5432),
    "REDIS_PORT": (1, 6379),
    "REDIS_DB": (0, 0),
    "SQLALCHEMY_POOL_SIZE": (0, 30),
    "ACCESS_TOKEN_EXPIRE_MINUTES": (1, 60),
    "APP_MAX_EXECUTION_TIME": (1, 1200),
    "FILES_ACCESS_TIMEOUT": (0, 300),
    "INDEXING_MAX_SEGMENTATION_TOKENS_LENGTH": (1, 1000),
    "LOG_FILE_MAX_SIZE": (1, 20),
    "LOG_FILE_BACKUP_COUNT": (1, 5),
}
_BOOLEANS = {"DEBUG": False, "REDIS_USE_SSL": False, "BROKER_USE_SSL": False, "ADMIN_API_KEY_ENABLE": False}
_DETAILS = {
    "int_parsing": "Input should be a valid integer, unable to parse string as an integer",
    "bool_parsing": "Input should be a valid boolean, unable to interpret input",
    "greater_than": "Input should be greater than {limit}",
    "greater_than_equal": "Input should be greater than or equal to {limit}",
}


class SettingsError(ValueError):
    """One or more variables have the wrong type; the text is laid out like pydantic's."""

    def __init__(self, problems: list[tuple[str, str, str, int]]) -> None:
        count = f"{len(problems)} validation error{'s' if len(problems) > 1 else ''} for DifyConfig"
        lines = [count]
        for name, kind, value, limit in problems:
            detail = _DETAILS[kind].format(limit=limit)
            lines += [name, f"  {detail} [type={kind}, input_value={value!r}, input_type=str]"]
        super().__init__("\n".join(lines))


@dataclass(frozen=True)
class Settings:
    """What the stand-in uses of the environment, typed."""

    secret_key: str
    init_password: str
    deploy_env: str
    edition: str
    log_level: str
    database: dict[str, str | int]
    redis_url: str
    broker_url: str
    storage_path: str
    integers: Mapping[str, int]
    booleans: Mapping[str, bool]
    environ: Mapping[str, str]


def _integer(text: str) -> int | None:
    """pydantic takes blanks around digits, a sign and single underscores, but no unit and no fraction other than zeros."""
    text = text.strip()
    if "." in text and text.rpartition(".")[2].strip("0") == "":
        text = text.rpartition(".")[0]
    try:
        return int(text)
    except ValueError:
        return None


def load(environ: Mapping[str, str]) -> Settings:
    """Read and check all variables.

    :raises SettingsError: naming every variable of the wrong type.
    """
    problems: list[tuple[str, str, str, int]] = []
    integers: dict[str, int] = {}
    booleans: dict[str, bool] = {}
    for name, (least, default) in _INTEGERS.items():
        value = _integer(environ.get(name, str(default)))
        if value is None:
            problems.append((name, "int_parsing", environ[name], 0))
        elif value < least:
            kind = "greater_than_equal" if least == 0 else "greater_than"
            problems.append((name, kind, environ[name], 0))
        else:
            integers[name] = value
    for name, fallback in _BOOLEANS.items():
        text = environ.get(name, str(fallback)).strip().lower()
        if text not in _TRUE | _FALSE:
            problems.append((name, "bool_parsing", environ[name], 0))
        booleans[name] = text in _TRUE
    if problems:
        raise SettingsError(problems)
    password = environ.get("REDIS_PASSWORD", "")
    login = f"{quote_plus(environ.get('REDIS_USERNAME', ''))}:{quote_plus(password)}@" if password else ""
    return Settings(
        secret_key=environ.get("SECRET_KEY", ""),
        init_password=environ.get("INIT_PASSWORD", ""),
        deploy_env=environ.get("DEPLOY_ENV", "PRODUCTION"),
        edition=environ.get("EDITION", "SELF_HOSTED"),
        log_level=environ.get("LOG_LEVEL", "INFO"),
        database={
            "host": environ.get("DB_HOST", "localhost"),
            "port": integers["DB_PORT"],
            "user": environ.get("DB_USERNAME", "postgres"),
            "password": environ.get("DB_PASSWORD", ""),
            "dbname": environ.get("DB_DATABASE", "dify"),
        },
        redis_url=f"redis://{login}{environ.get('REDIS_HOST', 'localhost')}:{integers['REDIS_PORT']}/{integers['REDIS_DB']}",
        broker_url=environ.get("CELERY_BROKER_URL", ""),
        storage_path=environ.get("STORAGE_LOCAL_PATH", "storage"),
        integers=integers,
        booleans=booleans,
        environ=environ,
    )


def load_or_exit(environ: Mapping[str, str]) -> Settings:
    """Like :func:`load`, but a wrong setting ends the process with status 1, as it does at the real server's import.

    A log level that Python does not know ends it too.
    """
    try:
        settings = load(environ)
        logging.Logger("check").setLevel(settings.log_level or "INFO")
        logging.basicConfig(
            level=settings.log_level or "INFO", format="%(asctime)s %(levelname)s [%(name)s] %(message)s"
        )
    except SettingsError as error:
        print(f"pydantic_core._pydantic_core.ValidationError: {error}", file=sys.stderr, flush=True)
        sys.exit(1)
    except ValueError as error:
        print(f"ValueError: {error}", file=sys.stderr, flush=True)
        sys.exit(1)
    return settings
