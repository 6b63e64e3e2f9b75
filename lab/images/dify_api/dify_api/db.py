"""PostgreSQL and Redis: connections, and the password hashes of accounts."""

from __future__ import annotations

import base64
import binascii
import hashlib
import logging
import secrets
from calendar import timegm
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import psycopg2
import psycopg2.extras
import redis

from . import schema
from .settings import Settings

log = logging.getLogger("dify_api.db")

CONNECT_TIMEOUT = 5  # s
_HEAD = "stand-in-0.11.2"  # alembic_version of the stand-in's schema: never a real revision

Row = dict[str, Any]


class Database:
    """Short transactions on the PostgreSQL of the settings. Connections are kept, and tried before they are used again."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._idle: list[Any] = []

    def _connection(self) -> Any:
        """One that answers.

        :raises psycopg2.Error: if the server cannot be reached or refuses.
        """
        while self._idle:
            with suppress(
                IndexError, psycopg2.Error
            ):  # another thread was faster, or the server has been away
                connection = self._idle.pop()
                with connection.cursor() as cursor:
                    cursor.execute("SELECT 1")
                return connection
        return psycopg2.connect(
            **self.settings.database,
            connect_timeout=CONNECT_TIMEOUT,
            options="-c timezone=UTC",  # so that now() is what the columns hold
            cursor_factory=psycopg2.extras.RealDictCursor,
        )

    @contextmanager
    def transaction(self) -> Iterator[Any]:
        """A cursor whose rows are dictionaries; committed at the end, rolled back on an exception.

        :raises psycopg2.Error: if the server cannot be reached or refuses.
        """
        connection = self._connection()
        try:
            with connection, connection.cursor() as cursor:
                yield cursor
        except BaseException:
            connection.close()
            raise
        self._idle.append(connection)

    def one(self, query: str, *values: object) -> Row | None:
        """The first row of a query, if any."""
        with self.transaction() as cursor:
            cursor.execute(query, values)
            row = cursor.fetchone()
            return dict(row) if row else None

    def all(self, query: str, *values: object) -> list[Row]:
        """All rows of a query."""
        with self.transaction() as cursor:
            cursor.execute(query, values)
            return [dict(row) for row in cursor.fetchall()]

    def execute(self, query: str, *values: object) -> None:
        """Run one statement."""
        with self.transaction() as cursor:
            cursor.execute(query, values)

    def create_schema(self) -> None:
        """Make the tables that are missing."""
        with self.transaction() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(5001)")
            cursor.execute(schema.ALL)
            cursor.execute("INSERT INTO alembic_version VALUES (%s) ON CONFLICT DO NOTHING", (_HEAD,))


def as_json(value: Any) -> Any:
    """A value for a json column."""
    return psycopg2.extras.Json(value)


def seconds(moment: Any) -> int | None:
    """A time stamp of the database as whole seconds since 1970."""
    return timegm(moment.timetuple()) if moment else None


def exact_seconds(moment: Any) -> float | None:
    """The same with its fraction."""
    return timegm(moment.timetuple()) + moment.microsecond / 1e6 if moment else None


def text_id(value: Any) -> str | None:
    """A UUID as text."""
    return str(value) if value else None


def connect_redis(url: str) -> Any:
    """A Redis client with short time-outs; connects at its first command."""
    return redis.Redis.from_url(url, socket_timeout=CONNECT_TIMEOUT, socket_connect_timeout=CONNECT_TIMEOUT)


def hash_password(password: str, salt: bytes) -> str:
    """The real server's scheme: base64 of the hex digits of PBKDF2-SHA256 with 10000 rounds."""
    digest = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, 10000)
    return base64.b64encode(binascii.hexlify(digest)).decode()


def new_password(password: str) -> tuple[str, str]:
    """Hash and salt, both base64, for the accounts table."""
    salt = secrets.token_bytes(16)
    return hash_password(password, salt), base64.b64encode(salt).decode()


def password_matches(account: Row, password: str) -> bool:
    """Is this the account's password?"""
    if not account["password"] or not account["password_salt"]:
        return False
    expected = hash_password(password, base64.b64decode(account["password_salt"]))
    return secrets.compare_digest(expected, account["password"])


def upgrade(settings: Settings) -> None:
    """The migration step of the start script.

    As in the real one, Redis holds the lock and must answer, while an error of the database is logged and swallowed: the
    server then starts without tables, and ``GET /console/api/setup`` answers 500.

    :raises redis.RedisError: if Redis cannot be reached or refuses the password.
    """
    print("Preparing database migration...", flush=True)
    lock = connect_redis(settings.redis_url).lock("db_upgrade_lock", timeout=60)
    if not lock.acquire(blocking=False):
        print("Database migration skipped", flush=True)
        return
    try:
        print("Starting database migration.", flush=True)
        Database(settings).create_schema()
        print("Database migration successful!", flush=True)
    except psycopg2.Error as error:
        log.error("Database migration failed: %s", error)
    finally:
        lock.release()
