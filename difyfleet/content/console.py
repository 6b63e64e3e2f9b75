"""The way into a host's Dify: one client and one login per run, and never a second try with a password that was refused.

Dify locks an e-mail address for 24 hours at the seventh wrong password. A scheduled plan with a wrong password in its inventory would
get there by itself, so a refused login is noted on the host (salted hash, root-only) and not tried again until the password is another.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import time
from typing import Any

from difyfleet.clients.dify import Dify
from difyfleet.clients.dify import errors as refused
from difyfleet.clients.dify.transport import Retry
from difyfleet.content import state
from difyfleet.errors import HostError
from difyfleet.facts.dify_state import REFUSED_PATH, JsonFile
from difyfleet.facts.secrets import SECRETS_DIR, HostSecrets
from difyfleet.remote.http import reading, session
from difyfleet.secrets import Secret
from difyfleet.spec import models as spec_models
from difyfleet.spec.models import HostSpec
from difyfleet.spec.secret_values import value_of

PROJECT = "dify"  # compose project
ADMIN_PASSWORD = "dify_admin_password"  # noqa: S105 - a name
START = 120.0  # seconds that a server which was just started may take to answer
_NOT_UP = (refused.NoAnswer, refused.GatewayError, refused.ServerCrashed, refused.NoSuchRoute)
_CLIENT, _FAILED, _REFUSED = "difyfleet.dify", "difyfleet.dify_login_error", "difyfleet.dify_login_refused"
_IN_VAIN, _SET_UP = "difyfleet.dify_waited_in_vain", "difyfleet.dify_set_up"
_KNOWN_FOR = 30.0  # seconds that the word of a Dify that it has an admin stands: each operation and check on its content asks


def base_url(dify: spec_models.Dify) -> str:
    """Dify as its own host reaches it, through nginx."""
    address = {"0.0.0.0": "127.0.0.1", "::": "[::1]", "": "127.0.0.1"}.get(dify.bind, dify.bind)
    if dify.https.enabled:
        return f"https://{address}:{dify.https.port}"
    return f"http://{address}:{dify.http_port}"


def client(on: Any, spec: HostSpec) -> Dify:
    """The host's client, one per run; logged in or not."""
    found = on.connector_data.get(_CLIENT)
    if found is None:
        found = Dify(session(on), base_url(spec.dify), reading=reading, retry=Retry(attempts=3, pause=0.3))
        on.connector_data[_CLIENT] = found
    return found  # type: ignore[no-any-return]


def set_up(on: Any, spec: HostSpec, *, wait: float = 0.0) -> bool | None:
    """Whether Dify has an admin; None = Dify does not answer (it is not there yet, or down).

    Args:
        wait: seconds to go on trying; once per run, since the checks of four roles ask, and a Dify that is down stays down.
    """
    wait = 0.0 if on.connector_data.get(_IN_VAIN) else wait
    changes, now = getattr(on.connector, "changes", 0), time.monotonic()
    known_at = on.connector_data.get(_SET_UP, {}).get(
        changes
    )  # an answer from before the last change says nothing
    if known_at is not None and now - known_at < _KNOWN_FOR:
        return True
    try:
        dify = client(on, spec)
        finished = (dify.setup.wait(wait) if wait else dify.setup.status()).finished
        if finished:
            on.connector_data[_SET_UP] = {changes: time.monotonic()}
        return finished
    except _NOT_UP:
        on.connector_data[_IN_VAIN] = wait > 0.0 or on.connector_data.get(_IN_VAIN, False)
        return None


def signed_in(on: Any, spec: HostSpec) -> Dify:
    """The client, logged in as the admin. One try per run, and none at all with a password that was refused before.

    Raises:
        HostError: the password is not known, wrong, or was refused before; the account is locked; or Dify does not answer.
    """
    dify = client(on, spec)
    if dify.session.logged_in:
        return dify
    if _FAILED in on.connector_data:
        raise on.connector_data[_FAILED]
    try:
        _login(on, spec, dify)
    except _NOT_UP:
        raise  # no word about the password: the next operation may try again
    except HostError as error:
        on.connector_data[_FAILED] = error
        raise
    return dify


def reader(on: Any, spec: HostSpec, *, executing: bool) -> Dify | None:
    """The logged-in client, or None in a plan when there is nothing to log in to yet ("known after apply").

    Raises:
        HostError: as signed_in; and while executing also when Dify does not answer or has no admin.
    """
    ready = set_up(on, spec, wait=START if executing else 0.0)
    if ready:
        try:
            return signed_in(on, spec)
        except _NOT_UP:
            if executing:
                raise
            return None  # half of it runs, after a cut apply say: the roles before this one mend it
    if not executing:
        return None
    if ready is None:
        raise HostError(
            "Dify does not answer",
            where=base_url(spec.dify),
            hint="difyfleet verify --role dify; docker logs --tail 50 dify-api-1",
        )
    raise HostError(
        "Dify has no admin yet",
        where=base_url(spec.dify),
        hint="difyfleet apply (without --role, or with --role dify_admin)",
    )


def admin_password(on: Any, spec: HostSpec) -> Secret | None:
    """The admin's password: the inventory's, else the one generated and kept on the host; None = not known."""
    given = value_of(spec.admin.password)
    if given is not None:
        return given
    kept = on.get_fact(HostSecrets).get(ADMIN_PASSWORD)
    return kept.value if kept else None


def password_source(spec: HostSpec) -> str:
    """Where the password comes from, in words."""
    return (
        "admin.password of the inventory"
        if value_of(spec.admin.password)
        else f"{SECRETS_DIR}/{ADMIN_PASSWORD}"
    )


def _login(on: Any, spec: HostSpec, dify: Dify) -> None:
    email, password = spec.admin.email, admin_password(on, spec)
    where = f"Dify admin {email}"
    if password is None:
        raise HostError(
            "Dify has an admin already, and its password is known neither to the inventory nor to the host",
            where=where,
            hint="give it as admin.password, or set a new one: difyfleet dify reset-password INVENTORY --limit HOST",
        )
    record = _refused(on)
    if record is not None and is_of(record, email, password):
        raise HostError(
            f"the password from {password_source(spec)} was refused on {record.get('at', 'an earlier run')} and is not tried again",
            where=where,
            hint="correct it, or make it the right one: difyfleet dify reset-password INVENTORY --limit HOST",
        )
    try:
        dify.session.login(email, password)
    except refused.LoginRefused as error:
        text = record_of(email, password)
        state.write_file(on, REFUSED_PATH, text)
        on.connector_data[_REFUSED] = json.loads(text)
        raise HostError(
            f"Dify refused the login with the password from {password_source(spec)} ({error.what}). One try was made",
            where=where,
            hint="correct it, or make it the right one: difyfleet dify reset-password INVENTORY --limit HOST",
        ) from error
    except refused.LockedOut as error:
        raise HostError(
            f"the account is locked after too many wrong passwords ({error.what})",
            where=where,
            hint="difyfleet dify unlock INVENTORY --limit HOST",
        ) from error


def _refused(on: Any) -> dict[str, Any] | None:
    """The note about a refused login; read once per run."""
    if _REFUSED not in on.connector_data:
        on.connector_data[_REFUSED] = on.get_fact(JsonFile, path=REFUSED_PATH)
    found: dict[str, Any] | None = on.connector_data[_REFUSED]
    return found


def refused_before(on: Any) -> bool:
    """Whether the note about a refused login is there."""
    return _refused(on) is not None


def forget_refusal(on: Any) -> None:
    """Remove the note about a refused login.

    Raises:
        HostError: it could not be removed.
    """
    state.remove_file(on, REFUSED_PATH)
    on.connector_data[_REFUSED] = None


def record_of(email: str, password: Secret) -> str:
    """The note about a refused login: no password, only what tells whether another one is the same."""
    from datetime import datetime, timezone

    salt = secrets.token_bytes(16)
    now = datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
    body = {"at": now, "email": email, "salt": salt.hex(), "hash": _hash(password, salt)}
    return json.dumps(body) + "\n"


def is_of(record: dict[str, Any], email: str, password: Secret) -> bool:
    """Whether a note is about this e-mail and password."""
    try:
        salt = bytes.fromhex(str(record["salt"]))
    except (KeyError, ValueError):
        return False
    return record.get("email") == email and secrets.compare_digest(
        str(record.get("hash", "")), _hash(password, salt)
    )


def _hash(password: Secret, salt: bytes) -> str:
    return hashlib.scrypt(password.reveal().encode(), salt=salt, n=2**14, r=8, p=1, dklen=32).hex()


def forget_login(on: Any) -> None:
    """After a reset: this run may log in again."""
    on.connector_data.pop(_FAILED, None)
