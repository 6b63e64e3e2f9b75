"""Models of the provider Ollama, and the workspace's default models."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from difyfleet.clients.dify.errors import DifyError, ModelRefused
from difyfleet.clients.dify.fields import Fields
from difyfleet.clients.dify.transport import MODEL, Transport

LLM, EMBEDDING = "llm", "text-embedding"
_API = "/console/api/workspaces/current"


@dataclass(frozen=True)
class OllamaModel:
    """A model of an Ollama server, as Dify wants to know it.

    Args:
        name: with its tag, as `ollama list` shows it.
        type: llm or text-embedding.
        base_url: Ollama as the api and worker containers see it; without /api at the end.
        context_size: tokens. For an embedding model its real window, since longer segments are cut to it. It does not set Ollama's num_ctx,
            which is a completion parameter of the app.
        max_tokens: longest answer, in tokens; llm only.
        mode: chat or completion; llm only.
        vision: whether images may be sent; llm only.
    """

    name: str
    type: str
    base_url: str
    context_size: int = 4096
    max_tokens: int = 4096
    mode: str = "chat"
    vision: bool = False

    def credentials(self) -> dict[str, str]:
        """The form's fields. All values are texts: a number is refused."""
        fields = {"base_url": self.base_url.rstrip("/"), "context_size": str(self.context_size)}
        if self.type == LLM:
            fields |= {
                "mode": self.mode,
                "max_tokens": str(self.max_tokens),
                "vision_support": str(self.vision).lower(),
            }
        return fields

    def differences(self, credentials: Mapping[str, str] | None) -> dict[str, tuple[str | None, str]]:
        """Fields of the stored credentials that are not as here: name -> (is, wanted). None = the model is not there."""
        stored = dict(credentials or {})
        if "base_url" in stored:
            stored["base_url"] = stored["base_url"].rstrip("/")
        wanted = self.credentials()
        return {
            name: (stored.get(name), value) for name, value in wanted.items() if stored.get(name) != value
        }


@dataclass(frozen=True)
class ListedModel:
    """A model as the lists show it. `status` is `active` even while its server is down: nothing is tried."""

    provider: str
    name: str
    type: str
    status: str


class Models:
    """Model provider and default models of the workspace."""

    provider = "ollama"

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def all(self) -> list[ListedModel]:
        """The provider's models."""
        data = self._transport.get(f"{_API}/model-providers/{self.provider}/models")
        return [_listed(entry, self.provider) for entry in data.objects("data")]

    def of_type(self, model_type: str) -> list[ListedModel]:
        """The models of one type, of all providers that have some."""
        data = self._transport.get(f"{_API}/models/model-types/{model_type}")
        groups = data.objects("data")
        return [
            _listed(entry, group.text("provider"), model_type)
            for group in groups
            for entry in group.objects("models")
        ]

    def credentials(self, name: str, model_type: str) -> dict[str, str] | None:
        """What was stored for a model, unmasked (Ollama has no secret field); None = there is no such model."""
        query = {"model": name, "model_type": model_type}
        data = self._transport.get(f"{_API}/model-providers/{self.provider}/models/credentials", query)
        return (
            {key: str(value) for key, value in data.mapping("credentials").items()}
            if data.has("credentials")
            else None
        )

    def validate(self, model: OllamaModel, *, timeout: float = MODEL) -> None:
        """Have Dify try the model: one chat of five tokens, or one embedding. Stores nothing.

        Args:
            timeout: seconds; a cold model on a slow CPU takes a minute to load.

        Raises:
            ModelRefused: Dify could not use it; the text is Dify's. (The server says so with HTTP 200.)
            InvalidRequest: a field is missing or malformed.
        """
        path = f"{_API}/model-providers/{self.provider}/models/credentials/validate"
        answer = self._transport.ask(path, _body(model), timeout=timeout)
        if answer.text("result") != "success":
            words = answer.text("error", "no reason given").removeprefix(
                "An error occurred during credentials validation: "
            )
            raise ModelRefused(f"{model.name}: {words}", where=answer.where, status=200)

    def add(self, model: OllamaModel, *, timeout: float = MODEL) -> None:
        """Store a model, or other credentials for it: the same call. The server tries it first, and stores nothing if that fails.

        Raises:
            ModelRefused: it cannot be used.
        """
        self._transport.write(
            "POST", f"{_API}/model-providers/{self.provider}/models", _body(model), timeout=timeout
        )

    def remove(self, name: str, model_type: str) -> None:
        """Take a model out; fine if it is not there. Apps and knowledge bases that use it are not asked, and fail later: apps with
        `provider_not_initialize`, knowledge bases by finding nothing, in silence. The default goes on naming it."""
        body = {"model": name, "model_type": model_type}
        self._transport.write("DELETE", f"{_API}/model-providers/{self.provider}/models", body)

    def parameter_rules(self, name: str) -> list[str]:
        """Names of the completion parameters that a model takes."""
        path = f"{_API}/model-providers/{self.provider}/models/parameter-rules"
        return [entry.text("name") for entry in self._transport.get(path, {"model": name}).objects("data")]

    def default(self, model_type: str) -> tuple[str, str] | None:
        """(provider, model) of the default of a type, None if there is none.

        Not quite a read: where none is set and a model of the type exists, the server sets the first one by this very call. It also goes on
        naming a model that was removed: look in `all` too.
        """
        data = self._transport.get(f"{_API}/default-model", {"model_type": model_type})
        if not data.has("data"):
            return None
        entry = data.object("data")
        return entry.object("provider").text("provider"), entry.text("model")

    def set_defaults(self, models: Mapping[str, str]) -> None:
        """Set default models: type -> model name of this provider.

        Each type is read first: 0.11.2 stores a default that it has no row for under a name that it never looks for, and reading makes
        the row. Read back afterwards, since a bad entry stops the call with the earlier ones done.

        Raises:
            InvalidRequest: the model is not there.
            DifyError: the server took it and does not show it.
        """
        for model_type in models:
            self.default(model_type)
        settings = [
            {"model_type": kind, "provider": self.provider, "model": name} for kind, name in models.items()
        ]
        self._transport.write("POST", f"{_API}/default-model", {"model_settings": settings})
        for model_type, name in models.items():
            found = self.default(model_type)
            if found != (self.provider, name):
                where = f"POST {_API}/default-model"
                raise DifyError(
                    f"the default {model_type} model is {found}, not {self.provider} {name}", where=where
                )


def _body(model: OllamaModel) -> dict[str, Any]:
    return {"model": model.name, "model_type": model.type, "credentials": model.credentials()}


def _listed(entry: Fields, provider: str, model_type: str = "") -> ListedModel:
    return ListedModel(
        provider, entry.text("model"), entry.text("model_type", model_type), entry.text("status")
    )
