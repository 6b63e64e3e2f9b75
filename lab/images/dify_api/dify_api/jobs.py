"""The way from the API server to the worker: JSON jobs in the broker's lists, whose names are Celery's queues."""

from __future__ import annotations

import json
from typing import Any

QUEUES = ("dataset", "app_deletion")


def push(broker: Any, task: str, *arguments: Any, queue: str = "dataset") -> None:
    """Hand a job to the worker.

    :raises redis.RedisError: if the broker cannot be reached.
    """
    broker.rpush(queue, json.dumps({"task": task, "arguments": arguments}))


def pop(broker: Any, timeout: float) -> tuple[str, list[Any]] | None:
    """The next job: name and arguments; None after ``timeout`` seconds without one. A worker that dies with a job loses it."""
    got = broker.blpop(QUEUES, timeout=timeout)
    if got is None:
        return None
    job = json.loads(got[1])
    return job["task"], job["arguments"]
