"""The value of a secret source: environment, file or command on the controller; checked before it can reach a host."""

from __future__ import annotations

import os
import re
import subprocess
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from difyfleet.errors import SpecError
from difyfleet.secrets import Secret, mask
from difyfleet.spec.local_files import readable_by_others
from difyfleet.spec.problems import SpecErrors
from difyfleet.spec.public_secrets import public_default
from difyfleet.spec.secret_source import FromCommand, FromEnv, FromFile, Generate, SecretSource

if TYPE_CHECKING:
    from difyfleet.spec.models import HostSpec

COMMAND_TIMEOUT = 30  # seconds; a password store that wants a passphrase would otherwise hang the run
INIT_PASSWORD_MAX = 30  # Dify: StrLen(30) on INIT_PASSWORD
BCRYPT_MAX = 72  # bytes; Open WebUI hashes with bcrypt, which ignores or refuses the rest

_SPECIAL = "'\"\\$#%@:/`"  # quoting, interpolation, comments, percent-encoding, URL delimiters
_cache: dict[str, str] = {}
_lock = threading.Lock()


def value_of(source: SecretSource | None) -> Secret | None:
    """The secret behind a source; None when it is to be generated and kept on the host.

    Values are read once per process (a password store may ask its user each time).

    Raises:
        SpecError: variable missing, file readable by others, command failed or timed out, or a value that cannot be used safely.
            The text never holds the value.
    """
    if source is None or isinstance(source, Generate):
        return None
    key = source.model_dump_json()
    with _lock:
        text = _cache.get(key)
        if text is None:
            text = _cache[key] = _READERS[type(source)](source)
    secret = Secret(text)
    place = source.place
    reason = unfit(place.field if place else "", text)
    if reason:
        raise _error(source, f"the value from {describe(source)} {reason}")
    return secret


def require_all(hosts: tuple[HostSpec, ...]) -> None:
    """Read every secret that the hosts name, so that a missing one is found before any host is contacted.

    Raises:
        SpecErrors: all that could not be read, one line each.
    """
    errors: dict[str, SpecError] = {}
    sections = {id(section): section for spec in hosts for section in dict(spec).values()}  # many share them
    for section in sections.values():
        for source in _sources(section):
            try:
                value_of(source)
            except SpecError as error:
                errors.setdefault(str(error), error)
    if errors:
        raise SpecErrors(errors.values())


def sources_in(model: BaseModel) -> Iterator[SecretSource]:
    """Every secret source below a model."""
    for value in dict(model).values():
        yield from _sources(value)


def _sources(value: Any) -> Iterator[SecretSource]:
    if isinstance(value, FromEnv | FromFile | FromCommand | Generate):
        yield value
    elif isinstance(value, BaseModel):
        yield from sources_in(value)
    elif isinstance(value, list | tuple):
        for one in value:
            yield from _sources(one)
    elif isinstance(value, dict):
        for one in value.values():
            yield from _sources(one)


def forget() -> None:
    """Drop the cached values (tests)."""
    with _lock:
        _cache.clear()


def describe(source: SecretSource) -> str:
    """A source in words, without its value. Only the program of a command is named: its arguments may be private."""
    if isinstance(source, FromEnv):
        return f"environment variable {source.env}"
    if isinstance(source, FromFile):
        return f"file {source.file}"
    if isinstance(source, FromCommand):
        return f"command {source.command[0]}"
    return "generation on the host"


def unfit(field: str, text: str) -> str | None:
    """Why a text cannot be the value of a field (as in "is empty"), or None.

    Args:
        field: the field without its host, as in `dify.secrets.db_password`; unknown fields get the general rules.
        text: the value.
    """
    if not text:
        return "is empty"
    if "\n" in text or "\r" in text:
        return "has more than one line"
    if any(ord(character) < 32 or ord(character) == 127 for character in text):
        return "holds control characters"
    if public_default(text):
        return "is a secret that upstream publishes; anyone knows it"
    if field.startswith("dify.secrets."):
        return _unfit_for_env(field, text)
    # Dify: libs/password.py, at least one letter and one digit, 8 characters or more.
    if field == "admin.password" and not re.fullmatch(r"(?=.*[a-zA-Z])(?=.*\d).{8,}", text):
        return "is too weak for Dify: 8 characters or more, with a letter and a digit"
    if field in ("admin.password", "openwebui.admin.password") and len(text.encode()) > BCRYPT_MAX:
        return f"is longer than {BCRYPT_MAX} bytes, more than Open WebUI's hash takes"
    return None


def _unfit_for_env(field: str, text: str) -> str | None:
    """These values stand in .env files and broker URLs; what needs quoting anywhere on the way is refused."""
    bad = sorted(
        {character for character in text if not 33 <= ord(character) <= 126 or character in _SPECIAL}
    )
    if bad:
        return f"holds characters that .env files and URLs cannot carry safely ({len(bad)} kind(s)); use printable ASCII without blanks and {_SPECIAL}"
    if field == "dify.secrets.init_password":
        return (
            f"is longer than {INIT_PASSWORD_MAX} characters, Dify's limit"
            if len(text) > INIT_PASSWORD_MAX
            else None
        )
    return "is shorter than 8 characters" if len(text) < 8 else None


def _from_env(source: FromEnv) -> str:
    value = os.environ.get(source.env)
    if value is None:
        raise _error(source, f"the environment variable {source.env} is not set", f"export {source.env}=...")
    return value


def _from_file(source: FromFile) -> str:
    try:
        reason = readable_by_others(source.file)
        if reason:
            raise _error(source, reason)
        text = source.file.read_bytes().decode()
    except OSError as error:
        raise _error(source, f"cannot read {source.file}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise _error(source, f"{source.file} is not UTF-8 text") from None
    return text.removesuffix("\n").removesuffix("\r")


def _from_command(source: FromCommand) -> str:
    program = source.command[0]
    try:
        done = subprocess.run(
            source.command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=COMMAND_TIMEOUT,
            check=False,
        )
    except FileNotFoundError:
        raise _error(source, f"there is no program {program} for this secret") from None
    except OSError as error:
        raise _error(source, f"cannot run {program}: {error.strerror}") from None
    except subprocess.TimeoutExpired:
        raise _error(
            source, f"{program} gave no secret within {COMMAND_TIMEOUT} s; does it wait for a passphrase?"
        ) from None
    lines = done.stdout.decode(errors="replace").splitlines()
    if done.returncode != 0:
        for line in lines:
            Secret(line)  # so that mask() knows it, should the program repeat its output on stderr
        said = mask(done.stderr.decode(errors="replace").strip())[:300]
        raise _error(
            source, f"{program} ended with exit code {done.returncode}" + (f": {said}" if said else "")
        )
    if not lines:
        raise _error(source, f"{program} printed nothing")
    return lines[0]


_READERS: dict[type[Any], Callable[[Any], str]] = {
    FromEnv: _from_env,
    FromFile: _from_file,
    FromCommand: _from_command,
}


def _error(source: SecretSource, what: str, hint: str | None = None) -> SpecError:
    place = source.place
    return SpecError(
        f"{place.path}: {what}" if place else what, where=place.where if place else None, hint=hint
    )
