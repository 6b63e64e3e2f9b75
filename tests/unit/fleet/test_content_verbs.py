"""fleet.content_verbs and their command lines: whom they ask, and what they refuse."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from difyfleet.cli import run as command
from difyfleet.clients.dify import Answer, Citation, Settings
from difyfleet.content import assistants
from difyfleet.errors import HostError
from difyfleet.fleet import content_verbs
from difyfleet.secrets import Secret
from difyfleet.spec.content import Assistant
from difyfleet.spec.models import Admin, HostSpec
from tests.unit.content.fakedify import FakeDify, FakeOn, on_host

SPEC = HostSpec(
    name="llm",
    address="10.9.9.9",
    admin=Admin(email="ops@example.com"),
    assistants={"helper": Assistant(name="助手")},
)
DSL = "app:\n  name: 助手\n  mode: chat\nkind: app\n"


class Service:
    """The service API of one key."""

    def __init__(self, key: Secret) -> None:
        self.key = key
        self.deleted: list[str] = []

    def ask_streaming(self, query: str, user: str) -> Answer:
        cited = tuple(
            Citation(n, "d", "", "x", name, "s", 0.5, "") for n, name in enumerate(["a.md", "b.md", "a.md"])
        )
        return Answer(f"{query} {self.key.reveal()}", "c1", "m", cited, None, 0.25, 1.5)

    def delete_conversation(self, conversation: str, user: str) -> None:
        self.deleted.append(conversation)


@pytest.fixture
def on() -> Iterator[FakeOn]:
    server: Any = FakeDify()
    server.admin = ("ops@example.com", Secret("Passw0rd-1"))
    identity = server.apps.create("助手", "chat", "", None)
    server.keys_[identity].append(type("Key", (), {"id": "k", "token": Secret("app-from-dify")})())
    server.services = []

    def app(key: Secret) -> Service:
        server.services.append(Service(key))
        return server.services[-1]  # type: ignore[no-any-return]

    server.app = app
    server.dsl = type(
        "Dsl",
        (),
        {
            "export": lambda _, app_id: f"exported {app_id}",
            "import_app": lambda _, text, name: imported(server, name),
        },
    )()
    host = FakeOn(server, {"/etc/difyfleet/secrets/dify_admin_password": "Passw0rd-1"})
    with on_host(host):
        yield host


def imported(server: FakeDify, name: str) -> Any:
    identity = server.apps.create(name, "chat", "", None)
    app = server.apps_[identity]
    assert app.config is not None
    server.apps_[identity] = replace(app, config=app.config.change(Settings(datasets=["gone"])))
    return server.apps_[identity]


@pytest.mark.parametrize("key", ["helper", "助手"])
def test_the_kept_key_is_enough(on: FakeOn, key: str) -> None:
    on.files[f"/etc/difyfleet/secrets/{assistants.key_file('helper')}"] = "app-kept"
    asked = content_verbs.ask(on, SPEC, key, "几点？")
    assert asked == content_verbs.Asked("几点？ app-kept", ("a.md", "b.md"), 0.25, 1.5)
    assert on.server.logins == [], "no login needed"
    assert on.server.services[0].deleted == ["c1"]  # type: ignore[attr-defined]


def test_without_a_kept_key_the_apps_own_is_used(on: FakeOn) -> None:
    assert content_verbs.ask(on, SPEC, "helper", "?").text == "? app-from-dify"


def test_an_unknown_assistant_is_an_error_that_lists_the_others(on: FakeOn) -> None:
    with pytest.raises(HostError, match="no app 'helfer'; there are: 助手"):
        content_verbs.ask(on, SPEC, "helfer", "?")


def test_an_answer_as_text() -> None:
    shown = content_verbs.show(content_verbs.Asked(" 12 点\n", ("a.md", "b.md"), 0.25, 1.5))
    assert shown == "12 点\n  [1] a.md\n  [2] b.md\n  first word after 0.2 s, all 1.5 s"
    assert "(no document cited)" in content_verbs.show(content_verbs.Asked("x", (), None, 1))


def test_export_by_key(on: FakeOn) -> None:
    (identity,) = on.server.apps_
    assert content_verbs.export(on, SPEC, "helper") == f"exported {identity}"


def test_import_never_makes_a_second_of_one_name(on: FakeOn) -> None:
    with pytest.raises(HostError, match="there is an app '助手' already"):
        content_verbs.import_app(on, SPEC, DSL, None)
    made = content_verbs.import_app(on, SPEC, DSL, "复本")
    assert (made.name, made.missing) == ("复本", ("gone",))


@pytest.mark.parametrize("text", ["", "[1, 2]", "kind: app\n", "app: [", "app: {mode: chat}\n"])
def test_what_is_not_difys_dsl(on: FakeOn, text: str) -> None:
    with pytest.raises(HostError, match="the DSL file"):
        content_verbs.import_app(on, SPEC, text, None)
    assert len(on.server.apps_) == 1


@pytest.fixture
def two_hosts(tmp_path: Path) -> Path:
    path = tmp_path / "inv.yml"
    path.write_text("admin: {email: a@b.cd}\nhosts: {one: 10.9.9.1, two: 10.9.9.2}\n")
    return path


@pytest.mark.parametrize("verb", [["pull"], ["ask", "helper", "?"], ["dify", "export", "helper"]])
def test_one_host_has_to_be_named(
    two_hosts: Path, verb: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    at = 2 if verb[0] == "dify" else 1
    assert command([*verb[:at], str(two_hosts), *verb[at:]]) == 64
    how = "write HOST/ASSISTANT" if verb[0] == "ask" else "name it with --limit"
    assert f"works on one host; {how} (here: one, two)" in capsys.readouterr().err


def test_ask_takes_the_host_from_the_assistant(
    two_hosts: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[tuple[str, str, str]] = []

    def ask(on: Any, spec: HostSpec, key: str, question: str) -> content_verbs.Asked:
        asked.append((spec.name, key, question))
        return content_verbs.Asked("12 点", ("a.md",), 0.5, 1.0)

    def on_each(hosts: Any, function: Any, **_: Any) -> Any:
        return [content_verbs.Outcome(spec.name, function(None, spec)) for spec in hosts]

    monkeypatch.setattr(content_verbs, "ask", ask)
    monkeypatch.setattr(content_verbs, "on_each", on_each)
    assert command(["ask", str(two_hosts), "two/helper", "几点？", "--json"]) == 0
    assert asked == [("two", "helper", "几点？")]
    assert json.loads(capsys.readouterr().out) == {
        "version": 1,
        "verb": "ask",
        "hosts": [
            {
                "name": "two",
                "result": {"answer": "12 点", "documents": ["a.md"], "first_token": 0.5, "seconds": 1.0},
                "error": None,
            }
        ],
    }
