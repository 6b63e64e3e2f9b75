"""Apps (assistants): make, find, configure, switch, delete."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from difyfleet.clients.dify.fields import Fields
from difyfleet.clients.dify.model_config import ModelConfig
from difyfleet.clients.dify.transport import Transport, only, pages

CHAT, AGENT_CHAT, COMPLETION = "chat", "agent-chat", "completion"
_API = "/console/api/apps"


@dataclass(frozen=True)
class Icon:
    """An emoji on a colour (`#FFEAD5`)."""

    emoji: str = "🤖"
    background: str = "#FFEAD5"


@dataclass(frozen=True)
class ListedApp:
    """An app as the list shows it. Names are not unique."""

    id: str
    name: str
    mode: str
    description: str
    icon: Icon | None
    created_at: int  # seconds since 1970


@dataclass(frozen=True)
class App:
    """An app in full."""

    id: str
    name: str
    mode: str
    description: str
    icon: Icon | None
    enable_site: bool
    enable_api: bool
    config: ModelConfig | None  # None for workflow and advanced-chat
    site: Mapping[str, Any]  # the web page: code, title, description, default_language ...
    api_base_url: str
    use_icon_as_answer_icon: bool = False


class Apps:
    """The workspace's apps."""

    page_size = 100  # the server's largest

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def all(self, name: str | None = None) -> list[ListedApp]:
        """All apps; with `name` those whose name contains it (letter case does not count), which is what the server filters by."""
        query = {"name": name} if name else {}
        return [
            _listed(entry)
            for entry in pages(
                lambda n: self._transport.get(_API, {"page": n, "limit": self.page_size, **query})
            )
        ]

    def find(self, name: str, mode: str | None = None) -> ListedApp | None:
        """The app of exactly this name (and mode), None if there is none.

        Raises:
            DifyError: there are several; the message lists their ids.
        """
        # the server looks at the first 30 characters of the filter only, which is why the filter is cut here and the names compared whole
        found = [app for app in self.all(name[:30]) if mode is None or app.mode == mode]
        app: ListedApp | None = only(found, name, "apps", f"GET {_API}")
        return app

    def get(self, app_id: str) -> App:
        """An app in full.

        Raises:
            NotFound: it is gone.
        """
        return _app(self._transport.get(f"{_API}/{app_id}"))

    def create(self, name: str, mode: str = CHAT, description: str = "", icon: Icon | None = None) -> str:
        """Make an app and give its id. Look for the name first: a second call makes a second app of the same name.

        A new app has its web page and service API on, and the workspace's default model (an OpenAI model where there is none).

        Args:
            name: 1 to 255 characters (the server takes an empty name, and crashes on a longer one).
        """
        shown = icon or Icon()
        body = {
            "name": name,
            "mode": mode,
            "description": description,
            "icon_type": "emoji",
            "icon": shown.emoji,
            "icon_background": shown.background,
        }
        return self._transport.write("POST", _API, body).text("id")

    def update(
        self, app_id: str, name: str, description: str, icon: Icon, *, use_icon_as_answer_icon: bool = False
    ) -> None:
        """Name, description and icon at once, always all: the server crashes on a body without description."""
        body = {
            "name": name,
            "description": description,
            "icon_type": "emoji",
            "icon": icon.emoji,
            "icon_background": icon.background,
            "use_icon_as_answer_icon": use_icon_as_answer_icon,
        }
        self._transport.write("PUT", f"{_API}/{app_id}", body)

    def rename(self, app_id: str, name: str) -> None:
        """Another name, nothing else."""
        self._transport.write("POST", f"{_API}/{app_id}/name", {"name": name})

    def set_icon(self, app_id: str, icon: Icon) -> None:
        """Another icon, nothing else."""
        self._transport.write(
            "POST", f"{_API}/{app_id}/icon", {"icon": icon.emoji, "icon_background": icon.background}
        )

    def set_site(self, app_id: str, **fields: str | bool) -> None:
        """Fields of the app's web page; only those given change. title, description, default_language (`zh-Hans`), copyright,
        privacy_policy, custom_disclaimer, chat_color_theme, show_workflow_steps ...

        Raises:
            InvalidRequest: `default_language` is not one that Dify has.
        """
        self._transport.write("POST", f"{_API}/{app_id}/site", fields)

    def enable_site(self, app_id: str, on: bool) -> None:
        """The app's web page on or off."""
        self._transport.write("POST", f"{_API}/{app_id}/site-enable", {"enable_site": on})

    def enable_api(self, app_id: str, on: bool) -> None:
        """The app's service API on or off; off, its keys get 403."""
        self._transport.write("POST", f"{_API}/{app_id}/api-enable", {"enable_api": on})

    def set_config(self, app_id: str, config: ModelConfig) -> None:
        """Replace the configuration by this whole one. Compare first: every call writes another row.

        Raises:
            InvalidRequest: the model is not among the provider's models.
            NotFound: no such app, or a workflow app, which has no such configuration.
        """
        self._transport.write("POST", f"{_API}/{app_id}/model-config", config.body())

    def delete(self, app_id: str) -> None:
        """Delete an app with its keys and conversations. The worker does the rest later: for some seconds its keys get 403, then 401.

        Raises:
            NotFound: it is gone already.
        """
        self._transport.write("DELETE", f"{_API}/{app_id}")


def parse_app(data: Fields) -> App:
    """From the answers that show an app in full."""
    return _app(data)


def _app(data: Fields) -> App:
    config = data.mapping("model_config")
    return App(
        id=data.text("id"),
        name=data.text("name"),
        mode=data.text("mode"),
        description=data.text("description", ""),
        icon=_icon(data),
        enable_site=data.flag("enable_site"),
        enable_api=data.flag("enable_api"),
        config=ModelConfig.from_answer(config) if config else None,
        site=data.mapping("site"),
        api_base_url=data.text("api_base_url", ""),
        use_icon_as_answer_icon=data.flag("use_icon_as_answer_icon", False),
    )


def _listed(entry: Fields) -> ListedApp:
    return ListedApp(
        id=entry.text("id"),
        name=entry.text("name"),
        mode=entry.text("mode"),
        description=entry.text("description", ""),
        icon=_icon(entry),
        created_at=entry.integer("created_at", 0),
    )


def _icon(data: Fields) -> Icon | None:
    return Icon(data.text("icon"), data.text("icon_background", "")) if data.has("icon") else None
