"""Who may ask, and where the data lies: read from the environment, and refused as the real server refuses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


def _flag(environ: Mapping[str, str], name: str, default: str = "false") -> bool:
    return environ.get(name, default).strip().lower() in {"true", "1", "on", "enabled"}


def _list(environ: Mapping[str, str], name: str) -> list[str]:
    return [item.strip() for item in environ.get(name, "").split(",") if item.strip()]


@dataclass(frozen=True)
class Settings:
    """Who may do what, and where the data lies."""

    data: Path
    anonymous: bool
    users: Mapping[str, str]  # key -> user
    admins: frozenset[str] | None  # None: no admin list

    @classmethod
    def load(cls, environ: Mapping[str, str]) -> Settings:
        """Read the environment.

        :raises ValueError: as the real one refuses to start: no data path, keys on without a key, several users that do not
            pair with the keys.
        """
        if not environ.get("PERSISTENCE_DATA_PATH"):
            raise ValueError("persistence.dataPath must be set")
        users: dict[str, str] = {}
        if _flag(environ, "AUTHENTICATION_APIKEY_ENABLED"):
            keys = _list(environ, "AUTHENTICATION_APIKEY_ALLOWED_KEYS")
            names = _list(environ, "AUTHENTICATION_APIKEY_USERS")
            if not keys:
                raise ValueError("api-key auth: need at least one valid allowed key")
            if not names:
                raise ValueError("api-key auth: need at least one user")
            if len(names) not in (1, len(keys)):
                raise ValueError(
                    "api-key auth: length of users and keys must match, alternatively provide single user for all keys"
                )
            users = dict(zip(keys, names if len(names) > 1 else names * len(keys), strict=True))
        anonymous = _flag(environ, "AUTHENTICATION_ANONYMOUS_ACCESS_ENABLED", "false" if users else "true")
        if not users and not anonymous:
            raise ValueError("auth: no authentication scheme is enabled and anonymous access is off")
        admins = None
        if _flag(environ, "AUTHORIZATION_ADMINLIST_ENABLED"):
            admins = frozenset(_list(environ, "AUTHORIZATION_ADMINLIST_USERS"))
        return cls(Path(environ["PERSISTENCE_DATA_PATH"]), anonymous, users, admins)

    def refusal(self, authorization: str) -> tuple[int, str] | None:
        """Status and message if a request may not pass."""
        if not authorization:
            if self.anonymous:
                return None
            return 401, "anonymous access not enabled, please provide an auth scheme such as OIDC"
        scheme, _, key = authorization.partition(" ")
        user = self.users.get(key.strip()) if scheme.lower() == "bearer" else None
        if user is None:
            return 401, "unauthorized: invalid api key"
        if self.admins is not None and user not in self.admins:
            return 403, f"forbidden: user '{user}' has insufficient permissions"
        return None
