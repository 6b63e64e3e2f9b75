"""A saved plan is carried out as it stands or not at all."""

from __future__ import annotations

import json
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from difyfleet.cli import run
from difyfleet.exits import Exit
from difyfleet.fleet import plan_digest, plan_file
from difyfleet.operations import files
from difyfleet.operations.base import Change, operation, shell
from difyfleet.spec import secret_values
from difyfleet.spec.models import HostSpec
from tests.unit.fleet.sandbox import Sandbox, role, spec

CANARY = "canary-p4ssw0rd-7391"


def converge(spec: HostSpec) -> None:
    files.directory("/opt/app", name="folder")
    files.put("/opt/app/port", f"{spec.dify.http_port}\n", name="port")
    files.absent("/opt/app/old", name="old file")


@pytest.fixture
def box(make_sandbox: Callable[..., Sandbox]) -> Sandbox:
    return make_sandbox(role(converge))


@pytest.fixture
def inventory(tmp_path: Path) -> Path:
    path = tmp_path / "prod.yml"
    path.write_text(
        "admin: {email: ops@example.com}\nssh: {user: root}\nhosts: {llm: 192.0.2.1, two: 192.0.2.2}\n"
    )
    return path


@pytest.fixture
def saved(tmp_path: Path, box: Sandbox, inventory: Path) -> Path:
    path = tmp_path / "next.plan"
    assert run(["plan", str(inventory), "--out", str(path)]) == Exit.PENDING
    return path


def changed(text: str) -> dict[str, list[str]]:
    return {
        host["name"]: [each["name"] for each in host["operations"] if each["state"] == "changed"]
        for host in json.loads(text)["hosts"]
    }


def test_the_plan_is_carried_out_without_a_question(
    box: Sandbox, saved: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["apply", str(saved), "--json"]) == Exit.OK
    assert changed(capsys.readouterr().out) == {"llm": ["folder", "port"], "two": ["folder", "port"]}
    assert (box.host("two") / "opt/app/port").read_text() == "80\n"


def test_a_plan_is_carried_out_once(saved: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["apply", str(saved)]) == Exit.OK
    assert run(["apply", str(saved)]) == Exit.ERROR
    assert "files | folder: planned /opt/app: absent; now no change" in capsys.readouterr().err


def test_an_empty_plan_can_be_saved_and_applied(inventory: Path, saved: Path, tmp_path: Path) -> None:
    assert run(["apply", str(saved)]) == Exit.OK
    empty = tmp_path / "empty.plan"
    assert run(["plan", str(inventory), "--out", str(empty)]) == Exit.OK
    assert run(["apply", str(empty)]) == Exit.OK


def test_a_host_that_changed_since_stops_all_hosts(
    box: Sandbox, saved: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (box.host("two") / "opt/app").mkdir()
    (box.host("two") / "opt/app/old").write_text("")
    capsys.readouterr()
    assert run(["apply", str(saved), "--json"]) == Exit.ERROR
    result = json.loads(capsys.readouterr().out)
    assert result["summary"]["changing_commands"] == 0
    assert list((box.host("llm") / "opt").iterdir()) == []
    errors = {host["name"]: host["error"] for host in result["hosts"]}
    assert errors["llm"] is None
    assert "files | old file: planned no change; now /opt/app/old: present, wanted absent" in errors["two"]
    assert f"next: difyfleet plan {saved.parent / 'prod.yml'} --out FILE" in errors["two"]


def test_a_text_that_changed_since_is_another_plan(
    box: Sandbox, inventory: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    port = box.host("llm") / "opt/app/port"
    port.parent.mkdir()
    port.write_text("8080\n")
    path = tmp_path / "next.plan"
    assert run(["plan", str(inventory), "--limit", "llm", "--out", str(path)]) == Exit.PENDING
    port.write_text("8081\n")
    assert run(["apply", str(path)]) == Exit.ERROR
    said = capsys.readouterr().err
    assert (
        "port: planned /opt/app/port: content differs; now /opt/app/port: content differs, but with another diff"
        in said
    )
    assert f"difyfleet plan {inventory} --limit llm --out FILE" in said


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "admin: {email: ops@example.com}\nssh: {user: root}\nhosts: {llm: 192.0.2.1}\n",
            "two: in the plan, no longer in the inventory",
        ),
        (
            "admin: {email: ops@example.com}\nssh: {user: root}\nhosts: {llm: 192.0.2.1, two: 192.0.2.2, six: 192.0.2.6}\n",
            "six: not in the plan",
        ),
        (
            "admin: {email: ops@example.com}\nssh: {user: root}\nhosts: {llm: {dify: {http_port: 8088}}, two: 192.0.2.2}\n",
            "llm: dify.http_port is another one",
        ),
    ],
)
def test_an_inventory_that_changed_since_is_refused_before_any_connection(
    box: Sandbox, inventory: Path, saved: Path, text: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    inventory.write_text(text)
    box.unreachable |= {"llm", "two", "six"}
    assert run(["apply", str(saved)]) == Exit.ERROR
    error = capsys.readouterr().err
    assert said in error
    assert "nothing was contacted" in error


def test_another_secret_is_refused_and_no_secret_is_in_the_file(
    box: Sandbox,
    inventory: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    inventory.write_text(
        "admin: {email: ops@example.com, password: {env: P_ADMIN}}\nssh: {user: root}\nhosts: {llm: 192.0.2.1}\n"
    )
    monkeypatch.setenv("P_ADMIN", CANARY)
    path = tmp_path / "next.plan"
    secret_values.forget()
    assert run(["plan", str(inventory), "--out", str(path)]) == Exit.PENDING
    assert CANARY not in path.read_text()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    monkeypatch.setenv("P_ADMIN", CANARY + "x")
    secret_values.forget()
    assert run(["apply", str(path)]) == Exit.ERROR
    said = capsys.readouterr().err
    assert "llm: admin.password is another one" in said
    assert CANARY not in said
    secret_values.forget()


def test_other_code_and_another_controller_are_refused(
    saved: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(plan_digest, "of_code", lambda: "0" * 16)
        assert run(["apply", str(saved)]) == Exit.ERROR
        assert "its code is not that of the plan" in capsys.readouterr().err
    monkeypatch.setenv("DIFYFLEET_STATE_DIR", str(tmp_path / "elsewhere"))
    assert run(["apply", str(saved)]) == Exit.ERROR
    assert "made with another state folder" in capsys.readouterr().err


def test_a_host_that_cannot_be_planned_means_no_file(
    box: Sandbox, inventory: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    box.unreachable.add("two")
    path = tmp_path / "next.plan"
    assert run(["plan", str(inventory), "--out", str(path)]) == Exit.ERROR
    assert not path.exists()
    assert "no plan saved: two could not be planned" in capsys.readouterr().err
    assert run(["plan", str(inventory), "--limit", "llm", "--out", str(path)]) == Exit.PENDING


def test_an_operation_outside_the_plan_is_stopped_before_its_first_command(
    make_sandbox: Callable[..., Sandbox], inventory: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A plan that did not foresee a consequence of its own: the consequence is not carried out."""

    @operation
    def follows() -> Any:
        from pyinfra import host

        from difyfleet.facts.files import PathState

        if host.get_fact(PathState, path="/opt/app/port") is not None:
            yield Change("/opt/app/follower: absent")
            yield shell("touch /opt/app/follower")

    def both(spec: HostSpec) -> None:
        converge(spec)
        follows(name="follower")
        files.put("/opt/app/later", "x", name="later")

    box = make_sandbox(role(both))
    path = tmp_path / "next.plan"
    assert run(["plan", str(inventory), "--limit", "llm", "--out", str(path)]) == Exit.PENDING
    capsys.readouterr()
    assert run(["apply", str(path), "--json"]) == Exit.ERROR
    operations = {
        each["name"]: each for each in json.loads(capsys.readouterr().out)["hosts"][0]["operations"]
    }
    assert operations["port"]["state"] == "changed"
    assert operations["follower"]["state"] == "failed"
    assert "not in the plan, so not done: /opt/app/follower: absent" in operations["follower"]["error"]
    assert operations["later"]["state"] == "skipped"
    assert not (box.host("llm") / "opt/app/follower").exists()
    assert run(["apply", str(inventory), "--limit", "llm", "--yes"]) == Exit.OK
    assert (box.host("llm") / "opt/app/follower").exists()


def test_what_is_known_after_apply_is_marked_and_may_turn_out_either_way(
    make_sandbox: Callable[..., Sandbox], inventory: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    @operation
    def decided_later() -> Any:
        from pyinfra import host

        from difyfleet.facts.files import PathState

        if host.get_fact(PathState, path="/opt/app") is None:
            yield Change("/opt/app/more: known after apply")
            yield shell("true")

    def both(spec: HostSpec) -> None:
        converge(spec)
        decided_later(name="later")

    make_sandbox(role(both))
    path = tmp_path / "next.plan"
    assert run(["plan", str(inventory), "--limit", "llm", "--out", str(path)]) == Exit.PENDING
    operations = {each["name"]: each for each in json.loads(path.read_text())["hosts"]["llm"]}
    assert {name for name, each in operations.items() if each["known_after_apply"]} == {"later"}
    capsys.readouterr()
    assert run(["apply", str(path), "--json"]) == Exit.OK
    assert changed(capsys.readouterr().out) == {"llm": ["folder", "port"]}


def test_out_never_replaces_what_is_not_a_plan(
    inventory: Path, saved: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = inventory.read_text()
    assert run(["plan", str(inventory), "--out", str(inventory)]) == Exit.USAGE
    assert inventory.read_text() == before
    assert "is not a saved plan" in capsys.readouterr().err
    assert run(["plan", str(inventory), "--out", str(saved)]) == Exit.PENDING


def test_options_that_the_plan_decides_are_refused(saved: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["--limit", "llm"], ["--role", "docker"], ["--reprobe-mirrors"]):
        assert run(["apply", str(saved), *words]) == Exit.USAGE
    assert "the plan says which hosts and roles" in capsys.readouterr().err


@pytest.mark.parametrize(
    "text", ['{"difyfleet_plan": 1}', '{"difyfleet_plan": 99}', '{"difyfleet_plan": 1, ']
)
def test_a_damaged_or_newer_file_is_refused(
    tmp_path: Path, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "next.plan"
    path.write_text(text)
    assert plan_file.is_plan(path)
    assert run(["apply", str(path)]) == Exit.ERROR
    assert "next: " in capsys.readouterr().err


def test_every_key_and_every_file_is_in_the_digest(tmp_path: Path) -> None:
    key = b"k" * 32
    before = plan_digest.of_spec(spec(), key)
    assert {"docker.version", "dify.http_port", "admin.email", "ollama.models"} <= before.keys()
    after = plan_digest.of_spec(spec(docker={"version": "28.5.3"}), key)
    assert [name for name in before if before[name] != after[name]] == ["docker.version"]
    assert plan_digest.of_spec(spec(), b"another key")["docker.version"] != before["docker.version"]

    folder = tmp_path / "handbook"
    folder.mkdir()
    (folder / "a.txt").write_text("one")
    knowledge = {"handbook": {"documents": str(folder)}}
    before = plan_digest.of_spec(spec(knowledge=knowledge), key)
    (folder / "a.txt").write_text("two")
    after = plan_digest.of_spec(spec(knowledge=knowledge), key)
    assert [name for name in before if before[name] != after[name]] == ["knowledge.handbook"]
