"""The Open WebUI client against the lab's stand-in (rules of 0.4.7: accounts, frozen settings), run as a process of its own."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests

from difyfleet.clients.openwebui import (
    OpenWebuiClient,
    OpenWebuiError,
    SignupClosed,
    Unreachable,
    WrongPassword,
)
from difyfleet.secrets import Secret

STAND_IN = Path(__file__).resolve().parents[3] / "lab/images/open_webui"
EMAIL, PASSWORD = "admin@example.com", Secret("correct-horse-1")

Start = Callable[..., str]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start the stand-in on the same data folder with an environment; returns its base URL."""
    running: list[subprocess.Popen[bytes]] = []

    def begin(**environment: str) -> str:
        while running:
            running[-1].terminate()
            running.pop().wait(10)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        env = {"PATH": os.environ["PATH"], "PORT": str(port), "HOST": "127.0.0.1", "DATA_DIR": str(tmp_path)}
        env |= {
            "PYTHONPATH": str(STAND_IN),
            "WEBUI_SECRET_KEY": "k",
            "OLLAMA_BASE_URL": "http://ollama:11434",
        }
        running.append(subprocess.Popen([sys.executable, "-m", "open_webui.main"], env=env | environment))
        url = f"http://127.0.0.1:{port}"
        OpenWebuiClient(requests.Session(), url).wait(20)
        return url

    yield begin
    for process in running:
        process.terminate()
        process.wait(10)


def client(url: str) -> OpenWebuiClient:
    return OpenWebuiClient(requests.Session(), url)


def test_first_account_becomes_admin_and_signs_in(start: Start) -> None:
    url = start()
    assert client(url).public_config().empty
    assert client(url).sign_up(EMAIL, "admin", PASSWORD).role == "admin"
    assert client(url).sign_in(EMAIL, PASSWORD).role == "admin"
    assert not client(url).public_config().empty


def test_closed_signup_refuses_even_the_first_account(start: Start) -> None:
    with pytest.raises(SignupClosed):
        client(start(ENABLE_SIGNUP="false")).sign_up(EMAIL, "admin", PASSWORD)


def test_second_account_is_pending(start: Start) -> None:
    url = start()
    client(url).sign_up(EMAIL, "admin", PASSWORD)
    assert client(url).sign_up("b@example.com", "b", PASSWORD).role == "pending"


def test_wrong_password(start: Start) -> None:
    url = start()
    client(url).sign_up(EMAIL, "admin", PASSWORD)
    with pytest.raises(WrongPassword) as caught:
        client(url).sign_in(EMAIL, Secret("wrong-one"))
    assert "wrong-one" not in str(caught.value)


def test_settings_written_through_the_api_outlive_the_environment(start: Start) -> None:
    url = start()
    admin = client(url)
    admin.sign_up(EMAIL, "admin", PASSWORD)
    before = admin.admin_config()
    admin.set_admin_config(ENABLE_SIGNUP=False)
    admin.set_ollama_urls(["http://other:11434"])
    url = start(ENABLE_SIGNUP="true")
    admin = client(url)
    admin.sign_in(EMAIL, PASSWORD)
    assert admin.admin_config() == before | {"ENABLE_SIGNUP": False}
    assert admin.ollama_urls() == ["http://other:11434"]
    assert admin.public_config().signup is False


def test_openai_switched_off(start: Start) -> None:
    admin = client(start())
    admin.sign_up(EMAIL, "admin", PASSWORD)
    assert admin.openai_enabled()
    admin.disable_openai()
    assert not admin.openai_enabled()


def test_settings_are_for_admins(start: Start) -> None:
    url = start()
    client(url).sign_up(EMAIL, "admin", PASSWORD)
    visitor = client(url)
    visitor.sign_up("b@example.com", "b", PASSWORD)
    with pytest.raises(OpenWebuiError) as caught:
        visitor.admin_config()
    assert caught.value.status in (401, 403)


def test_no_cookie_reaches_the_shared_session(start: Start) -> None:
    url, shared = start(), requests.Session()
    OpenWebuiClient(shared, url).sign_up(EMAIL, "admin", PASSWORD)
    assert not list(shared.cookies)


def test_nothing_listens() -> None:
    began = time.monotonic()
    with pytest.raises(Unreachable):
        client("http://127.0.0.1:9").wait(0.5)
    assert time.monotonic() - began < 5
