"""The ``flask`` commands of the real image that a deployer runs in the api container."""

from __future__ import annotations

import argparse
import os
import re
import sys

import psycopg2
import redis

from . import db, settings

PASSWORD = re.compile(r"^(?=.*[a-zA-Z])(?=.*\d).{8,}$")


def flask(argv: list[str]) -> int:
    """``flask upgrade-db`` and ``flask reset-password``; returns the exit status."""
    parser = argparse.ArgumentParser(prog="flask")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("upgrade-db")
    reset = commands.add_parser("reset-password")
    for option in ("--email", "--new-password", "--password-confirm"):
        reset.add_argument(option)
    arguments = parser.parse_args(argv)
    loaded = settings.load_or_exit(os.environ)
    if arguments.command == "upgrade-db":
        try:
            db.upgrade(loaded)
        except redis.RedisError as error:
            print(f"{type(error).__module__}.{type(error).__name__}: {error}", file=sys.stderr, flush=True)
            return 1
        return 0
    return _reset_password(loaded, arguments.email, arguments.new_password, arguments.password_confirm)


def _ask(prompt: str, value: str | None) -> str:
    """An option's value, else a line from standard input, as click's prompt reads it."""
    if value is not None:
        return value
    print(f"{prompt}: ", end="", flush=True)
    return sys.stdin.readline().rstrip("\n")


def _reset_password(
    loaded: settings.Settings, email: str | None, first: str | None, second: str | None
) -> int:
    """Like the real command it prints what is wrong and still ends with status 0."""
    email = _ask("Email", email)
    new, confirm = _ask("New password", first), _ask("Password confirm", second)
    if new.strip() != confirm.strip():
        print("Passwords do not match.", file=sys.stdout)
        return 0
    database = db.Database(loaded)
    try:
        account = database.one("SELECT * FROM accounts WHERE email = %s", email)
    except psycopg2.Error as error:
        print(f"sqlalchemy.exc.OperationalError: {error}", file=sys.stderr)
        return 1
    if account is None:
        print(f"Account not found for email: {email}")
        return 0
    if not PASSWORD.match(new):
        print("Invalid password. Must match ^(?=.*[a-zA-Z])(?=.*\\d).{8,}$")
        return 0
    hashed, salt = db.new_password(new)
    database.execute(
        "UPDATE accounts SET password = %s, password_salt = %s WHERE id = %s", hashed, salt, account["id"]
    )
    print("Password reset successfully.")
    return 0
