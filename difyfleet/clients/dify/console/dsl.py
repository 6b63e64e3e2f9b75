"""Apps as YAML (Dify's DSL, version 0.1.3 in 0.11.2)."""

from __future__ import annotations

from difyfleet.clients.dify.console.apps import App, Icon, parse_app
from difyfleet.clients.dify.transport import Transport

_API = "/console/api/apps"


class Dsl:
    """Export and import of apps."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def export(self, app_id: str, *, include_secret: bool = False) -> str:
        """The app as YAML text. Ids of knowledge bases are in it as they are; they mean nothing to another server.

        Args:
            include_secret: secrets of a workflow's environment too.
        """
        query = {"include_secret": "true"} if include_secret else None
        return self._transport.get(f"{_API}/{app_id}/export", query).text("data")

    def import_app(
        self,
        yaml_text: str,
        *,
        name: str | None = None,
        description: str | None = None,
        icon: Icon | None = None,
    ) -> App:
        """A NEW app from YAML, every time. Neither the model nor the knowledge bases are looked at, nor is the DSL's version.

        Raises:
            InvalidRequest: not YAML, or without `app`.
            ServerCrashed: YAML that is not a mapping.
        """
        body: dict[str, str] = {"data": yaml_text}
        if name is not None:
            body["name"] = name
        if description is not None:
            body["description"] = description
        if icon is not None:
            body |= {"icon_type": "emoji", "icon": icon.emoji, "icon_background": icon.background}
        return parse_app(self._transport.write("POST", f"{_API}/import", body))
