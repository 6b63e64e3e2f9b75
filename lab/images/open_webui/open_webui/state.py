"""The SQLite database under the data volume: users, and the settings that win over the environment once saved."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import sqlite3
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_SCHEMA = """
CREATE TABLE IF NOT EXISTS user (id TEXT PRIMARY KEY, name TEXT, email TEXT UNIQUE, role TEXT, profile_image_url TEXT,
    created_at INTEGER, updated_at INTEGER, last_active_at INTEGER);
CREATE TABLE IF NOT EXISTS auth (id TEXT PRIMARY KEY, email TEXT UNIQUE, password TEXT, active INTEGER);
CREATE TABLE IF NOT EXISTS config (id INTEGER PRIMARY KEY, data TEXT NOT NULL, version INTEGER NOT NULL);
"""


def _flag(environ: Mapping[str, str], name: str, default: str) -> bool:
    return environ.get(name, default).lower() == "true"


def _ollama_urls(environ: Mapping[str, str]) -> list[str]:
    """OLLAMA_BASE_URLS (semicolons) or OLLAMA_BASE_URL; the image's default means the Docker host."""
    single = environ.get("OLLAMA_BASE_URL", "")
    if single in ("", "/ollama"):
        single = "http://host.docker.internal:11434"
    several = environ.get("OLLAMA_BASE_URLS", "")
    return [url.strip().rstrip("/") for url in (several or single).split(";") if url.strip()]


def environment_settings(environ: Mapping[str, str]) -> dict[str, Any]:
    """Every persistent setting as the environment wants it, by its path in the saved configuration."""
    return {
        "ui.enable_signup": _flag(environ, "WEBUI_AUTH", "True") and _flag(environ, "ENABLE_SIGNUP", "True"),
        "ui.enable_login_form": _flag(environ, "ENABLE_LOGIN_FORM", "True"),
        "ui.default_user_role": environ.get("DEFAULT_USER_ROLE", "pending"),
        "ui.default_models": environ.get("DEFAULT_MODELS") or None,
        "ui.enable_community_sharing": _flag(environ, "ENABLE_COMMUNITY_SHARING", "True"),
        "ui.enable_message_rating": _flag(environ, "ENABLE_MESSAGE_RATING", "True"),
        "auth.admin.show": _flag(environ, "SHOW_ADMIN_DETAILS", "True"),
        "auth.jwt_expiry": environ.get("JWT_EXPIRES_IN", "-1"),
        "ollama.enable": _flag(environ, "ENABLE_OLLAMA_API", "True"),
        "ollama.base_urls": _ollama_urls(environ),
        "ollama.api_configs": {},
        "openai.enable": _flag(environ, "ENABLE_OPENAI_API", "True"),
        "openai.api_base_urls": [environ.get("OPENAI_API_BASE_URL") or "https://api.openai.com/v1"],
        "openai.api_keys": [environ.get("OPENAI_API_KEY", "")],
        "openai.api_configs": {},
    }


class Settings:
    """Persistent settings: a value in the database wins over the environment, and only a change through the API puts it there."""

    def __init__(self, database: Database, environ: Mapping[str, str]) -> None:
        self._database = database
        self._environment = environment_settings(environ)

    def __getitem__(self, path: str) -> Any:
        return self._database.saved().get(path, self._environment[path])

    def save(self, **values: Any) -> None:
        """Save settings; dots in the path are written as two underscores."""
        saved = self._database.saved()
        saved.update({name.replace("__", "."): value for name, value in values.items()})
        self._database.save(saved)


class Database:
    """One SQLite file; every call is its own connection."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._file = folder / "webui.db"
        self._lock = threading.Lock()
        with self._connect() as connection:
            connection.executescript(_SCHEMA)

    @contextmanager
    def _connect(self) -> Iterator[sqlite3.Connection]:
        connection = sqlite3.connect(self._file, timeout=10)
        connection.row_factory = sqlite3.Row
        try:
            with connection:
                yield connection
        finally:
            connection.close()

    def saved(self) -> dict[str, Any]:
        """The saved settings by path."""
        with self._connect() as connection:
            row = connection.execute("SELECT data FROM config WHERE id = 1").fetchone()
        loaded: dict[str, Any] = json.loads(row["data"]) if row else {}
        return loaded

    def save(self, settings: dict[str, Any]) -> None:
        """Replace the saved settings."""
        with self._connect() as connection:
            connection.execute("INSERT OR REPLACE INTO config VALUES (1, ?, 0)", (json.dumps(settings),))

    def user_count(self) -> int:
        """Number of accounts."""
        with self._connect() as connection:
            return int(connection.execute("SELECT count(*) FROM user").fetchone()[0])

    def user(self, column: str, value: str) -> dict[str, Any] | None:
        """An account by ``id`` or ``email``."""
        assert column in ("id", "email")
        with self._connect() as connection:
            row = connection.execute(f"SELECT * FROM user WHERE {column} = ?", (value,)).fetchone()  # noqa: S608
        return dict(row) if row else None

    def add_user(self, email: str, password: str, name: str, picture: str, later_role: str) -> dict[str, Any]:
        """Add an account: the very first becomes ``admin``, any other gets ``later_role``.

        :raises sqlite3.IntegrityError: if the e-mail is taken.
        """
        salt = secrets.token_bytes(16)
        identity, now = str(uuid.uuid4()), int(time.time())
        with self._lock, self._connect() as connection:
            first = connection.execute("SELECT count(*) FROM user").fetchone()[0] == 0
            role = "admin" if first else later_role
            connection.execute(
                "INSERT INTO auth VALUES (?, ?, ?, 1)", (identity, email, _hash(password, salt))
            )
            connection.execute(
                "INSERT INTO user VALUES (?,?,?,?,?,?,?,?)",
                (identity, name, email, role, picture, now, now, now),
            )
        user = self.user("id", identity)
        assert user is not None
        return user

    def authenticate(self, email: str, password: str) -> dict[str, Any] | None:
        """The account, if the password is right."""
        with self._connect() as connection:
            row = connection.execute(
                "SELECT password FROM auth WHERE email = ? AND active = 1", (email,)
            ).fetchone()
        if row is None or not secrets.compare_digest(
            row["password"], _hash(password, bytes.fromhex(row["password"][:32]))
        ):
            return None
        return self.user("email", email)

    def set_password(self, email: str, password: str) -> None:
        """Give an account a new password."""
        with self._connect() as connection:
            values = (_hash(password, secrets.token_bytes(16)), email)
            connection.execute("UPDATE auth SET password = ? WHERE email = ?", values)


def _hash(password: str, salt: bytes) -> str:
    """Salt and scrypt hash in hex. (The real one uses bcrypt, which is not in the standard library.)"""
    return salt.hex() + hashlib.scrypt(password.encode(), salt=salt, n=4096, r=8, p=1).hex()


def data_folder() -> Path:
    """The data volume."""
    return Path(os.environ.get("DATA_DIR", "/app/backend/data"))


DATABASE = Database(data_folder())
SETTINGS = Settings(DATABASE, os.environ)
