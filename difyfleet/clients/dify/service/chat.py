"""Asking an app, with its API key.

HTTP 200 and an answer do not mean that a knowledge base was read: with a broken vector store, a deleted knowledge base or a removed embedding
model the model simply makes something up. Look at `Answer.citations`.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from difyfleet.clients.dify import sse
from difyfleet.clients.dify.errors import NoAnswer
from difyfleet.clients.dify.fields import Fields
from difyfleet.clients.dify.refusals import from_object
from difyfleet.clients.dify.transport import MODEL, Transport, lines

_CHAT = "/v1/chat-messages"


@dataclass(frozen=True)
class Citation:
    """A segment that was given to the model with the question."""

    position: int
    dataset_id: str
    dataset_name: str
    document_id: str
    document_name: str
    segment_id: str
    score: float | None
    content: str


@dataclass(frozen=True)
class Usage:
    """Tokens and the server's own seconds."""

    prompt_tokens: int
    completion_tokens: int
    latency: float


@dataclass(frozen=True)
class Answer:
    """An answer in full.

    `citations` is empty when nothing was retrieved or citations are off. `first_token` is the time to the first text in seconds, None for a
    blocking call; `seconds` the time to the end.
    """

    text: str
    conversation_id: str
    message_id: str
    citations: tuple[Citation, ...]
    usage: Usage | None
    first_token: float | None
    seconds: float


@dataclass(frozen=True)
class Event:
    """One event of a stream: `message` or `agent_message` (`text` is the next piece), `agent_thought`, `message_end` ... with its data."""

    name: str
    text: str
    data: Fields


@dataclass(frozen=True)
class Conversation:
    """A conversation of one user."""

    id: str
    name: str
    created_at: int  # seconds since 1970


@dataclass(frozen=True)
class Parameters:
    """What the app tells its users' programs."""

    opening_statement: str
    suggested_questions: tuple[str, ...]
    citations: bool
    file_size_mb: int | None


class AppService:
    """One app, by one API key."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def ask(
        self,
        query: str,
        user: str,
        *,
        inputs: Mapping[str, Any] | None = None,
        conversation_id: str = "",
        name_conversation: bool = False,
        timeout: float = MODEL,
    ) -> Answer:
        """Ask and wait for the whole answer in one piece. A proxy in between may lose patience: `ask_streaming` is safer.

        Args:
            user: any label; a conversation belongs to it.
            inputs: values of the app's variables.
            conversation_id: to go on with; empty = a new conversation.
            name_conversation: let the model find a title too, for which the answer waits (a second call, seconds on a slow model).
            timeout: seconds without a byte, the whole answer included.

        Raises:
            CompletionFailed: the model's server failed.
            ProviderNotReady: the app's model is gone.
            NotLoggedIn, Forbidden: the key is not good, or the app's service API is off.
        """
        started = time.monotonic()
        body = _body(query, user, "blocking", inputs, conversation_id, name_conversation)
        data = self._transport.ask(_CHAT, body, timeout=timeout)
        metadata = data.object("metadata") if data.has("metadata") else Fields({}, data.where, "metadata")
        return Answer(
            text=data.text("answer"),
            conversation_id=data.text("conversation_id"),
            message_id=data.text("message_id"),
            citations=_citations(metadata),
            usage=_usage(metadata),
            first_token=None,
            seconds=time.monotonic() - started,
        )

    def stream(
        self,
        query: str,
        user: str,
        *,
        inputs: Mapping[str, Any] | None = None,
        conversation_id: str = "",
        name_conversation: bool = False,
        timeout: float = MODEL,
    ) -> Iterator[Event]:
        """Ask and get the events as they arrive. Arguments as for `ask`; `timeout` is then the longest silence (Dify pings every 10 s).

        Raises:
            CompletionFailed: an error event, which comes with HTTP 200; other Refused for mistakes found before the start.
            NoAnswer: the stream ended without `message_end`.
        """
        where = f"POST {_CHAT}"
        body = _body(query, user, "streaming", inputs, conversation_id, name_conversation)
        response = self._transport.send("POST", _CHAT, body=body, timeout=timeout, asking=True, stream=True)
        name = ""
        for event in sse.events(lines(response, where), where):
            data = Fields(event, where)
            name = data.text("event")
            if name == "error":
                raise from_object(event, data.integer("status", 200), where)
            yield Event(name, data.text("answer", "") if name in ("message", "agent_message") else "", data)
        if name != "message_end":
            raise NoAnswer(f"the stream ended after {name or 'nothing'!r} without message_end", where=where)

    def ask_streaming(
        self,
        query: str,
        user: str,
        *,
        inputs: Mapping[str, Any] | None = None,
        conversation_id: str = "",
        name_conversation: bool = False,
        timeout: float = MODEL,
    ) -> Answer:
        """Ask by a stream, and give the whole answer with the time to its first text. Arguments and errors as for `stream`."""
        started = time.monotonic()
        first: float | None = None
        text: list[str] = []
        events = self.stream(
            query,
            user,
            inputs=inputs,
            conversation_id=conversation_id,
            name_conversation=name_conversation,
            timeout=timeout,
        )
        last: Event | None = None
        for last in events:
            if last.name == "message_replace":  # moderation took the answer back
                text = [last.data.text("answer", "")]
            elif last.text:
                first = time.monotonic() - started if first is None else first
                text.append(last.text)
        assert last is not None  # `stream` raises when there is no message_end
        metadata = (
            last.data.object("metadata")
            if last.data.has("metadata")
            else Fields({}, last.data.where, "metadata")
        )
        return Answer(
            text="".join(text),
            conversation_id=last.data.text("conversation_id"),
            message_id=last.data.text("message_id"),
            citations=_citations(metadata),
            usage=_usage(metadata),
            first_token=first,
            seconds=time.monotonic() - started,
        )

    def parameters(self) -> Parameters:
        """Opening, suggested questions, whether citations are shown, the limit of uploads."""
        data = self._transport.get("/v1/parameters")
        return Parameters(
            opening_statement=data.text("opening_statement", ""),
            suggested_questions=data.texts("suggested_questions"),
            citations=bool(data.mapping("retriever_resource").get("enabled")),
            file_size_mb=data.mapping("system_parameters").get("file_size_limit"),
        )

    def info(self) -> tuple[str, str]:
        """The app's name and description."""
        data = self._transport.get("/v1/info")
        return data.text("name"), data.text("description", "")

    def conversations(self, user: str) -> list[Conversation]:
        """The newest conversations of one user (20 at most)."""
        data = self._transport.get("/v1/conversations", {"user": user})
        return [
            Conversation(entry.text("id"), entry.text("name", ""), entry.integer("created_at", 0))
            for entry in data.objects("data")
        ]

    def delete_conversation(self, conversation_id: str, user: str) -> None:
        """Delete a conversation, to leave no trace of a check.

        Raises:
            NotFound: it is gone, or another user's.
        """
        self._transport.send(
            "DELETE", f"/v1/conversations/{conversation_id}", body={"user": user}, asking=True
        )


def _body(
    query: str,
    user: str,
    mode: str,
    inputs: Mapping[str, Any] | None,
    conversation_id: str,
    name_conversation: bool,
) -> dict[str, Any]:
    body: dict[str, Any] = {"inputs": dict(inputs or {}), "query": query, "response_mode": mode, "user": user}
    if conversation_id:
        body["conversation_id"] = conversation_id
    if not name_conversation:
        body["auto_generate_name"] = False
    return body


def _citations(metadata: Fields) -> tuple[Citation, ...]:
    return tuple(
        Citation(
            position=entry.integer("position", 0),
            dataset_id=entry.text("dataset_id"),
            dataset_name=entry.text("dataset_name", ""),
            document_id=entry.text("document_id"),
            document_name=entry.text("document_name"),
            segment_id=entry.text("segment_id", ""),
            score=entry.number("score", None),
            content=entry.text("content", ""),
        )
        for entry in metadata.objects("retriever_resources", optional=True)
    )


def _usage(metadata: Fields) -> Usage | None:
    if not metadata.has("usage"):
        return None
    usage = metadata.object("usage")
    return Usage(
        usage.integer("prompt_tokens", 0), usage.integer("completion_tokens", 0), usage.number("latency", 0.0)
    )
