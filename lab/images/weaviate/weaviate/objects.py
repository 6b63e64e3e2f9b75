"""The objects of the stand-in for Weaviate: properties and vectors in SQLite, searched one by one."""

from __future__ import annotations

import json
import math
import re
import sqlite3
import threading
from array import array
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from operator import mul
from pathlib import Path
from typing import Any

_CJK = r"\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af"


@dataclass
class Found:
    """An object of an answer; distance is that of cosines (0 = same way), score that of words."""

    id: str
    properties: dict[str, Any]
    vector: list[float]
    distance: float = 0.0
    score: float = 0.0


class Objects:
    """All objects of all classes, in one file of the data folder."""

    def __init__(self, folder: Path) -> None:
        self._lock = threading.Lock()
        self._database = sqlite3.connect(folder / "stand-in-objects.sqlite", check_same_thread=False)
        with self._database as database:
            database.execute("PRAGMA journal_mode = WAL")
            database.execute(
                "CREATE TABLE IF NOT EXISTS objects (class TEXT, id TEXT, properties TEXT, vector BLOB, PRIMARY KEY (class, id))"
            )

    def put(self, entries: list[dict[str, Any]]) -> None:
        """Add or overwrite objects: class, id, properties and vector of each."""
        rows = [
            (
                entry["class"],
                entry["id"],
                json.dumps(entry.get("properties", {})),
                array("f", entry.get("vector") or []).tobytes(),
            )
            for entry in entries
        ]
        with self._lock, self._database as database:
            database.executemany("INSERT OR REPLACE INTO objects VALUES (?, ?, ?, ?)", rows)

    def remove(self, class_name: str, keep: Callable[[dict[str, Any]], bool] | None = None) -> int:
        """Remove the objects of a class, or those that need not be kept; returns how many."""
        with self._lock, self._database as database:
            rows = database.execute(
                "SELECT id, properties FROM objects WHERE class = ?", (class_name,)
            ).fetchall()
            gone = [
                identity for identity, properties in rows if keep is None or not keep(json.loads(properties))
            ]
            database.executemany(
                "DELETE FROM objects WHERE class = ? AND id = ?", [(class_name, name) for name in gone]
            )
        return len(gone)

    def all(self, class_name: str) -> list[Found]:
        """The objects of a class."""
        with self._lock:
            rows = self._database.execute(
                "SELECT id, properties, vector FROM objects WHERE class = ? ORDER BY rowid", (class_name,)
            ).fetchall()
        return [
            Found(name, json.loads(properties), array("f", vector).tolist())
            for name, properties, vector in rows
        ]


def near(objects: list[Found], vector: list[float]) -> list[Found]:
    """All objects, nearest first."""
    length = _length(vector)
    for found in objects:
        scale = length * _length(found.vector)
        if len(found.vector) != len(vector):
            raise ValueError(f"vector lengths don't match: {len(found.vector)} vs {len(vector)}")
        found.distance = 1.0 - (sum(map(mul, vector, found.vector)) / scale if scale else 0.0)
    return sorted(objects, key=lambda found: found.distance)


def _length(vector: list[float]) -> float:
    return math.sqrt(sum(map(mul, vector, vector)))


def words(text: str) -> list[str]:
    """Words in small letters; Chinese and its kin in pairs of neighbours."""
    found = []
    for run in re.findall(rf"[{_CJK}]+|[^\W_{_CJK}]+", text.lower()):
        if re.match(rf"[{_CJK}]", run):
            found += [run[n : n + 2] for n in range(max(1, len(run) - 1))]
        else:
            found.append(run)
    return found


def bm25(objects: list[Found], query: str, properties: list[str]) -> list[Found]:
    """Objects that share a word with the query, best first (Okapi BM25, k1 = 1.2, b = 0.75)."""
    bags = [
        Counter(words(" ".join(str(found.properties.get(name, "")) for name in properties)))
        for found in objects
    ]
    lengths = [sum(bag.values()) for bag in bags]
    mean = sum(lengths) / len(lengths) if lengths else 1.0
    for word in set(words(query)):
        having = sum(word in bag for bag in bags)
        rarity = math.log(1 + (len(bags) - having + 0.5) / (having + 0.5))
        for found, bag, length in zip(objects, bags, lengths, strict=True):
            if bag[word]:
                found.score += (
                    rarity * bag[word] * 2.2 / (bag[word] + 1.2 * (0.25 + 0.75 * length / (mean or 1.0)))
                )
    return sorted((found for found in objects if found.score > 0), key=lambda found: -found.score)
