"""Retry of reads only, the ping before a write, renewal of a token, counts, and secrets that stay secret."""

from __future__ import annotations

import json
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import requests
from requests.adapters import BaseAdapter

from difyfleet.clients.dify import Dify, Retry, Tokens, transport
from difyfleet.clients.dify import errors as e
from difyfleet.secrets import Secret

OK = (200, {"result": "success"})
GONE = requests.ConnectionError("Remote end closed connection without response")


class Server(BaseAdapter):
    """Answers (status, JSON) or raises, in turn; pings are answered by themselves unless told otherwise."""

    def __init__(self, *answers: Any, ping: Any = (200, {"result": "pong"})) -> None:
        super().__init__()
        self.answers, self.ping = list(answers), ping
        self.seen: list[str] = []
        self.tokens: list[str | None] = []

    def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:
        path = (request.url or "").removeprefix("http://dify.example")
        self.seen.append(f"{request.method} {path}")
        self.tokens.append(request.headers.get("Authorization"))
        answer = self.ping if path.endswith("/ping") else self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        response = requests.Response()
        response.status_code, body = answer
        response._content = body if isinstance(body, bytes) else json.dumps(body).encode()
        response.encoding = "utf-8"
        response.request, response.url = request, request.url or ""
        if response.status_code == 302:
            response.headers["Location"] = "https://dify.example/console/api/setup"
        return response

    def close(self) -> None:
        pass


def dify_on(server: Server, **options: Any) -> Dify:
    session = requests.Session()
    session.mount("http://", server)
    return Dify(session, "http://dify.example/", retry=Retry(attempts=3, pause=0), **options)


SETUP = (200, {"step": "not_started"})


@pytest.mark.parametrize("trouble", [GONE, requests.ReadTimeout(), (502, b"<h1>502 Bad Gateway</h1>")])
def test_a_read_is_tried_again(trouble: Any) -> None:
    server = Server(trouble, trouble, SETUP)
    assert not dify_on(server).setup.status().finished
    assert len(server.seen) == 3


def test_a_read_is_not_tried_for_ever() -> None:
    server = Server(GONE, GONE, GONE, SETUP)
    with pytest.raises(e.NoAnswer) as caught:
        dify_on(server).setup.status()
    assert (len(server.seen), caught.value.may_have_happened) == (3, False)


def test_a_refused_read_is_not_tried_again() -> None:
    server = Server((500, {"message": "Internal Server Error", "code": "unknown"}), SETUP)
    with pytest.raises(e.ServerCrashed):
        dify_on(server).setup.status()
    assert len(server.seen) == 1


@pytest.mark.parametrize(
    ("trouble", "unsure"), [(GONE, True), (requests.ReadTimeout(), True), (requests.ConnectTimeout(), False)]
)
def test_a_write_is_sent_once(trouble: Exception, unsure: bool) -> None:
    server = Server(trouble, OK)
    with pytest.raises(e.NoAnswer) as caught:
        dify_on(server).setup.create_admin("a@example.com", "A", Secret("abcdefg1"))
    assert server.seen == ["GET /console/api/ping", "POST /console/api/setup"]
    assert caught.value.may_have_happened is unsure


def test_a_login_is_sent_once_and_may_not_have_changed_anything() -> None:
    server = Server(GONE)
    with pytest.raises(e.NoAnswer) as caught:
        dify_on(server).session.login("a@example.com", Secret("abcdefg1"))
    assert server.seen == ["GET /console/api/ping", "POST /console/api/login"]
    assert caught.value.may_have_happened is False


def test_a_ping_goes_before_a_write_that_follows_on_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr(transport.time, "monotonic", lambda: clock[0])
    server = Server(OK, OK, OK, SETUP, OK)
    dify = dify_on(server)
    dify.apps.rename("1", "first of all")
    dify.apps.rename("1", "at once")
    clock[0] += 1.5
    dify.apps.rename("1", "late")
    dify.setup.status()
    dify.apps.rename("1", "right after a read")
    ping, write = "GET /console/api/ping", "POST /console/api/apps/1/name"
    assert server.seen == [ping, write, write, ping, write, "GET /console/api/setup", write]


def test_a_write_is_not_sent_while_the_ping_finds_nobody() -> None:
    server = Server(OK, ping=GONE)
    with pytest.raises(e.NoAnswer):
        dify_on(server).apps.rename("1", "x")
    assert set(server.seen) == {"GET /console/api/ping"}


def test_a_dead_refresh_token_ends_the_call() -> None:
    server = Server(
        (401, {"code": "unauthorized", "message": "Token has expired."}),
        (401, {"result": "fail", "data": "Invalid refresh token"}),
    )
    dify = dify_on(server)
    dify.session.resume(Tokens(Secret("old-access"), Secret("old-refresh")))
    with pytest.raises(e.SessionExpired):
        dify.apps.all()


def test_a_second_401_after_renewal_is_final() -> None:
    no = (401, {"code": "unauthorized", "message": "Token has expired."})
    server = Server(
        no,
        (200, {"result": "success", "data": {"access_token": "new-access", "refresh_token": "new-refresh"}}),
        no,
    )
    dify = dify_on(server)
    dify.session.resume(Tokens(Secret("old-access"), Secret("old-refresh")))
    with pytest.raises(e.NotLoggedIn):
        dify.session.account()
    assert [token for token in server.tokens if token] == ["Bearer old-access", "Bearer new-access"]


def test_counts_and_the_reading_context() -> None:
    inside: list[bool] = []
    open_ = [False]

    @contextmanager
    def reading() -> Iterator[None]:
        open_[0] = True
        yield
        open_[0] = False

    class Watching(Server):
        def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:
            inside.append(open_[0])
            return super().send(request, *args, **kwargs)

    login = (200, {"result": "success", "data": {"access_token": "a-token", "refresh_token": "r-token"}})
    dify = dify_on(Watching(SETUP, login, OK, OK, (200, {"records": []})), reading=reading)
    dify.setup.status()
    dify.session.login("a@example.com", Secret("abcdefg1"))
    dify.apps.rename("1", "x")
    dify.app(Secret("app-key")).delete_conversation("1", "me")
    dify.hit_testing.search("1", "x")
    assert inside == [True, True, False, True, True]
    assert (dify.counts.reads, dify.counts.writes) == (4, 1)


def test_a_redirect_is_not_followed() -> None:
    with pytest.raises(e.ContractError, match=r"redirected to https://dify\.example"):
        dify_on(Server((302, {}))).setup.status()


def test_an_answer_that_is_not_json() -> None:
    with pytest.raises(e.ContractError, match=r"not JSON: .<html>"):
        dify_on(Server((200, b"<html>the console's page</html>"))).setup.status()


def test_a_login_without_a_workspace_says_so() -> None:
    answer = (
        200,
        {
            "result": "fail",
            "data": "workspace not found, please contact system admin to invite you to join in a workspace",
        },
    )
    with pytest.raises(e.Refused, match="workspace not found"):
        dify_on(Server(answer)).session.login("a@example.com", Secret("abcdefg1"))


@pytest.mark.parametrize(
    "trouble", [GONE, (400, {"code": "email_or_password_mismatch", "message": "mismatched"})]
)
def test_no_secret_in_a_traceback(trouble: Any) -> None:
    password = "p4ssword-that-nobody-may-see"
    try:
        dify_on(Server(trouble)).session.login("a@example.com", Secret(password))
    except e.DifyError as error:
        text = "".join(traceback.format_exception(error)) + repr(error) + repr(vars(error))
    assert password not in text


def test_the_reason_of_a_broken_connection_is_told_plainly() -> None:
    with pytest.raises(e.NoAnswer) as caught:
        Dify(requests.Session(), "http://127.0.0.1:9", retry=Retry(1, 0)).setup.status()
    assert "Connection refused" in str(caught.value)
    assert "object at 0x" not in str(caught.value)
