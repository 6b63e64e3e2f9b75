"""API keys: of one app (for its service API), and of the workspace (for the knowledge base API)."""

from __future__ import annotations

from dataclasses import dataclass

from difyfleet.clients.dify.fields import Fields
from difyfleet.clients.dify.transport import Transport
from difyfleet.secrets import Secret

_API = "/console/api"
MOST = 10  # keys of one app, or of the workspace


@dataclass(frozen=True)
class ApiKey:
    """A key. It has no name: keep its id. The server shows the token in full every time."""

    id: str
    token: Secret
    created_at: int  # seconds since 1970


class Keys:
    """Keys of apps, and of the workspace's knowledge bases where no app is given."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def all(self, app_id: str | None = None) -> list[ApiKey]:
        """The keys, oldest first."""
        return sorted(
            (_key(entry) for entry in self._transport.get(_path(app_id)).objects("data")),
            key=lambda key: key.created_at,
        )

    def create(self, app_id: str | None = None) -> ApiKey:
        """A new key. List first: an app has ten at most.

        Raises:
            TooManyKeys: there are ten.
        """
        return _key(self._transport.write("POST", _path(app_id)))

    def delete(self, key_id: str, app_id: str | None = None) -> None:
        """Delete a key.

        Raises:
            NotFound: it is gone already.
        """
        self._transport.write("DELETE", f"{_path(app_id)}/{key_id}")


def _path(app_id: str | None) -> str:
    # datasets/{id}/api-keys exists too, and crashes; these keys are for the whole workspace
    return f"{_API}/apps/{app_id}/api-keys" if app_id else f"{_API}/datasets/api-keys"


def _key(entry: Fields) -> ApiKey:
    return ApiKey(
        id=entry.text("id"), token=Secret(entry.text("token")), created_at=entry.integer("created_at", 0)
    )
