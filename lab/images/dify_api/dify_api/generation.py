"""One question and its answer: knowledge, model, rows of the conversation, and the events on the way."""

from __future__ import annotations

import json
import logging
import queue
import re
import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from . import context, db, prompts
from .accounts import App
from .http import ApiError
from .ollama import Model, OllamaError, Reply

log = logging.getLogger("dify_api.generation")

_PING_SECONDS = 10
_REMEMBERED = 20  # messages of a conversation that the model is given again


@dataclass
class Generation:
    """A question to an app, checked and ready to run."""

    app: App
    row: db.Row  # of the app
    tenant: str
    config: dict[str, Any]
    inputs: dict[str, Any]
    query: str
    model: Model
    source: str  # dev, api
    conversation: db.Row
    message_id: str
    history: list[db.Row]
    title: bool  # ask the model for a title of the conversation
    task_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    started: float = field(default_factory=time.monotonic)
    reply: Reply = field(default_factory=Reply)
    cited: list[dict[str, Any]] = field(default_factory=list)

    @property
    def chat(self) -> bool:
        """Is it a conversation? Completion apps answer single questions."""
        return bool(self.row["mode"] != "completion")

    def _messages(self) -> list[dict[str, str]]:
        """Search, and put together what the model is given."""
        found = []
        asked = (
            self.query if self.chat else str(self.inputs.get(self.config["dataset_query_variable"] or "", ""))
        )
        if self.row["mode"] != "agent-chat" and asked:
            found = context.find(self.app, self.tenant, self.config, asked)
        cited = context.resources(self.app, found, self.source)
        if self.config["retriever_resource"].get("enabled"):
            self.cited = cited
        texts = [entry.segment["content"] for entry in found]
        return prompts.messages(self.config, self.inputs, self.query, texts, self.history, self.chat)

    def _metadata(self) -> dict[str, Any]:
        prompt, answer = self.reply.prompt_tokens, self.reply.answer_tokens
        usage: dict[str, Any] = {}
        for name, count in (("prompt", prompt), ("completion", answer)):
            usage[f"{name}_tokens"] = count
            usage |= {f"{name}_unit_price": "0", f"{name}_price_unit": "0", f"{name}_price": "0E-7"}
        usage |= {"total_tokens": prompt + answer, "total_price": "0E-7", "currency": "USD"}
        usage["latency"] = time.monotonic() - self.started
        return {**({"retriever_resources": self.cited} if self.cited else {}), "usage": usage}

    def _keep(self, error: str | None = None) -> None:
        """The answer, its citations, or what went wrong."""
        database = self.app.database
        database.execute(
            "UPDATE messages SET answer = %s, message_tokens = %s, answer_tokens = %s, provider_response_latency = %s,"
            " status = %s, error = %s WHERE id = %s",
            self.reply.text, self.reply.prompt_tokens, self.reply.answer_tokens, time.monotonic() - self.started,
            "error" if error else "normal", error, self.message_id,
        )  # fmt: skip
        database.execute(
            "UPDATE conversations SET updated_at = now() WHERE id = %s", str(self.conversation["id"])
        )
        names = (
            "position", "dataset_id", "dataset_name", "document_id", "document_name", "data_source_type", "segment_id",
            "score", "content", "retriever_from",
        )  # fmt: skip
        for entry in self.cited if not error else ():
            database.execute(
                f"INSERT INTO dataset_retriever_resources (message_id, {', '.join(names)})"  # noqa: S608
                f" VALUES (%s{', %s' * len(names)})",
                self.message_id, *(entry[name] for name in names),
            )  # fmt: skip

    def blocking(self) -> dict[str, Any]:
        """The whole answer.

        :raises ApiError: 400 if the model server fails.
        """
        naming = self._name_in_background()
        try:
            self.reply = self.model.chat(self._messages())
        except OllamaError as error:
            self._keep(error.invocation)
            raise ApiError(400, "completion_request_error", error.invocation) from None
        except Exception as error:
            self._keep(str(error))
            raise
        if naming:
            naming.join()
        metadata = self._metadata()
        self._keep()
        ids = {"task_id": self.task_id, "id": self.message_id, "message_id": self.message_id}
        if self.chat:
            ids["conversation_id"] = str(self.conversation["id"])
        return {
            "event": "message",
            **ids,
            "mode": self.row["mode"],
            "answer": self.reply.text,
            "metadata": metadata,
            "created_at": self._created_at(),
        }

    def _created_at(self) -> int | None:
        row = self.app.database.one("SELECT created_at FROM messages WHERE id = %s", self.message_id)
        return db.seconds(row["created_at"]) if row else None

    def streaming(self) -> Iterator[str]:
        """Lines of events; a ping after each ten seconds of silence."""
        events: queue.Queue[str | None] = queue.Queue()

        def produce() -> None:
            try:
                for event in self._events():
                    events.put(f"data: {json.dumps(event)}\n\n")
            finally:
                events.put(None)

        threading.Thread(target=produce, daemon=True).start()
        while True:
            try:
                line = events.get(timeout=_PING_SECONDS)
            except queue.Empty:
                yield "event: ping\n\n"
                continue
            if line is None:
                return
            yield line

    def _events(self) -> Iterator[dict[str, Any]]:
        head: dict[str, Any] = {"message_id": self.message_id, "created_at": self._created_at()}
        if self.chat:
            head = {"conversation_id": str(self.conversation["id"]), **head}
        body = {**head, "task_id": self.task_id, "id": self.message_id}
        naming = self._name_in_background()
        try:
            messages = self._messages()
            if self.row["mode"] == "agent-chat":
                yield {"event": "agent_thought", **body, "id": str(uuid.uuid4()), **_THOUGHT}
                for piece in self.model.stream(messages, self.reply):
                    yield from (
                        {"event": "agent_message", **body, "answer": letter} for letter in piece or [""]
                    )
            else:
                for piece in self.model.stream(messages, self.reply):
                    yield {"event": "message", **body, "answer": piece, "from_variable_selector": None}
        except Exception as error:  # noqa: BLE001 - the stream has begun: whatever it is becomes an event
            code, status, text = _described(error)
            self._keep(text)
            yield {"event": "error", **head, "code": code, "status": status, "message": text}
            return
        metadata = self._metadata()
        self._keep()
        yield {"event": "message_end", **body, "metadata": metadata, "files": None}
        if naming:
            naming.join()

    def _name_in_background(self) -> threading.Thread | None:
        if not self.title:
            return None
        thread = threading.Thread(target=self._name, daemon=True)
        thread.start()
        return thread

    def _name(self) -> None:
        """A second call of the model, for the conversation's title; what cannot be read leaves it "New conversation"."""
        try:
            model = Model(
                self.model.name, self.model.base_url, self.model.mode, {"temperature": 1, "num_predict": 100}
            )
            answer = model.chat([{"role": "user", "content": prompts.TITLE.format(query=self.query)}]).text
            found = re.search(r"\{.*\}", answer, re.S)
            name = str(json.loads(found[0])["Your Output"])[:75] if found else ""
        except (OllamaError, ValueError, KeyError, TypeError):
            log.info("no title for conversation %s", self.conversation["id"])
            return
        if name:
            self.app.database.execute(
                "UPDATE conversations SET name = %s WHERE id = %s", name, str(self.conversation["id"])
            )


_THOUGHT = {
    "position": 1, "thought": "", "observation": "", "tool": "", "tool_labels": {}, "tool_input": "", "message_files": [],
}  # fmt: skip


def _described(error: Exception) -> tuple[str, int, str]:
    """Code, status and message of an error event."""
    if isinstance(error, OllamaError):
        return "completion_request_error", 400, error.invocation
    if isinstance(error, ApiError):
        return str(error.response.body["code"]), error.response.status, str(error)
    if isinstance(error, ValueError):
        return "invalid_param", 400, str(error)
    log.exception("generation failed")
    return "internal_server_error", 500, "Internal Server Error, please contact support."


def history(database: db.Database, conversation_id: str) -> list[db.Row]:
    """Answered messages of a conversation, oldest first, as far as the model is given them again."""
    rows = database.all(
        "SELECT query, answer FROM messages WHERE conversation_id = %s AND status = 'normal' AND answer <> ''"
        " ORDER BY created_at DESC LIMIT %s",
        conversation_id, _REMEMBERED,
    )  # fmt: skip
    return rows[::-1]
