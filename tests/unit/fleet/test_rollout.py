"""rollout: waves, gates, halt, resume; whole runs on hosts in folders, from the command line."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pyinfra import host as current_host

from difyfleet.checks import Check
from difyfleet.cli import run as command
from difyfleet.exits import Exit
from difyfleet.fleet import rollout_state
from difyfleet.fleet.engine import engine
from difyfleet.fleet.history import History
from difyfleet.fleet.rollout_state import DONE, FAILED, STARTED, UNTOUCHED
from difyfleet.operations import files
from difyfleet.operations.base import operation, shell
from difyfleet.remote import journal
from difyfleet.spec.loader import load
from difyfleet.spec.models import HostSpec
from tests.unit.fleet.sandbox import Sandbox, current, role

HOSTS = ("a", "b", "c", "d")


@operation
def trial() -> Iterator[Any]:
    """Fails where somebody has put a file."""
    yield shell("! test -e /etc/broken || { echo the trial failed >&2; exit 1; }")


def converge(spec: HostSpec) -> None:
    files.put("/etc/port", f"{spec.dify.http_port}\n", name="port")
    trial(name="trial")


def checks(spec: HostSpec) -> Iterator[Check]:
    sick = (current().host(current_host.name) / "etc/sick").exists()
    yield Check("answers: about apples", not sick, "no document cited" if sick else "cited")


@pytest.fixture
def box(make_sandbox: Callable[..., Sandbox]) -> Sandbox:
    return make_sandbox(role(converge, checks))


@pytest.fixture
def inventory(tmp_path: Path) -> Path:
    path = tmp_path / "prod.yml"
    write(path)
    return path


def write(path: Path, more: str = "", ports: dict[str, int] | None = None) -> None:
    lines = [
        f"  {name}: {{address: 192.0.2.{number}, dify: {{http_port: {(ports or {}).get(name, 80)}}}}}"
        for number, name in enumerate(HOSTS, 1)
    ]
    path.write_text(
        "admin: {email: ops@example.com}\nssh: {user: root}\n" + more + "hosts:\n" + "\n".join(lines) + "\n"
    )


def rollout(inventory: Path, *options: str) -> int:
    return command(["rollout", str(inventory), "--yes", *options])


def states(inventory: Path) -> list[str]:
    state = rollout_state.last(inventory)
    assert state is not None
    return [state.hosts[name].state for name in HOSTS]


def touched(box: Sandbox) -> str:
    """The hosts on which there is anything of ours."""
    return "".join(
        name
        for name in HOSTS
        if (box.root / name / "etc/port").exists() or (box.root / name / "run/difyfleet").exists()
    )


def contacted() -> set[str]:
    return {entry["host"] for entry in journal.current().entries()}


def test_wave_after_wave(box: Sandbox, inventory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert rollout(inventory, "--json") == Exit.OK
    said = json.loads(capsys.readouterr().out)
    assert said["verb"] == "rollout"
    assert said["rollout"] == {
        "waves": [{"a": "done"}, {"b": "done", "c": "done", "d": "done"}],
        "halted": None,
        "next": None,
    }
    assert said["summary"]["checks_passed"] == 4
    assert touched(box) == "abcd"
    order = [
        entry["host"] for entry in journal.current().entries() if entry["kind"] in (journal.CHANGE, "connect")
    ]
    assert set(order[: order.index("b")]) == {"a"}, "nobody is connected to before the wave's turn"


@pytest.mark.parametrize(
    ("spoiled", "why"),
    [
        ("etc/sick", "b: files | answers: about apples: no document cited"),
        ("etc/broken", "b: files | trial: the trial failed"),
    ],
)
def test_a_wave_that_fails_halts_and_later_hosts_are_untouched(
    box: Sandbox, inventory: Path, spoiled: str, why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    write(inventory, "rollout: {waves: [1, 2, 100%]}\n")
    (box.host("b") / spoiled).touch()
    assert rollout(inventory) == Exit.HALTED
    said = capsys.readouterr().err
    assert "rollout: halted in wave 2 in" in said
    assert why in said
    assert "c, d: untouched: the rollout halted in wave 2" in said
    assert f"next: difyfleet rollout {inventory} --resume" in said
    assert touched(box) == "ab"
    assert contacted() == {"a", "b"}
    assert states(inventory) == [DONE, FAILED, UNTOUCHED, UNTOUCHED]


def test_a_host_that_cannot_be_reached_halts_too(
    box: Sandbox, inventory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    box.unreachable.add("a")
    assert rollout(inventory, "--json") == Exit.HALTED
    said = json.loads(capsys.readouterr().out)
    assert said["rollout"]["halted"] == {
        "wave": 1,
        "why": ["a: cannot connect to 192.0.2.1: timed out"],
        "locked": False,
    }
    assert [host["note"] for host in said["hosts"]] == [
        None,
        *["untouched: the rollout halted in wave 1"] * 3,
    ]
    assert touched(box) == ""


def test_resume_does_what_is_left(box: Sandbox, inventory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(inventory, "rollout: {waves: [1, 2, 100%]}\n")
    (box.host("b") / "etc/broken").touch()
    assert rollout(inventory) == Exit.HALTED
    assert rollout(inventory, "--resume") == Exit.HALTED
    said = capsys.readouterr().err
    assert "wave 2: b\nwave 3: c d\n" in said
    assert "rollout: halted in wave 2 in" in said, "waves keep their numbers"
    (box.host("b") / "etc/broken").unlink()
    assert rollout(inventory, "--resume", "--json") == Exit.OK
    said = json.loads(capsys.readouterr().out)
    assert "done earlier in this rollout" in said["hosts"][0]["note"]
    assert contacted() == {"b", "c", "d"}
    assert states(inventory) == [DONE] * 4
    assert rollout(inventory, "--resume") == Exit.ERROR
    assert "is complete, there is nothing to resume" in capsys.readouterr().err


def test_resume_does_a_done_host_again_whose_declaration_has_changed(box: Sandbox, inventory: Path) -> None:
    more = "rollout: {waves: [1, 2, 3, 100%]}\n"
    write(inventory, more)
    (box.host("c") / "etc/broken").touch()
    assert rollout(inventory) == Exit.HALTED
    (box.host("c") / "etc/broken").unlink()
    write(inventory, more, {"b": 81})
    assert rollout(inventory, "--resume") == Exit.OK
    assert contacted() == {"b", "c", "d"}
    assert (box.host("b") / "etc/port").read_text() == "81\n"


def test_max_failures_and_only_failed(
    box: Sandbox, inventory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(inventory, "rollout: {waves: [1, 2, 100%], max_failures: 1}\n")
    (box.host("b") / "etc/sick").touch()
    assert rollout(inventory) == Exit.CHECKS_FAILED
    assert states(inventory) == [DONE, FAILED, DONE, DONE]
    assert rollout(inventory, "--only-failed") == Exit.CHECKS_FAILED
    assert contacted() == {"b"}
    (box.host("b") / "etc/sick").unlink()
    assert rollout(inventory, "--only-failed") == Exit.OK
    assert states(inventory) == [DONE] * 4


def test_only_failed_leaves_the_untouched_ones(
    box: Sandbox, inventory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (box.host("a") / "etc/sick").touch()
    assert rollout(inventory) == Exit.HALTED
    (box.host("a") / "etc/sick").unlink()
    assert rollout(inventory, "--only-failed") == Exit.OK
    assert states(inventory) == [DONE, UNTOUCHED, UNTOUCHED, UNTOUCHED]
    assert "b, c, d: not part of this run" in capsys.readouterr().err
    assert rollout(inventory, "--only-failed") == Exit.ERROR
    assert "no host failed in the last rollout" in capsys.readouterr().err
    assert rollout(inventory, "--resume") == Exit.OK
    assert states(inventory) == [DONE] * 4


def test_what_needs_a_failed_host_is_not_tried(
    box: Sandbox, inventory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    inventory.write_text(
        """\
admin: {email: ops@example.com}
ssh: {user: root}
rollout: {max_failures: 1}
hosts:
  a: {address: 192.0.2.1, ollama: {enabled: false}, openwebui: {enabled: false}, dify: {ollama_url: "http://192.0.2.4:11434"}}
  b: {address: 192.0.2.2, dify: {enabled: false}}
  c: {address: 192.0.2.3, dify: {enabled: false}}
  d: {address: 192.0.2.4, dify: {enabled: false}}
"""
    )
    (box.host("d") / "etc/broken").touch()
    assert rollout(inventory) == Exit.ERROR
    assert "a: untouched: it uses the Ollama of d, which is not done" in capsys.readouterr().err
    assert states(inventory) == [UNTOUCHED, DONE, DONE, FAILED]
    assert touched(box) == "bcd"


def test_an_interrupted_rollout_keeps_its_state(
    box: Sandbox, inventory: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    execute = Sandbox.exec

    def interrupted(self: Sandbox, host: str, line: str, stdin: str, timeout: int) -> Any:
        if host == "c" and "broken" in line:
            raise KeyboardInterrupt
        return execute(self, host, line, stdin, timeout)

    monkeypatch.setattr(Sandbox, "exec", interrupted)
    write(inventory, "rollout: {waves: [2, 3, 100%]}\n")
    assert rollout(inventory) == Exit.INTERRUPTED
    assert f"to go on: difyfleet rollout {inventory} --resume" in capsys.readouterr().err
    assert states(inventory) == [DONE, DONE, STARTED, UNTOUCHED]
    assert not (box.host("c") / "run/difyfleet/lease.json").exists()
    monkeypatch.setattr(Sandbox, "exec", execute)
    assert rollout(inventory, "--resume") == Exit.OK
    assert contacted() == {"c", "d"}


def test_a_locked_host_stops_it(box: Sandbox, inventory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (b,) = load(inventory).select("b")
    with engine([b], lease="apply other.yml"):
        assert rollout(inventory) == Exit.LOCKED
    said = capsys.readouterr().err
    assert "rollout: stopped, locked in wave 2 in" in said
    assert "b: is being worked on by" in said
    assert states(inventory) == [DONE, UNTOUCHED, UNTOUCHED, UNTOUCHED]
    assert rollout(inventory, "--resume") == Exit.OK


def test_two_rollouts_of_one_inventory(
    inventory: Path, box: Sandbox, capsys: pytest.CaptureFixture[str]
) -> None:
    with rollout_state.alone(inventory):
        assert rollout(inventory) == Exit.LOCKED
    assert "another rollout of this inventory runs on this machine" in capsys.readouterr().err
    assert touched(box) == ""


def test_limit_and_roles_are_remembered(box: Sandbox, inventory: Path) -> None:
    (box.host("b") / "etc/sick").touch()
    assert rollout(inventory, "--limit", "a,b,c", "--role", "docker") == Exit.OK, (
        "no such role here: nothing to check"
    )
    (box.host("a") / "etc/sick").touch()
    assert rollout(inventory, "--limit", "a,c") == Exit.HALTED
    (box.host("a") / "etc/sick").unlink()
    assert rollout(inventory, "--resume") == Exit.OK
    assert contacted() == {"a", "c"}
    assert rollout(inventory, "--resume", "--limit", "b") == Exit.USAGE


def test_nothing_to_resume(inventory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert rollout(inventory, "--resume") == Exit.ERROR
    assert f"next: difyfleet rollout {inventory}\n" in capsys.readouterr().err


def test_a_damaged_state_is_said_and_replaced(
    box: Sandbox, inventory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert rollout(inventory) == Exit.OK
    state = rollout_state.last(inventory)
    assert state is not None
    state.path.write_text("{")
    assert rollout(inventory, "--resume") == Exit.ERROR
    assert "start a new one" in capsys.readouterr().err
    assert rollout(inventory) == Exit.OK


def test_a_rollout_given_up_is_mentioned(
    box: Sandbox, inventory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (box.host("a") / "etc/sick").touch()
    rollout(inventory)
    capsys.readouterr()
    rollout(inventory)
    assert "was not complete and is given up; --resume would go on with it" in capsys.readouterr().err


def test_it_plans_and_asks(
    box: Sandbox, inventory: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(["rollout", str(inventory)]) == Exit.USAGE
    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    answers = [False, True]
    monkeypatch.setattr("click.confirm", lambda *_, **__: answers.pop(0))
    assert command(["rollout", str(inventory)]) == Exit.PENDING
    assert touched(box) == ""
    said = capsys.readouterr().err
    assert "wave 1: a\nwave 2: b c d\n" in said
    assert "would change" in said
    assert command(["rollout", str(inventory)]) == Exit.OK
    assert touched(box) == "abcd"


def test_history_and_page(
    box: Sandbox, inventory: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (box.host("a") / "etc/sick").touch()
    assert rollout(inventory, "--html", str(tmp_path / "page.html")) == Exit.HALTED
    (record,) = History(load(inventory)).runs()
    assert (record.verb, record.exit, [host.name for host in record.hosts]) == ("rollout", 3, ["a"])
    assert "were not reached" in (tmp_path / "page.html").read_text()


def test_a_plan_that_fails_everywhere_is_not_asked_about(
    box: Sandbox, inventory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    box.unreachable.update(HOSTS)
    assert command(["rollout", str(inventory)]) == Exit.ERROR
    assert rollout_state.last(inventory) is None
