"""Secrets that upstream projects publish in their examples. Anyone can type them, so none may guard anything here."""

from __future__ import annotations

import re

_EXACT = frozenset(
    (
        "difyai123456",  # PostgreSQL, Redis, Qdrant, OceanBase in Dify's .env.example
        "dify-sandbox",  # sandbox and code execution key
        "minioadmin",
        "t0p-s3cr3t",  # Open WebUI's fallback WEBUI_SECRET_KEY
        "postgres",
        "password",
        "changeme",
    )
)
# Long keys are known by their beginning: enough to recognise them, and they are not repeated here.
_BEGINNINGS = ("sk-9f73s3lj", "WVF5YThaHlk", "lYkiYYT6", "QaHbTe77", "MDEyMzQ1Njc4OWFiY2RlZg")
_BROKER = re.compile(r"redis://[^:]*:difyai123456@")


def public_default(value: str) -> bool:
    """Whether a value is one of the public defaults (or holds one, for broker URLs)."""
    return value in _EXACT or value.startswith(_BEGINNINGS) or bool(_BROKER.search(value))
