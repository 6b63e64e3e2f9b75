"""drift --quick: a host that is as it was is not looked at again, and nothing else is taken for one."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pyinfra import host
from pyinfra.api import FactBase

from difyfleet.checks import Check
from difyfleet.cli import run
from difyfleet.exits import Exit
from difyfleet.facts.files import PathState
from difyfleet.fleet import clean_looks, reading_ahead
from difyfleet.operations import files
from difyfleet.remote import journal
from difyfleet.remote.reading import reading
from difyfleet.spec.models import HostSpec
from tests.unit.fleet.sandbox import Sandbox, role, sandbox

ASKED: list[str] = []  # of the checks
HOLDS = [True]


def converge(spec: HostSpec) -> None:
    files.put("/opt/port", f"{spec.dify.http_port}\n", name="port")
    host.get_fact(PathState, path="/opt/unmanaged")


def checks(spec: HostSpec) -> Iterator[Check]:
    ASKED.append(spec.name)
    yield Check("port: as declared", HOLDS[0], "seen")


@pytest.fixture(autouse=True)
def _switched_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where all other tests run with read-ahead off."""
    monkeypatch.delenv(reading_ahead.SWITCH, raising=False)


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Sandbox]:
    ASKED.clear()
    (tmp_path / "hosts").mkdir()
    with sandbox(tmp_path / "hosts", role(converge, checks, name="dify")) as box:
        (tmp_path / "prod.yml").write_text(inventory())
        box.host("llm")
        assert run(["apply", str(tmp_path / "prod.yml"), "--yes"]) == Exit.OK
        yield box


def inventory(port: int = 80, full_every: int = 24) -> str:
    return (
        "admin: {email: ops@example.com}\nssh: {user: root}\nhosts: {llm: 192.0.2.1}\n"
        f"dify: {{http_port: {port}}}\ndrift: {{full_every: {full_every}}}\n"
    )


@pytest.fixture
def drift(box: Sandbox, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., dict[str, Any]]:
    def found(*arguments: str) -> dict[str, Any]:
        capsys.readouterr()
        ASKED.clear()
        code = run(["drift", str(tmp_path / "prod.yml"), "--json", *arguments])
        said: dict[str, Any] = json.loads(capsys.readouterr().out)
        return {**said, "exit": code, "as_of": said["hosts"][0]["as_of"]}

    return found


@pytest.fixture
def clean(drift: Callable[..., dict[str, Any]]) -> Callable[..., dict[str, Any]]:
    """The same, once the host has been found clean by what was read ahead."""
    for _ in range(2):
        assert drift()["exit"] == Exit.OK
    return drift


def test_a_host_that_is_as_it_was_is_asked_for_one_digest(clean: Callable[..., dict[str, Any]]) -> None:
    said = clean("--quick")
    assert said["exit"] == Exit.OK
    assert said["as_of"]
    assert said["summary"]["exec_round_trips"] == 1
    assert [each["name"] for each in said["hosts"][0]["operations"]] == ["port"]
    assert {each["state"] for each in said["hosts"][0]["operations"]} == {"unchanged"}
    assert ASKED == []
    ways = Counter(entry["via"] for entry in journal.current().entries())
    assert ways["ahead"] == 1


def test_without_the_word_it_is_a_full_look(clean: Callable[..., dict[str, Any]]) -> None:
    said = clean()
    assert said["as_of"] is None
    assert said["summary"]["checks_passed"] == 1


@pytest.mark.parametrize(
    "change",
    [
        lambda opt: (opt / "port").write_text("8080\n"),
        lambda opt: (opt / "port").chmod(0o600),
        lambda opt: (opt / "port").unlink(),
    ],
    ids=["content", "mode", "absent"],
)
def test_a_changed_host_is_found(
    box: Sandbox, clean: Callable[..., dict[str, Any]], change: Callable[[Path], None]
) -> None:
    change(box.host("llm") / "opt")
    said = clean("--quick")
    assert said["exit"] == Exit.PENDING
    assert [each["operation"] for each in said["drift"]] == ["port"]
    assert clean("--quick")["exit"] == Exit.PENDING, "what was found is not forgotten"


def test_what_is_read_and_makes_no_difference_costs_a_full_look_once(
    box: Sandbox, clean: Callable[..., dict[str, Any]]
) -> None:
    (box.host("llm") / "opt/unmanaged").write_text("here now")
    assert clean("--quick")["as_of"] is None
    assert ASKED == ["llm"]
    assert clean("--quick")["as_of"]


@pytest.mark.parametrize("what", ["inventory", "age", "never", "roles", "read-ahead off", "memory", "code"])
def test_a_full_look_where_the_last_one_says_nothing(
    clean: Callable[..., dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    assert clean("--quick")["as_of"]
    arguments = ["--quick"]
    if what == "inventory":
        (tmp_path / "prod.yml").write_text(inventory().replace("ops@", "root@"))
    elif what == "age":
        path = next(_state().rglob("clean.json"))
        document = json.loads(path.read_text())
        document["hosts"]["llm"][""]["at"] = "2020-01-01T00:00:00Z"
        path.write_text(json.dumps(document))
    elif what == "never":
        (tmp_path / "prod.yml").write_text(inventory(full_every=0))
    elif what == "roles":
        arguments += ["--role", "dify"]
    elif what == "read-ahead off":
        monkeypatch.setenv(reading_ahead.SWITCH, "0")
    elif what == "memory":
        next(_state().rglob("clean.json")).write_text('{"version": 1, "hosts": {"llm": {"": {"at": 3}}}}')
    elif what == "code":
        monkeypatch.setattr(reading_ahead, "_code", lambda: "other code")
    said = clean(*arguments)
    assert said["exit"] == Exit.OK
    assert said["as_of"] is None
    assert said["summary"]["checks_passed"] == 1


def _state() -> Path:
    return clean_looks.environment_dir("prod", Path("/")).parent


def test_a_look_at_which_a_check_failed_is_not_stood_on(
    clean: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    HOLDS[0] = False
    try:
        assert clean()["exit"] == Exit.CHECKS_FAILED
        assert clean("--quick")["exit"] == Exit.CHECKS_FAILED
    finally:
        HOLDS[0] = True


class Clock(FactBase[str]):
    def command(self) -> str:
        return "date +%s%N"

    def process(self, output: list[str]) -> str:
        return output[0]


def converge_by_the_clock(spec: HostSpec) -> None:
    converge(spec)
    host.get_fact(Clock)


def converge_besides(spec: HostSpec) -> None:
    converge(spec)
    with reading():
        host.run_shell_command("cat /opt/port", _stdin="read by nobody\n")


@pytest.mark.parametrize("other", [converge_by_the_clock, converge_besides], ids=["clock", "not ahead"])
def test_what_cannot_be_held_to_a_digest_is_always_looked_at_in_full(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], other: Callable[[HostSpec], None]
) -> None:
    (tmp_path / "hosts").mkdir()
    with sandbox(tmp_path / "hosts", role(other, checks, name="dify")) as box:
        (tmp_path / "prod.yml").write_text(inventory())
        box.host("llm")
        assert run(["apply", str(tmp_path / "prod.yml"), "--yes"]) == Exit.OK
        for _ in range(4):
            capsys.readouterr()
            assert run(["drift", str(tmp_path / "prod.yml"), "--json", "--quick"]) == Exit.OK
            assert json.loads(capsys.readouterr().out)["hosts"][0]["as_of"] is None
