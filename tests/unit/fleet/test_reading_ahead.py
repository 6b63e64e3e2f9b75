"""fleet.reading_ahead: a run that reads ahead finds what it finds without, in one exec.

Whole runs with the real engine on a host in a folder (sandbox.py): once as ever, once with the switch off.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from pyinfra import host
from pyinfra.api import FactBase

from difyfleet.checks import Check
from difyfleet.facts.files import PathState
from difyfleet.fleet import reading_ahead, verbs
from difyfleet.fleet.results import CHANGED, RunResult
from difyfleet.operations import files, service
from difyfleet.remote import journal
from difyfleet.spec.models import HostSpec
from tests.unit.fleet import stand_ins
from tests.unit.fleet import test_plan_is_apply as stack
from tests.unit.fleet.sandbox import Sandbox, role, sandbox, spec

WANTED = stack.docker_spec(stack.MIRRORS, True, "20m")
DECLARED = stack.Declared("0755", "one\n", "0644", False, None, "worker_processes 1;\n")


def converge(wanted: HostSpec) -> None:
    stack.converge_files(wanted)
    stack.converge_docker(wanted)


def checks(_: HostSpec) -> Iterator[Check]:
    for path in ("/opt/app/text", "/opt/app/old", "/etc/docker/daemon.json"):
        yield Check(path, True, repr(host.get_fact(PathState, path=path)))


def said(result: RunResult) -> str:
    """All that a run says, but how long it took and how often it asked."""
    document = json.loads(json.dumps(result.to_json()))

    def without(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: without(one) for key, one in value.items() if key not in UNEQUAL}
        return [without(one) for one in value] if isinstance(value, list) else value

    return json.dumps(without(document), indent=1)


UNEQUAL = ("seconds", "journal", "exec_round_trips")


def ways() -> Counter[str]:
    return Counter(entry["via"] for entry in journal.current().entries() if entry["kind"] == journal.READ)


@pytest.fixture(autouse=True)
def _switched_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where all other tests run with read-ahead off."""
    monkeypatch.delenv(reading_ahead.SWITCH, raising=False)


@pytest.fixture(scope="module")
def left_by_a_run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A host on which everything is as declared."""
    root = tmp_path_factory.mktemp("left")
    with pytest.MonkeyPatch.context() as patched, sandbox(root, role(converge, checks)) as box:
        patched.setattr(service.engine, "restart_reasons", lambda docker: [])
        stack.DECLARED.append(DECLARED)
        stand_ins.install(box)
        verbs.apply([WANTED])
        yield root / "llm"


@pytest.fixture
def box(left_by_a_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sandbox]:
    """That host, of which nothing is learned yet."""
    monkeypatch.setattr(stack, "DECLARED", [DECLARED])
    root = tmp_path / "hosts"
    shutil.copytree(left_by_a_run, root / "llm")
    with sandbox(root, role(converge, checks)) as box:
        yield box


def test_the_second_plan_is_one_exec(box: Sandbox) -> None:
    first = verbs.plan([WANTED])
    asked = ways()
    second = verbs.plan([WANTED])
    assert first.summary()["exec_round_trips"] == asked["exec"] > 10
    assert second.summary()["exec_round_trips"] == 1
    assert ways()["ahead"] > 10
    assert said(first) == said(second)


def test_verify_and_the_checks_after_a_plan_are_phases_of_their_own(box: Sandbox) -> None:
    for verb in (verbs.verify, verbs.plan, verbs.verify, verbs.plan):
        result = verb([WANTED])
    assert result.summary()["exec_round_trips"] == 1
    assert verbs.verify([WANTED]).summary()["exec_round_trips"] == 1


@pytest.mark.parametrize("way", ["environment", "file"])
def test_the_switch(box: Sandbox, way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    verbs.plan([WANTED])
    if way == "environment":
        monkeypatch.setenv(reading_ahead.SWITCH, "0")
    else:
        (reading_ahead.folder() / "off").touch()
    assert verbs.plan([WANTED]).summary()["exec_round_trips"] > 10
    assert ways()["ahead"] == 0


def test_another_inventory_other_code_or_other_roles_learn_anew(
    box: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    def trips(**choice: Any) -> int:
        wanted = choice.pop("wanted", WANTED)
        return int(verbs.plan([wanted], **choice).summary()["exec_round_trips"])

    assert trips() > 1
    assert trips(roles=["files"]) > 1
    assert trips(wanted=stack.docker_spec(stack.MIRRORS, True, "50m")) > 1
    assert trips() > 1, "the last run was of another inventory"
    assert trips() == 1
    monkeypatch.setattr(reading_ahead, "_code", lambda: "other code")
    assert trips() > 1
    assert trips() == 1
    assert trips(switches={"reprobe_mirrors": False}) == 1
    assert trips(switches={"reprobe_mirrors": True}) > 1


@pytest.mark.parametrize("confirm", [None, lambda plan: True], ids=["unasked", "asked"])
def test_an_apply_with_nothing_to_change_is_one_exec_beside_its_lease(box: Sandbox, confirm: Any) -> None:
    """The sandbox's lease is not in the journal."""
    first = verbs.apply([WANTED], confirm=confirm)
    assert ways()["exec"] > 10
    second = verbs.apply([WANTED], confirm=confirm)
    assert second.summary()["exec_round_trips"] == ways()["exec"] == 1
    assert said(first) == said(second)


def test_what_a_plan_has_learned_serves_the_first_execution(box: Sandbox) -> None:
    """Its checks, which no run has made yet, are read one by one."""
    verbs.plan([WANTED])
    planned = {entry["what"] for entry in journal.current().entries()}
    verbs.apply([WANTED])
    alone = [entry["what"] for entry in journal.current().entries() if entry["via"] == "exec"]
    assert len(planned & set(alone)) <= 3, "those of the checks"


def test_after_the_first_change_everything_is_read_again(box: Sandbox) -> None:
    verbs.apply([WANTED])
    text = box.host("llm") / "opt/app/text"
    text.write_text("by hand\n")
    applied = verbs.apply([WANTED])
    assert stack.in_state(applied, CHANGED) == {("files", "text")}
    entries = list(journal.current().entries())
    change = next(number for number, entry in enumerate(entries) if entry["kind"] == journal.CHANGE)
    ways_after = [entry["via"] for entry in entries[change:] if entry["kind"] == journal.READ]
    last_operation = next(
        number for number, entry in reversed(list(enumerate(entries))) if entry["operation"] is not None
    )
    assert "ahead" not in [entry["via"] for entry in entries[change : last_operation + 1]]
    assert ways_after.count("exec") > 5
    assert verbs.apply([WANTED]).summary()["exec_round_trips"] == 1, "a run with changes teaches nothing"


def test_what_changed_between_plan_and_execution_is_seen(box: Sandbox) -> None:
    text = box.host("llm") / "opt/app/text"
    verbs.plan([WANTED])

    def meanwhile(plan: RunResult) -> bool:
        assert plan.summary()["would_change"] == 0
        text.write_text("by hand\n")
        return True

    applied = verbs.apply([WANTED], confirm=meanwhile)
    assert stack.in_state(applied, CHANGED) == {("files", "text")}
    assert text.read_text() == DECLARED.text


class Beat(FactBase[str]):
    """What stands in a file that each look at it changes."""

    def command(self) -> str:
        return "cat /opt/beat; true"

    def process(self, output: Any) -> str:
        return "\n".join(output)


def test_a_change_in_a_plan_voids_what_was_read(make_sandbox: Callable[..., Sandbox]) -> None:
    """No operation does that, but if one did, the plan would not be made from old answers."""
    seen: list[str] = []

    def converge(_: HostSpec) -> None:
        seen.append(host.get_fact(Beat))
        host.run_shell_command("echo after > /opt/beat")
        seen.append(host.get_fact(Beat))

    box = make_sandbox(role(converge))
    for _ in range(2):
        (box.host("llm") / "opt/beat").write_text("before\n")
        verbs.plan([spec()])
    assert seen == ["before", "after"] * 2


def test_a_failed_phase_teaches_nothing(make_sandbox: Callable[..., Sandbox]) -> None:
    broken: list[bool] = []

    def converge(_: HostSpec) -> None:
        host.get_fact(PathState, path="/opt/a")
        if broken:
            raise ValueError("stop")
        host.get_fact(PathState, path="/opt/b")

    make_sandbox(role(converge))
    verbs.plan([spec()])
    broken.append(True)
    assert verbs.plan([spec()]).hosts[0].error
    broken.clear()
    assert verbs.plan([spec()]).summary()["exec_round_trips"] == 1


def test_each_host_has_its_own(make_sandbox: Callable[..., Sandbox]) -> None:
    def converge(wanted: HostSpec) -> None:
        files.put("/opt/name", wanted.name, name="name")

    hosts = [spec(f"h{number}", address=f"192.0.2.{number + 1}") for number in range(3)]
    box = make_sandbox(role(converge))
    verbs.apply(hosts)
    verbs.plan(hosts)
    (box.host("h1") / "opt/name").write_text("other")
    second = verbs.plan(hosts)
    assert [(each.exec_round_trips, each.count("would_change")) for each in second.hosts] == [
        (1, 0),
        (1, 1),
        (1, 0),
    ]


@given(
    now=stack.declared,
    changes=stack.damages,
    by_hand=stack.st.lists(stack.st.sampled_from(stack.BY_HAND), max_size=2, unique=True),
)
@settings(stack.QUICK, max_examples=stack.EXAMPLES or 3)
def test_any_plan_says_the_same_both_ways(
    left_by_a_run: Path, now: Any, changes: list[Any], by_hand: list[Any]
) -> None:
    """Whatever was done to the host after the reads were learned."""
    with (
        tempfile.TemporaryDirectory() as folder,
        pytest.MonkeyPatch.context() as patched,
        sandbox(Path(folder), role(converge, checks)) as box,
    ):
        patched.setenv("DIFYFLEET_STATE_DIR", f"{folder}/state")
        root = shutil.copytree(left_by_a_run, Path(folder) / "llm")
        stack.DECLARED.append(DECLARED)
        verbs.plan([WANTED])
        verbs.verify([WANTED])
        stack.DECLARED.append(now)  # what the roles want may differ without a word in the inventory
        stack.damage(root, changes)
        for change in by_hand:
            change(root)
        before = stack.snapshot(root)
        found = []
        for switch in ("1", "0"):
            patched.setenv(reading_ahead.SWITCH, switch)
            plan, planned = said(verbs.plan([WANTED])), ways()
            verified = said(verbs.verify([WANTED]))
            assert (planned["ahead"] > 0, ways()["ahead"] > 0) == (switch == "1",) * 2
            found.append((plan, verified))
        assert found[0] == found[1]
        assert stack.snapshot(box.host("llm")) == before
