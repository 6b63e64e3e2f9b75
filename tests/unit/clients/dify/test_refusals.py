"""Every recorded refusal becomes a named error with the server's words."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import requests

from difyfleet.clients.dify import errors as e
from difyfleet.clients.dify.refusals import from_object, refusal

RECORDINGS = sorted(Path(__file__).parents[3].glob("contract/dify-0.11.2*/*.json"))
REFUSED = [
    pytest.param(recorded, id=path.stem)
    for path in RECORDINGS
    if (recorded := json.loads(path.read_text())).get("status", 0) >= 400
]


def response(status: int, text: str) -> requests.Response:
    made = requests.Response()
    made.status_code = status
    made._content = text.encode()
    made.encoding = "utf-8"
    return made


def of(recorded: dict) -> e.Refused:  # type: ignore[type-arg]
    body = json.dumps(recorded["response_json"]) if "response_json" in recorded else recorded["response_text"]
    return refusal(response(recorded["status"], body), f"{recorded['method']} {recorded['path']}")


@pytest.mark.parametrize("recorded", REFUSED)
def test_every_recorded_refusal_has_a_name_and_the_servers_words(recorded: dict) -> None:  # type: ignore[type-arg]
    error = of(recorded)
    assert type(error) is not e.Refused or error.status == 405
    assert error.status == recorded["status"]
    assert error.where == f"{recorded['method']} {recorded['path']}"
    said = recorded.get("response_json", {}).get("message")
    if said:
        words = " ".join(
            said.replace("{message}", "")
            .removeprefix("An error occurred during credentials validation: ")
            .split()
        )
        assert words in error.what


def test_enough_refusals_were_recorded() -> None:
    assert len(REFUSED) > 100


@pytest.mark.parametrize(
    ("status", "body", "kind", "words"),
    [
        (
            404,
            {"code": "app_not_found", "message": "App not found.", "status": 404},
            e.NotFound,
            "App not found.",
        ),
        (400, {"code": "invalid_param", "message": "bad", "params": "mode"}, e.InvalidRequest, "mode: bad"),
        (
            500,
            {"message": "Internal Server Error", "code": "unknown"},
            e.ServerCrashed,
            "Internal Server Error",
        ),
        (
            400,
            {"message": "Cannot create more", "code": "max_keys_exceeded"},
            e.TooManyKeys,
            "Cannot create more",
        ),
        (401, {"result": "fail", "data": "Invalid refresh token"}, e.SessionExpired, "Invalid refresh token"),
        (401, {"code": "something_new", "message": "no"}, e.NotLoggedIn, "no"),
        (418, {"code": "teapot", "message": "short and stout"}, e.Refused, "short and stout"),
        (507, {"message": "full"}, e.ServerCrashed, "full"),
        (400, {}, e.InvalidRequest, "HTTP 400 without a reason"),
        (400, ["a", "list"], e.InvalidRequest, "HTTP 400: ['a', 'list']"),
    ],
)
def test_the_json_shapes(status: int, body: object, kind: type[e.Refused], words: str) -> None:
    error = refusal(response(status, json.dumps(body)), "GET /x")
    assert type(error) is kind
    assert error.what == words


NGINX = "<html>\r\n<head><title>{0}</title></head>\r\n<body>\r\n<center><h1>{0}</h1></center>\r\n<hr><center>nginx</center>"


@pytest.mark.parametrize(
    ("status", "text", "kind"),
    [
        (413, "413 Request Entity Too Large", e.TooLarge), (502, "502 Bad Gateway", e.GatewayError),
        (504, "504 Gateway Time-out", e.GatewayError), (404, "404 Not Found", e.NoSuchRoute),
    ],
)  # fmt: skip
def test_pages_of_a_proxy(status: int, text: str, kind: type[e.Refused]) -> None:
    error = refusal(response(status, NGINX.format(text)), "POST /console/api/files/upload")
    assert type(error) is kind
    assert error.what == f"HTTP {status}: {text}"
    if isinstance(error, e.TooLarge):
        assert error.from_proxy
        assert "NGINX_CLIENT_MAX_BODY_SIZE" in str(error)


def test_the_three_meanings_of_401() -> None:
    kinds = {json.loads(path.read_text())["response_json"]["code"]: of(json.loads(path.read_text())) for path in RECORDINGS
             if path.stem[:3] in ("009", "512", "031")}  # fmt: skip
    assert {code: type(error) for code, error in kinds.items()} == {
        "not_setup": e.NotSetUp, "not_init_validated": e.InitNotConfirmed, "unauthorized": e.NotLoggedIn,
    }  # fmt: skip


def test_an_error_event_of_a_stream_has_its_own_status() -> None:
    event = {"event": "error", "code": "completion_request_error", "status": 400, "message": "[ollama] away"}
    error = from_object(event, 400, "POST /v1/chat-messages")
    assert (type(error), error.status) == (e.CompletionFailed, 400)


def test_every_error_says_where_and_most_what_next() -> None:
    error = e.LockedOut(
        "too many", where="POST /console/api/login", code="email_code_login_limit", status=429
    )
    assert str(error).startswith(
        "POST /console/api/login: too many\n  next: delete the key login_error_rate_limit:"
    )
