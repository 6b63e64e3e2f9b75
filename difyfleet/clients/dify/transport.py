"""The way of a call: address, bearer token, time-out, retry of reads, refusals as exceptions, a count of reads and writes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import requests

from difyfleet.clients.dify.errors import ContractError, DifyError, GatewayError, NoAnswer, NotLoggedIn
from difyfleet.clients.dify.fields import Fields
from difyfleet.clients.dify.refusals import refusal
from difyfleet.secrets import Secret

QUICK = 60.0  # seconds without a byte: an ordinary answer
MODEL = 600.0  # seconds without a byte: an answer for which a model may have to be loaded

# Dify's own server (gunicorn) closes a connection that is silent for two seconds. A read on one that is just closing is tried again; a write
# could not be, so after so many seconds without an answer a ping goes first and finds or makes a living connection.
IDLE = 1.0
_PING = "/console/api/ping"


@dataclass(frozen=True)
class Retry:
    """How often a read is tried when nothing (or only a proxy) answers. A write is sent once.

    Args:
        attempts: tries in all.
        pause: seconds before the second try; twice as long before each further one.
    """

    attempts: int = 3
    pause: float = 0.5


@dataclass
class Counts:
    """Requests sent so far. A POST that only asks (login, a hit test) is a read."""

    reads: int = 0
    writes: int = 0


@dataclass(frozen=True)
class Upload:
    """One file of a multipart body."""

    name: str
    content: bytes = field(repr=False)
    content_type: str


@dataclass
class Line:
    """What all transports of one client share.

    Args:
        session: how requests travel. difyfleet.remote.http.session(host) sends them through SSH; requests.Session() directly.
        base_url: origin without a path: `http://127.0.0.1` (nginx) or `http://127.0.0.1:5001` (the API server itself).
        retry: for reads only.
        reading: a context that is entered around POST and DELETE calls that change nothing lasting, so that whoever counts changes
            below the session leaves them out (difyfleet.remote.http.reading).
    """

    session: requests.Session
    base_url: str
    retry: Retry = field(default_factory=Retry)
    reading: Callable[[], AbstractContextManager[Any]] = nullcontext
    counts: Counts = field(default_factory=Counts)
    answered_at: float = float("-inf")  # time.monotonic() of the last answer


class Transport:
    """Calls to one Dify server with one bearer token."""

    def __init__(self, line: Line, token: Secret | None = None) -> None:
        self.line = line
        self.token = token
        self.renew: Callable[[], bool] = lambda: False  # called on a 401; true = there is a new token

    def sibling(self, token: Secret | None = None) -> Transport:
        """Another transport on the same line, with its own token."""
        return Transport(self.line, token)

    def get(self, path: str, query: Mapping[str, Any] | None = None, *, timeout: float = QUICK) -> Fields:
        """The JSON object that a GET answers."""
        return self._object(self.send("GET", path, query=query, timeout=timeout), "GET", path)

    def ask(
        self,
        path: str,
        body: object = None,
        *,
        timeout: float = QUICK,
        cookies: Mapping[str, str] | None = None,
    ) -> Fields:
        """A POST that changes nothing lasting. Sent once all the same: a wrong login counts."""
        return self._object(
            self.send("POST", path, body=body, timeout=timeout, asking=True, cookies=cookies), "POST", path
        )

    def write(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        timeout: float = QUICK,
        files: Mapping[str, Upload] | None = None,
        form: Mapping[str, str] | None = None,
    ) -> Fields:
        """A call that changes something; an empty answer (204) reads as an object without fields."""
        response = self.send(method, path, body=body, timeout=timeout, files=files, form=form)
        if not response.content.strip():
            return Fields({}, f"{method} {path}")
        return self._object(response, method, path)

    def send(
        self,
        method: str,
        path: str,
        *,
        body: object = None,
        query: Mapping[str, Any] | None = None,
        timeout: float = QUICK,
        files: Mapping[str, Upload] | None = None,
        form: Mapping[str, str] | None = None,
        cookies: Mapping[str, str] | None = None,
        asking: bool = False,
        stream: bool = False,
        authorized: bool = True,
    ) -> requests.Response:
        """The answer to one call; an expired token is renewed once and the call sent again (a 401 means that nothing was done).

        Args:
            timeout: seconds without a byte.
            asking: a POST or DELETE that changes nothing lasting.
            stream: leave the body unread.
            authorized: send the token, if there is one.

        Raises:
            NoAnswer: nothing answered; reads have been tried again.
            Refused: the server said no.
        """
        where = f"{method} {path}"
        arguments: dict[str, Any] = {
            "params": query,
            "timeout": timeout,
            "stream": stream,
            "cookies": cookies,
            "allow_redirects": False,
        }
        if files is None:
            arguments["json"] = body
        else:
            arguments |= {
                "files": {name: (u.name, u.content, u.content_type) for name, u in files.items()},
                "data": form,
            }
        reading = asking or method == "GET"
        attempts = self.line.retry.attempts if method == "GET" else 1
        if method != "GET" and time.monotonic() - self.line.answered_at > IDLE:
            self.send("GET", _PING, authorized=False)
        renewed = False
        for attempt in range(1, attempts + 2):
            arguments["headers"] = self._headers() if authorized else {}
            try:
                response = self._once(method, path, arguments, reading, where)
                if 300 <= response.status_code < 400:
                    target = response.headers.get("Location", "elsewhere")
                    raise ContractError(
                        f"redirected to {target}; give that origin as the base URL",
                        where=where,
                        field="Location",
                    )
                if response.status_code >= 400:
                    raise refusal(response, where)
                return response
            except NotLoggedIn:
                if not (authorized and self.token) or renewed or not self.renew():
                    raise
                renewed = True
            except (NoAnswer, GatewayError):
                if attempt >= attempts:
                    raise
                time.sleep(self.line.retry.pause * 2 ** (attempt - 1))
        raise AssertionError("unreachable")

    def _once(
        self, method: str, path: str, arguments: Mapping[str, Any], reading: bool, where: str
    ) -> requests.Response:
        if reading:
            self.line.counts.reads += 1
        else:
            self.line.counts.writes += 1
        try:
            with self.line.reading() if reading else nullcontext():
                response = self.line.session.request(method, f"{self.line.base_url}{path}", **arguments)
            self.line.answered_at = time.monotonic()
            return response
        except requests.Timeout as error:
            unsure = not isinstance(error, requests.ConnectTimeout)
            raise _no_answer(
                f"no byte within {arguments['timeout']:g} s", where, unsure and not reading
            ) from error
        except (requests.RequestException, OSError) as error:
            raise _no_answer(
                f"nothing answers at {self.line.base_url}: {_reason(error)}", where, not reading
            ) from error

    def _headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token.reveal()}"} if self.token else {}

    @staticmethod
    def _object(response: requests.Response, method: str, path: str) -> Fields:
        where = f"{method} {path}"
        try:
            return Fields(response.json(), where)
        except ValueError as error:
            raise ContractError(f"the answer is not JSON: {response.text[:80]!r}", where=where) from error


def lines(response: requests.Response, where: str) -> Iterator[bytes]:
    """The lines of a streamed answer as they arrive.

    Raises:
        NoAnswer: the stream broke, or was silent for longer than the call's time-out.
    """
    rest = b""
    try:
        # None gives a chunked body's chunks as they come, and any other body only at its end
        for chunk in response.iter_content(None if getattr(response.raw, "chunked", False) else 1):
            *whole, rest = (rest + chunk).split(b"\n")
            yield from (line.rstrip(b"\r") for line in whole)
    except (requests.RequestException, OSError) as error:
        raise _no_answer(f"the stream broke: {_reason(error)}", where, True) from error
    finally:
        response.close()
    if rest:
        yield rest


def pages(get: Callable[[int], Fields], *, limit: int = 10_000) -> Iterator[Fields]:
    """All entries of a paged list (`data`, `has_more`), page by page from 1.

    Raises:
        ContractError: more than `limit` pages, which means that `has_more` never ends.
    """
    for number in range(1, limit + 1):
        page = get(number)
        entries = page.objects("data")
        yield from entries
        if not entries or not page.flag("has_more", False):
            return
    raise ContractError(f"has_more is still true after {limit} pages", where=page.where, field="has_more")


def only(entries: Sequence[Any], name: str, kind: str, where: str) -> Any | None:
    """The entry of that exact name, None if there is none.

    Raises:
        DifyError: two or more of one name; the message lists their ids.
    """
    same = [entry for entry in entries if entry.name == name]
    if len(same) > 1:
        ids = ", ".join(entry.id for entry in same)
        raise DifyError(
            f"{len(same)} {kind} are called {name!r}: {ids}",
            where=where,
            hint="rename or delete all but one of them",
        )
    return same[0] if same else None


def _no_answer(what: str, where: str, may_have_happened: bool) -> NoAnswer:
    hint = (
        "look whether it happened before you send it again"
        if may_have_happened
        else "docker compose ps; is the port right?"
    )
    error = NoAnswer(what, where=where, hint=hint)
    error.may_have_happened = may_have_happened
    return error


def _reason(error: BaseException) -> str:
    """The innermost reason of a requests error, without object addresses."""
    reason: Any = error
    while (
        isinstance(getattr(reason, "args", None), tuple)
        and reason.args
        and isinstance(reason.args[-1], BaseException)
    ):
        reason = reason.args[-1]
    inner = getattr(reason, "reason", None)
    return (
        str(inner if isinstance(inner, BaseException) else reason).split("object at 0x")[-1].split(">: ")[-1]
    )
