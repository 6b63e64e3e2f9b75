"""fleet.leases: all hosts or none. And where a lost lease stops a change: at the door."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from pyinfra.api import StringCommand

from difyfleet.errors import HostError, Locked
from difyfleet.exits import Exit
from difyfleet.fleet import leases, lock_verb, verbs
from difyfleet.fleet.engine import engine
from difyfleet.fleet.results import FAILED
from difyfleet.operations.files import put
from difyfleet.remote import http, lease
from difyfleet.remote.door import DoorConnector
from difyfleet.remote.reading import is_reading, reading
from difyfleet.spec.models import HostSpec
from tests.unit.fleet.sandbox import Sandbox, role, spec


class Held:
    def __init__(self, log: list[str], name: str) -> None:
        self.log, self.name = log, name

    def release(self) -> None:
        self.log.append(f"release {self.name}")

    def require(self) -> None:
        raise HostError("given back")


class Host:
    """A host and its connector."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.connector = self
        self.lease: Any = None


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    said: list[str] = []

    def take(door: Host, reason: str, deadline: float) -> Held:
        said.append(f"take {door.name} ({reason})")
        if door.name == "busy":
            raise Locked("is being worked on by x", where=door.name)
        if door.name == "odd":
            raise HostError("there is no flock", where=door.name)
        return Held(said, door.name)

    monkeypatch.setattr(lease, "take", take)
    return said


def test_all_are_taken_in_order_and_given_back(log: list[str]) -> None:
    hosts = [Host("b"), Host("a")]
    leases.take_all(hosts, "apply prod.yml", 0, lambda *_: None)
    assert log == ["take b (apply prod.yml)", "take a (apply prod.yml)"]
    leases.give_back(hosts)
    assert sorted(log[2:]) == ["release a", "release b"]
    with pytest.raises(HostError, match="given back"):
        lease.require_lease(hosts[0])


def test_one_held_host_and_the_others_are_given_back(log: list[str]) -> None:
    hosts = [Host("a"), Host("busy"), Host("c")]
    with pytest.raises(Locked, match="busy: is being worked on"):
        leases.take_all(hosts, "apply", 0, lambda *_: None)
    assert log == ["take a (apply)", "take busy (apply)", "release a"]


@pytest.mark.usefixtures("log")
def test_a_host_without_a_lease_to_be_had_fails_alone() -> None:
    hosts, failed = [Host("odd"), Host("c")], []
    leases.take_all(hosts, "apply", 0, lambda host, error: failed.append((host.name, error)))
    assert failed == [("odd", "odd: there is no flock")]
    assert hosts[0].lease is None
    assert hosts[1].lease is not None


class Lost:
    """A lease that is gone."""

    def require(self) -> None:
        raise HostError("lease lost")


class Door(DoorConnector):
    """The door without a connection."""

    def __init__(self) -> None:
        self.lease = Lost()  # type: ignore[assignment]
        self.host = self  # type: ignore[assignment]
        self.name = "llm"
        self.connector_data: dict[str, Any] = {}
        self.connector = self
        self.executing_op_hash = self.current_op_hash = None
        self.ran: list[str] = []

    def _exec(self, line: str, stdin: str, timeout: int) -> Any:
        self.ran.append(line)
        return 0, type("Output", (), {"stderr_lines": []})()


def test_without_its_lease_a_run_changes_nothing_and_may_read() -> None:
    door = Door()
    for change in (
        lambda: door.run_shell_command(StringCommand("rm -f /x")),
        lambda: door.put_file("/x", "/y"),
        lambda: http.session(door).post("http://127.0.0.1:1/"),
    ):
        with pytest.raises(HostError, match="lease lost"):
            change()
    assert door.ran == []
    with reading():
        door.run_shell_command(StringCommand("cat /x"))
    assert door.ran == ["sh -c 'cat /x'"]


def written(content: str) -> Any:
    """A role of one file on every host, and one check of it."""

    def converge(spec: HostSpec) -> None:
        put(name="a file", path="/etc/thing", content=content)

    return role(converge)


def held(box: Sandbox, name: str) -> bool:
    return (box.host(name) / "run/difyfleet/lease.json").exists()


def test_an_apply_holds_the_lease_while_it_changes_and_a_plan_takes_none(
    make_sandbox: Callable[..., Sandbox], monkeypatch: pytest.MonkeyPatch
) -> None:
    box = make_sandbox(written("new\n"))
    seen: list[tuple[bool, bool]] = []
    execute = Sandbox.exec

    def spy(self: Sandbox, host: str, line: str, stdin: str, timeout: int) -> Any:
        seen.append((is_reading(), held(box, "llm")))
        return execute(self, host, line, stdin, timeout)

    monkeypatch.setattr(Sandbox, "exec", spy)
    verbs.plan([spec()])
    assert not (box.host("llm") / "run/difyfleet").exists()
    assert seen
    seen.clear()
    result = verbs.apply([spec()], confirm=lambda planned: True, reason="apply prod.yml")
    assert (False, True) in seen, "changed with the lease"
    assert (False, False) not in seen, "never changed without it"
    assert not held(box, "llm")
    assert verbs.exit_code(result) == Exit.OK


def test_one_locked_host_and_no_host_is_changed(make_sandbox: Callable[..., Sandbox]) -> None:
    box = make_sandbox(written("new\n"))
    hosts = [spec("a"), spec("b"), spec("c")]
    with engine([hosts[1]], lease="apply other.yml"):
        with pytest.raises(Locked, match=r"b: is being worked on by .* \(apply other.yml\) since"):
            verbs.apply(hosts)
        assert [held(box, name) for name in "abc"] == [False, True, False]
    assert not any((box.host(name) / "etc/thing").exists() for name in "abc")
    assert verbs.exit_code(verbs.apply(hosts)) == Exit.OK


def test_a_run_whose_lease_was_released_by_hand_stops(
    make_sandbox: Callable[..., Sandbox], monkeypatch: pytest.MonkeyPatch
) -> None:
    box = make_sandbox(written("new\n"))
    with engine([spec()], lease="apply") as run:
        run.prepare()
        monkeypatch.setattr(lease, "SURE", 0.0)  # asks the host before every change
        (mine,) = lock_verb.holders([spec()])
        assert mine.value is not None
        lock_verb.release([spec()], {"llm": mine.value})
        run.execute()
        (host,) = run.result("apply", 0).hosts
    assert host.operations[0].state == FAILED
    assert str(host.operations[0].error).startswith("llm: lease lost: it was released by hand; ")
    assert not (box.host("llm") / "etc/thing").exists()
