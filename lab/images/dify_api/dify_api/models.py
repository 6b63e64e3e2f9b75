"""Models of a workspace: saved credentials, defaults, and ready-made clients for those who use them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from . import db
from .http import ApiError
from .ollama import Model

# The 55 providers of this release, in its order. Only Ollama can be configured here.
PROVIDERS = (
    "openai", "anthropic", "azure_openai", "google", "vertex_ai", "nvidia", "nvidia_nim", "cohere", "upstage", "bedrock",
    "togetherai", "openrouter", "ollama", "mistralai", "groq", "replicate", "huggingface_hub", "xinference",
    "triton_inference_server", "zhipuai", "baichuan", "spark", "minimax", "tongyi", "wenxin", "moonshot", "tencent", "jina",
    "chatglm", "yi", "openllm", "localai", "volcengine_maas", "openai_api_compatible", "deepseek", "hunyuan", "siliconflow",
    "perfxcloud", "zhinao", "fireworks", "mixedbread", "nomic", "voyage", "huggingface_tei", "stepfun", "vessl_ai", "gpustack",
    "sagemaker", "leptonai", "oci", "x", "fishaudio", "gitee_ai", "novita", "azure_ai_studio",
)  # fmt: skip
TYPES = ("llm", "text-embedding", "rerank", "speech2text", "moderation", "tts", "text2img")
# Rows of tenant_default_models carry older words than the API.
_OLD_WORDS = {"llm": "text-generation", "text-embedding": "embeddings", "rerank": "reranking"}


def old_word(model_type: str) -> str:
    """The word under which a default model is looked up."""
    return _OLD_WORDS.get(model_type, model_type)


class ProviderMissing(ApiError):
    """400: a model is to be used whose credentials are not there (any more)."""

    def __init__(self, model: str) -> None:
        super().__init__(400, "provider_not_initialize", f"Model {model} credentials is not initialized.")


@dataclass(frozen=True)
class Models:
    """The models of one workspace."""

    database: db.Database
    tenant: str

    def saved(self, model_type: str = "") -> list[db.Row]:
        """Rows of all saved models, LLMs first, or those of one type; in the order of their names' first saving."""
        rows = self.database.all(
            "SELECT * FROM provider_models WHERE tenant_id = %s AND (%s = '' OR model_type = %s) ORDER BY created_at",
            self.tenant, model_type, model_type,
        )  # fmt: skip
        return sorted(rows, key=lambda row: TYPES.index(row["model_type"]))

    def credentials(self, model: str, model_type: str) -> dict[str, str] | None:
        """What was saved for a model, if anything."""
        row = self.database.one(
            "SELECT encrypted_config FROM provider_models WHERE tenant_id = %s AND model_name = %s AND model_type = %s",
            self.tenant, model, model_type,
        )  # fmt: skip
        return row["encrypted_config"] if row else None

    def save(self, model: str, model_type: str, credentials: dict[str, str]) -> None:
        """Add a model, or overwrite its credentials."""
        self.database.execute(
            "INSERT INTO provider_models (tenant_id, provider_name, model_name, model_type, encrypted_config)"
            " VALUES (%s, 'ollama', %s, %s, %s) ON CONFLICT (tenant_id, provider_name, model_name, model_type)"
            " DO UPDATE SET encrypted_config = EXCLUDED.encrypted_config, updated_at = now()",
            self.tenant, model, model_type, db.as_json(credentials),
        )  # fmt: skip

    def remove(self, model: str, model_type: str) -> None:
        """Forget a model; a default that names it stays, as in the real server."""
        self.database.execute(
            "DELETE FROM provider_models WHERE tenant_id = %s AND model_name = %s AND model_type = %s",
            self.tenant, model, model_type,
        )  # fmt: skip

    def default(self, model_type: str) -> db.Row | None:
        """The default model of a type.

        Asking makes one: without a row the first saved model of the type becomes the default.
        """
        row = self.database.one(
            "SELECT * FROM tenant_default_models WHERE tenant_id = %s AND model_type = %s ORDER BY created_at LIMIT 1",
            self.tenant, old_word(model_type),
        )  # fmt: skip
        if row:
            return row
        first = next(iter(self.saved(model_type)), None)
        if first is None:
            return None
        return self.database.one(
            "INSERT INTO tenant_default_models (tenant_id, provider_name, model_name, model_type)"
            " VALUES (%s, 'ollama', %s, %s) RETURNING *",
            self.tenant, first["model_name"], old_word(model_type),
        )  # fmt: skip

    def set_default(self, model_type: str, model: str) -> None:
        """Change the default.

        As in the real server a default that nobody has read yet gets a row under the new word, which no reader looks for.
        """
        with self.database.transaction() as cursor:
            cursor.execute(
                "UPDATE tenant_default_models SET model_name = %s, provider_name = 'ollama', updated_at = now()"
                " WHERE tenant_id = %s AND model_type = %s",
                (model, self.tenant, old_word(model_type)),
            )
            if cursor.rowcount == 0:
                cursor.execute(
                    "INSERT INTO tenant_default_models (tenant_id, provider_name, model_name, model_type)"
                    " VALUES (%s, 'ollama', %s, %s)",
                    (self.tenant, model, model_type),
                )

    def client(self, model: str, model_type: str, parameters: dict[str, Any] | None = None) -> Model:
        """A client of a saved model.

        :raises ProviderMissing: if it is not saved.
        """
        credentials = self.credentials(model, model_type)
        if credentials is None:
            raise ProviderMissing(model)
        return Model(model, credentials["base_url"], credentials.get("mode", "chat"), dict(parameters or {}))
