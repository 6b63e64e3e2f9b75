"""Vectors of texts. Those of segments are kept in the database per model and text, those of queries in Redis for a while.

So a text that was seen before is indexed even while the model server is down, as in the real server.
"""

from __future__ import annotations

import hashlib
import json
from array import array
from typing import Any

import psycopg2

from .db import Database
from .ollama import Model

_QUERY_SECONDS = 600


def _hash(text: str) -> str:
    return hashlib.sha256(f"{text}None".encode()).hexdigest()


def of_segment(database: Database, model: Model, text: str) -> list[float]:
    """The vector of a segment.

    :raises OllamaError: if it is not kept and the model does not answer.
    """
    key = (model.name, _hash(text))
    row = database.one("SELECT embedding FROM embeddings WHERE model_name = %s AND hash = %s", *key)
    if row:
        return array("d", bytes(row["embedding"])).tolist()
    vector = model.embed(text)
    database.execute(
        "INSERT INTO embeddings (model_name, provider_name, hash, embedding) VALUES (%s, 'ollama', %s, %s)"
        " ON CONFLICT DO NOTHING",
        *key, psycopg2.Binary(array("d", vector).tobytes()),
    )  # fmt: skip
    return vector


def of_query(redis: Any, model: Model, text: str) -> list[float]:
    """The vector of a query.

    :raises OllamaError: if it is not kept and the model does not answer.
    """
    key = f"ollama_{model.name}_{_hash(text)}"
    kept = redis.get(key)
    if kept:
        vector: list[float] = json.loads(kept)
        return vector
    vector = model.embed(text)
    redis.setex(key, _QUERY_SECONDS, json.dumps(vector))
    return vector
