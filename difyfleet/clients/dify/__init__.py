"""A typed client of Dify 0.11's console and service API, usable on its own.

It knows what the server does that one would not expect; see docs/reference/dify-client.md. It is given a requests session and a base URL, and
depends on nothing of difyfleet but `difyfleet.errors` and `difyfleet.secrets`.
"""

from difyfleet.clients.dify.client import Dify
from difyfleet.clients.dify.console.apps import App, Icon, ListedApp
from difyfleet.clients.dify.console.datasets import Dataset, DatasetSettings, settings_of
from difyfleet.clients.dify.console.documents import Batch, Document, DocumentDetail, Segment
from difyfleet.clients.dify.console.files import Limits, UploadedFile
from difyfleet.clients.dify.console.hit_testing import Hit
from difyfleet.clients.dify.console.indexing import IndexingStatus
from difyfleet.clients.dify.console.keys import ApiKey
from difyfleet.clients.dify.console.models import EMBEDDING, LLM, ListedModel, OllamaModel
from difyfleet.clients.dify.console.session import Account, Tokens, Workspace
from difyfleet.clients.dify.console.setup import SetupStatus
from difyfleet.clients.dify.errors import DifyError
from difyfleet.clients.dify.model_config import Difference, ModelConfig, Retrieval, Settings
from difyfleet.clients.dify.process_rules import ProcessRule
from difyfleet.clients.dify.retrieval import RetrievalModel
from difyfleet.clients.dify.service.chat import (
    Answer,
    AppService,
    Citation,
    Conversation,
    Event,
    Parameters,
    Usage,
)
from difyfleet.clients.dify.service.datasets import DatasetService
from difyfleet.clients.dify.transport import Counts, Retry
from difyfleet.secrets import Secret

__all__ = [
    "EMBEDDING",
    "LLM",
    "Account",
    "Answer",
    "ApiKey",
    "App",
    "AppService",
    "Batch",
    "Citation",
    "Conversation",
    "Counts",
    "Dataset",
    "DatasetService",
    "DatasetSettings",
    "Difference",
    "Dify",
    "DifyError",
    "Document",
    "DocumentDetail",
    "Event",
    "Hit",
    "Icon",
    "IndexingStatus",
    "Limits",
    "ListedApp",
    "ListedModel",
    "ModelConfig",
    "OllamaModel",
    "Parameters",
    "ProcessRule",
    "Retrieval",
    "RetrievalModel",
    "Retry",
    "Secret",
    "Segment",
    "Settings",
    "SetupStatus",
    "Tokens",
    "UploadedFile",
    "Usage",
    "Workspace",
    "settings_of",
]
