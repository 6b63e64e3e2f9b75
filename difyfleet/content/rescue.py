"""Getting back in: a new password for the admin, and the login lock cleared. Both run inside Dify's containers, by the root of the host."""

from __future__ import annotations

import re
from typing import Any

from difyfleet.content import console
from difyfleet.content.console import ADMIN_PASSWORD, PROJECT
from difyfleet.content.state import run, write_file
from difyfleet.errors import HostError
from difyfleet.facts.secrets import SECRETS_DIR
from difyfleet.secrets import Secret, generate, mask
from difyfleet.spec.models import HostSpec

RULE = re.compile(r"(?=.*[a-zA-Z])(?=.*\d).{8,}")  # Dify's libs/password.py
_EMAIL = re.compile(r"[^@\s]+@[^@\s]+")


def strong() -> Secret:
    """A generated password that satisfies Dify's rule. (48 hex digits without a letter or a digit are unlikely, not impossible.)"""
    while True:
        value = generate()
        if RULE.fullmatch(value.reveal()):
            return value


def reset_password(on: Any, spec: HostSpec) -> str:
    """Make the password known here the right one: the inventory's, else the one kept on the host, else a new one that is kept there.

    The lock is cleared too; 0.11.2 leaves it by itself. Then one login proves it.

    Raises:
        HostError: there is no such account, or the api container does not run.
    """
    email = spec.admin.email
    password, source = console.admin_password(on, spec), console.password_source(spec)
    if password is None:
        password = strong()
        write_file(on, f"{SECRETS_DIR}/{ADMIN_PASSWORD}", password.reveal())
        source = f"{SECRETS_DIR}/{ADMIN_PASSWORD} (newly generated)"
    # asked for at the command's own prompts, so that the password stands in no process's arguments
    answers = f"{email}\n{password.reveal()}\n{password.reveal()}\n"
    said = run(
        on,
        f"docker exec -i {PROJECT}-api-1 flask reset-password",
        f"{PROJECT}-api-1",
        stdin=answers,
        timeout=180,
    )
    words = mask(" ".join(" ".join(said).split()))
    if "reset successfully" not in words:
        last = words.rpartition("Confirm new password:")[2].strip() or words[-200:]
        raise HostError(
            f"the password was not reset: {last}",
            where=f"Dify admin {email}",
            hint="is admin.email of the inventory the account's address? docker logs --tail 50 dify-api-1",
        )
    unlock(on, spec)
    console.forget_login(on)
    console.signed_in(on, spec)
    return f"password of {email} is the one from {source}; login works"


def unlock(on: Any, spec: HostSpec) -> str:
    """Clear the count of wrong passwords, and the note that keeps difyfleet from trying a refused one again.

    Raises:
        HostError: the redis container does not answer.
    """
    email = spec.admin.email
    if not _EMAIL.fullmatch(email):
        raise HostError(f"{email!r} is no e-mail address", where="admin.email")
    # REDISCLI_AUTH is in the container's environment
    commands = f"SELECT 0\nDEL login_error_rate_limit:{email}\n"
    said = run(
        on, f"docker exec -i {PROJECT}-redis-1 redis-cli", f"{PROJECT}-redis-1", stdin=commands, timeout=60
    )
    if any("NOAUTH" in line or "ERR" in line for line in said):
        raise HostError(
            f"Redis refused: {'; '.join(said)[:200]}",
            where=f"{PROJECT}-redis-1",
            hint="difyfleet apply --role dify",
        )
    console.forget_refusal(on)
    console.forget_login(on)
    was = "was locked or had wrong tries" if said and said[-1].strip().endswith("1") else "was not locked"
    return f"{email} may log in again ({was})"
