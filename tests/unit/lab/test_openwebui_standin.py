"""The Open WebUI stand-in, served in this process: accounts, and settings that outlive the environment once saved."""

from __future__ import annotations

import importlib
import json
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from lab import images

CONTEXT = Path(images.__file__).parent / "open_webui"
Start = Callable[..., "Client"]


class Client:
    """Calls one server."""

    def __init__(self, port: int) -> None:
        self.base, self.token = f"http://127.0.0.1:{port}", ""

    def __call__(self, path: str, form: Any = None) -> tuple[int, Any]:
        headers = {"Content-Type": "application/json"}
        if self.token:
            headers["Authorization"] = f"Bearer {self.token}"
        data = None if form is None else json.dumps(form).encode()
        request = urllib.request.Request(self.base + path, data, headers)
        try:
            with urllib.request.urlopen(request, timeout=5) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)

    def signup(self, email: str) -> tuple[int, Any]:
        return self("/api/v1/auths/signup", {"name": "N", "email": email, "password": "pw"})


def forget() -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == "open_webui"]:
        del sys.modules[name]


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    servers: list[ThreadingHTTPServer] = []
    monkeypatch.syspath_prepend(str(CONTEXT))
    monkeypatch.setenv("DATA_DIR", str(tmp_path))
    monkeypatch.setenv("WEBUI_SECRET_KEY", "key-1")
    monkeypatch.setenv("ENABLE_OPENAI_API", "false")

    def run(**environment: str) -> Client:
        """A fresh process image on the same data folder: what recreating the container is."""
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        forget()
        main = importlib.import_module("open_webui.main")
        server = ThreadingHTTPServer(("127.0.0.1", 0), main.Handler)
        servers.append(server)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return Client(server.server_port)

    yield run
    for server in servers:
        server.shutdown()
        server.server_close()
    forget()


def test_the_first_account_is_the_admin(start: Start) -> None:
    client = start()
    assert client("/health")[1]["status"] is True
    assert client("/api/config")[1]["onboarding"] is True
    status, admin = client.signup("Admin@Example.com")
    assert (status, admin["role"], admin["email"], admin["token_type"]) == (
        200,
        "admin",
        "admin@example.com",
        "Bearer",
    )
    assert "onboarding" not in client("/api/config")[1]
    assert client.signup("second@example.com")[1]["role"] == "pending"
    status, error = client.signup("admin@example.com")
    assert (status, "already registered" in error["detail"]) == (400, True)
    assert client.signup("nobody")[0] == 400
    assert client("/api/v1/auths/signup", {"name": "x"})[0] == 422


def test_signup_switched_off_refuses_the_first_account_too(start: Start) -> None:
    assert start(ENABLE_SIGNUP="false").signup("a@example.com")[0] == 403


def test_signin_and_roles(start: Start) -> None:
    client = start()
    client.signup("a@example.com")
    other = client.signup("b@example.com")[1]["token"]
    assert client("/api/v1/auths/signin", {"email": "a@example.com", "password": "no"})[0] == 400
    token = client("/api/v1/auths/signin", {"email": "A@example.com", "password": "pw"})[1]["token"]
    assert client("/ollama/config")[0] == 403
    for bad in ("x", token + "x", other):
        client.token = bad
        assert client("/ollama/config")[0] == 401
    client.token = token
    assert client("/ollama/config")[0] == 200


def test_a_new_password(start: Start) -> None:
    client = start()
    form = {"password": "pw", "new_password": "pw-2"}
    assert client("/api/v1/auths/update/password", form)[0] == 403
    client.token = client.signup("a@example.com")[1]["token"]
    assert client("/api/v1/auths/update/password", {**form, "password": "no"})[0] == 400
    assert client("/api/v1/auths/update/password", form) == (200, True)
    for password, status in (("pw", 400), ("pw-2", 200)):
        assert client("/api/v1/auths/signin", {"email": "a@example.com", "password": password})[0] == status


def test_a_saved_setting_outlives_the_environment(start: Start) -> None:
    client = start(OLLAMA_BASE_URL="http://one:1", ENABLE_OLLAMA_API="false")
    client.token = client.signup("a@example.com")[1]["token"]
    assert client("/ollama/config")[1]["OLLAMA_BASE_URLS"] == ["http://one:1"]
    token = client.token
    client = start(OLLAMA_BASE_URL="http://two:2")  # never saved: the environment still counts
    client.token = token
    assert client("/ollama/config")[1]["OLLAMA_BASE_URLS"] == ["http://two:2"]
    form = {"OLLAMA_BASE_URLS": ["http://three:3"], "OLLAMA_API_CONFIGS": {}}
    assert client("/ollama/config/update", form)[1]["OLLAMA_BASE_URLS"] == ["http://three:3"]
    client = start(OLLAMA_BASE_URL="http://four:4")
    client.token = token
    assert client("/ollama/config")[1]["OLLAMA_BASE_URLS"] == ["http://three:3"]


def test_another_secret_key_ends_every_session(start: Start) -> None:
    client = start()
    token = client.signup("a@example.com")[1]["token"]
    client.token = token
    assert client("/api/v1/auths/")[0] == 200
    client = start(WEBUI_SECRET_KEY="key-2")
    client.token = token
    assert client("/api/v1/auths/")[0] == 401


def test_models_of_an_ollama_that_is_away(start: Start) -> None:
    client = start(OLLAMA_BASE_URL="http://127.0.0.1:9")
    assert client("/api/models")[0] == 403
    client.token = client.signup("a@example.com")[1]["token"]
    assert client("/api/models") == (200, {"data": []})
    assert client("/ollama/api/version")[0] == 500
