"""What the recorded journey did between its recorded exchanges: uploads, keys, knowledge bases, waiting."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from lab import engine
from tests.contract import exchanges, uploads
from tests.contract.standin import Api, Stack


class Steps:
    """One installation of the stand-in on the way through the recordings."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.api: Api = stack.whole()
        self.known = self.api.known
        self.replayed: set[int] = {20, 27}
        self.last_batch = ""

    def replay(self, *numbers: int) -> list[str]:
        """Differences of some exchanges from the recorded ones."""
        self.replayed.update(numbers)
        return self.api.replay(*numbers)

    def call(self, method: str, path: str, body: Any = None, key: str = "") -> Any:
        """A call that was not recorded; ids in path and body may be recorded ones. Fails the test if it is refused."""
        headers = {"Authorization": f"Bearer {self.known[key or 'ACCESS_TOKEN']}"}
        data = None
        if body is not None:
            headers["Content-Type"] = "application/json"
            data = json.dumps(exchanges.filled(body, self.known)).encode()
        answer = exchanges.send(self.api.address, method, exchanges.filled(path, self.known), headers, data)
        assert answer.status < 300, f"{method} {path}: {answer.status} {answer.body!r}"
        return answer.json() if answer.body else None

    def learn(self, recorded: str, actual: str) -> None:
        """An id of this installation stands for a recorded one."""
        self.known[recorded] = actual

    def upload(self, recorded: str, name: str, data: bytes) -> None:
        """Upload a file in the place of a recorded upload."""
        self.learn(recorded, self._upload(name, data))

    def _upload(self, name: str, data: bytes) -> str:
        described = {
            "file_fields": {"file": {"filename": name, "content_type": uploads.content_type(name)}},
            "form": {"source": "datasets"},
        }
        content_type, body = uploads.multipart(described, data)
        headers = {"Authorization": f"Bearer {self.known['ACCESS_TOKEN']}", "Content-Type": content_type}
        answer = exchanges.send(self.api.address, "POST", "/console/api/files/upload", headers, body)
        assert answer.status == 201, answer.body
        return str(answer.json()["id"])

    def dataset(self, recorded: str, name: str, technique: str = "high_quality", **settings: Any) -> None:
        """Make a knowledge base in the place of a recorded one."""
        made = self.call(
            "POST", "/console/api/datasets", {"name": name, "indexing_technique": technique, **settings}
        )
        self.learn(recorded, made["id"])

    def documents(
        self, dataset: str, files: Mapping[str, bytes], rule: Mapping[str, Any], **options: Any
    ) -> list[Any]:
        """Add files to a knowledge base and wait until they are indexed; returns them in their order."""
        ids = [self._upload(name, data) for name, data in files.items()]
        info = {"data_source_type": "upload_file", "file_info_list": {"file_ids": ids}}
        body = {
            "data_source": {"type": "upload_file", "info_list": info},
            "process_rule": dict(rule),
            **options,
        }
        made = self.call("POST", f"/console/api/datasets/{dataset}/documents", body)
        self.last_batch = made["batch"]
        self.indexed(dataset)
        documents: list[Any] = made["documents"]
        return documents

    def key(self, name: str, app: str) -> None:
        """Make a key of an app under the name that recordings have for it."""
        self.known[name] = self.call("POST", f"/console/api/apps/{app}/api-keys")["token"]

    def states(self, dataset: str) -> set[str]:
        """The states that documents of a knowledge base are in."""
        data = self.call("GET", f"/console/api/datasets/{dataset}/indexing-status")["data"]
        return {entry["indexing_status"] for entry in data}

    def indexed(self, dataset: str) -> None:
        """Wait until all documents of a knowledge base are indexed."""
        self.stack.wait(lambda: self.states(dataset) <= {"completed"}, f"knowledge base {dataset}")

    def until(self, number: int) -> list[str]:
        """Replay an exchange again and again until it is as recorded: the worker is still busy before."""
        found = [""]

        def same() -> bool:
            found[:] = self.replay(number)
            return not found

        try:
            self.stack.wait(same, f"exchange {number}", 20)
        except AssertionError:
            return found
        return []

    @contextmanager
    def worker_paused(self) -> Iterator[None]:
        """The worker does nothing meanwhile."""
        engine.run(["docker", "pause", self.stack.worker], timeout=60)
        try:
            yield
        finally:
            engine.run(["docker", "unpause", self.stack.worker], timeout=60)
