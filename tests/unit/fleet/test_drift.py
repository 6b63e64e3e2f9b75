"""`difyfleet drift` on hosts in folders: found, told apart, dated, corrected where that is allowed, told to others."""

from __future__ import annotations

import json
import stat
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import requests
from prometheus_client.parser import text_string_to_metric_families

from difyfleet.checks import Check
from difyfleet.cli import run
from difyfleet.errors import Locked
from difyfleet.exits import Exit
from difyfleet.facts.files import PathState
from difyfleet.fleet import notify
from difyfleet.fleet.drift import held_back
from difyfleet.fleet.results import CORRECTIVE, INTENTIONAL, OperationResult
from difyfleet.operations import files
from difyfleet.operations.base import Change, operation, shell
from difyfleet.remote import lease
from difyfleet.remote.lease import Holder
from difyfleet.secrets import Secret
from difyfleet.spec.drift import Drift
from difyfleet.spec.models import HostSpec
from tests.unit.fleet.sandbox import Sandbox, role

Drifting = Callable[..., dict[str, Any]]


def converge_dify(spec: HostSpec) -> None:
    files.put("/opt/port", f"{spec.dify.http_port}\n", name="port")
    files.put("/opt/level", f"{spec.dify.log_level}\n", name="log level")


def converge_ollama(spec: HostSpec) -> None:
    files.absent("/opt/model", name="undeclared model")
    files.put("/opt/keep", f"{spec.ollama.keep_alive}\n", name="keep alive")


def check_port(spec: HostSpec) -> Iterator[Check]:
    from pyinfra import host

    state = host.get_fact(PathState, path="/opt/port")
    seen = state.text.strip() if state and state.text else "absent"
    yield Check("port: as declared", seen == str(spec.dify.http_port), seen)


@pytest.fixture
def box(make_sandbox: Callable[..., Sandbox]) -> Sandbox:
    return make_sandbox(role(converge_dify, check_port, name="dify"), role(converge_ollama, name="ollama"))


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    def written(drift: str = "{correct: {dify: auto, ollama: auto}}", port: int = 80) -> Path:
        path = tmp_path / "prod.yml"
        path.write_text(
            f"admin: {{email: ops@example.com}}\nssh: {{user: root}}\nhosts: {{llm: 192.0.2.1}}\n"
            f"dify: {{http_port: {port}}}\ndrift: {drift}\n"
        )
        return path

    return written


@pytest.fixture
def inventory(box: Sandbox, write: Callable[..., Path]) -> Path:
    """Applied once."""
    path = write()
    assert run(["apply", str(path), "--yes"]) == Exit.OK
    return path


@pytest.fixture
def drift(inventory: Path, capsys: pytest.CaptureFixture[str]) -> Drifting:
    """Run drift with --json and return what it said, with its exit code as `exit`."""

    def found(*arguments: str) -> dict[str, Any]:
        capsys.readouterr()
        code = run(["drift", str(inventory), "--json", *arguments])
        said: dict[str, Any] = json.loads(capsys.readouterr().out)
        return {**said, "exit": code}

    return found


def port_of(box: Sandbox) -> Path:
    return box.host("llm") / "opt/port"


def test_nothing_drifts_after_an_apply(drift: Drifting) -> None:
    said = drift()
    assert (said["exit"], said["verb"], said["drift"]) == (Exit.OK, "drift", [])
    assert said["summary"]["changing_commands"] == 0
    assert said["summary"]["checks_passed"] == 1


def test_a_changed_host_is_drift_and_its_checks_run_all_the_same(box: Sandbox, drift: Drifting) -> None:
    port_of(box).write_text("8080\n")
    said = drift()
    (found,) = said["drift"]
    assert said["exit"] == Exit.PENDING
    assert (found["host"], found["role"], found["operation"], found["kind"]) == (
        "llm",
        "dify",
        "port",
        CORRECTIVE,
    )
    assert (found["why"], found["left"]) == (["/opt/port: content differs"], None)
    assert said["summary"]["checks_failed"] == 1
    assert said["summary"]["changing_commands"] == 0
    assert port_of(box).read_text() == "8080\n"


def test_a_changed_inventory_is_intentional(
    box: Sandbox, drift: Drifting, write: Callable[..., Path]
) -> None:
    write(port=81)
    (found,) = drift()["drift"]
    assert (found["operation"], found["kind"]) == ("port", INTENTIONAL)
    assert found["left"] == "the inventory was changed: apply it"


def test_a_plan_tells_them_apart_too(
    box: Sandbox, inventory: Path, write: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    write(port=81)
    (box.host("llm") / "opt/level").write_text("DEBUG\n")
    assert run(["plan", str(inventory)]) == Exit.PENDING
    said = capsys.readouterr().err
    assert "dify | port (the inventory was changed)" in said
    assert "dify | log level (the host was changed)" in said


def test_what_this_controller_never_saw_clean_is_not_known(
    box: Sandbox, write: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    path = write()
    assert run(["drift", str(path), "--json", "--correct", "--yes"]) == Exit.PENDING
    found = json.loads(capsys.readouterr().out)["drift"]
    assert {each["kind"] for each in found} == {None}
    assert not port_of(box).exists()


def test_a_failing_check_without_drift_is_5(
    box: Sandbox, drift: Drifting, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(box.roles[0], "checks", lambda spec: iter([Check("answer: cites", False, "none")]))
    assert drift()["exit"] == Exit.CHECKS_FAILED


def test_a_host_that_cannot_be_reached_is_1(box: Sandbox, drift: Drifting) -> None:
    box.unreachable.add("llm")
    said = drift()
    assert said["exit"] == Exit.ERROR
    assert "timed out" in said["hosts"][0]["error"]


def held_by_ana(monkeypatch: pytest.MonkeyPatch) -> None:
    holder = Holder("ana@desk", "apply prod.yml", "2026-11-24T10:00:02Z", "2026-11-24T10:03:11Z")
    monkeypatch.setattr(lease, "look", lambda door: holder)


def test_work_in_progress_of_another_run_is_no_drift(
    box: Sandbox, drift: Drifting, told: Callable[[], list[dict[str, Any]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    port_of(box).write_text("8080\n")
    with monkeypatch.context() as patch:
        held_by_ana(patch)
        said = drift("--correct", "--yes")
    assert (said["exit"], said["drift"], said["summary"]["checks_failed"]) == (Exit.LOCKED, [], 0)
    assert "is being worked on by ana@desk (apply prod.yml)" in said["hosts"][0]["note"]
    assert told() == []
    assert drift()["drift"][0]["runs"] == 1


def test_a_clean_host_is_clean_whoever_works_on_it(
    box: Sandbox, drift: Drifting, monkeypatch: pytest.MonkeyPatch
) -> None:
    held_by_ana(monkeypatch)
    assert drift()["exit"] == Exit.OK


def test_events_end_with_the_exit_code_and_the_result(
    box: Sandbox, inventory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    port_of(box).write_text("8080\n")
    capsys.readouterr()
    assert run(["drift", str(inventory), "--events"]) == Exit.PENDING
    *_, last, result = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert (last["event"], last["verb"], last["exit"]) == ("run_finished", "drift", Exit.PENDING)
    assert result["drift"][0]["operation"] == "port"


# -- correction ------------------------------------------------------------------------------------------------


def test_correct_takes_back_what_was_changed_on_the_host(box: Sandbox, drift: Drifting) -> None:
    port_of(box).write_text("8080\n")
    said = drift("--correct", "--yes")
    assert (said["exit"], said["drift"]) == (Exit.OK, [])
    assert port_of(box).read_text() == "80\n"
    states = {each["name"]: (each["state"], each["kind"]) for each in said["hosts"][0]["operations"]}
    assert states["port"] == ("changed", CORRECTIVE)
    assert states["log level"] == ("unchanged", None)
    assert said["summary"]["checks_passed"] == 1
    assert drift("--correct", "--yes")["summary"]["changing_commands"] == 0


def test_correct_does_not_roll_out_a_changed_inventory(
    box: Sandbox, drift: Drifting, write: Callable[..., Path]
) -> None:
    write(port=81)
    said = drift("--correct", "--yes")
    assert (said["exit"], said["summary"]["changing_commands"]) == (Exit.PENDING, 0)
    assert port_of(box).read_text() == "80\n"


def test_correct_leaves_roles_that_are_only_reported(
    box: Sandbox, drift: Drifting, write: Callable[..., Path]
) -> None:
    write("{correct: {ollama: auto, dify: report}}")
    port_of(box).write_text("8080\n")
    (box.host("llm") / "opt/keep").write_text("1h\n")
    said = drift("--correct", "--yes")
    (left,) = said["drift"]
    assert (left["role"], left["left"]) == ("dify", "drift.correct does not say dify: auto")
    assert said["exit"] == Exit.PENDING
    assert (box.host("llm") / "opt/keep").read_text() == "30m\n"
    assert port_of(box).read_text() == "8080\n"


def test_correct_never_loses_data_nor_does_what_builds_on_it(box: Sandbox, drift: Drifting) -> None:
    (box.host("llm") / "opt/model").write_text("somebody's own\n")
    (box.host("llm") / "opt/keep").write_text("1h\n")
    said = drift("--correct", "--yes")
    assert [(each["operation"], each["loses_data"], each["left"]) for each in said["drift"]] == [
        ("undeclared model", True, "it would lose data"),
        ("keep alive", False, "comes after 'undeclared model', which is left alone"),
    ]
    assert said["summary"]["changing_commands"] == 0
    assert (box.host("llm") / "opt/model").exists()


@operation
def surprising() -> Iterator[Any]:
    """Its plan sees only the first of two changes."""
    from pyinfra import host

    if host.get_fact(PathState, path="/opt/first") is None:
        yield Change("/opt/first: absent")
        yield shell("touch /opt/first")
        yield Change("/opt/data: in the way", loses_data=True)
        yield shell("rm -f /opt/data")


def test_a_loss_that_no_plan_could_foresee_is_refused(
    make_sandbox: Callable[..., Sandbox], write: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    box = make_sandbox(role(lambda spec: surprising(name="surprising"), name="dify"))
    path = write()
    assert run(["apply", str(path), "--yes"]) == Exit.OK
    (box.host("llm") / "opt/first").unlink()
    (box.host("llm") / "opt/data").write_text("precious\n")
    assert run(["drift", str(path), "--correct", "--yes"]) == Exit.ERROR
    assert "would lose data, so not done: /opt/data: in the way" in capsys.readouterr().err
    assert (box.host("llm") / "opt/data").read_text() == "precious\n"


def test_a_host_that_another_run_works_on_is_reported_and_not_corrected(
    box: Sandbox, drift: Drifting, monkeypatch: pytest.MonkeyPatch
) -> None:
    def held(*_: object) -> None:
        raise Locked("is being worked on by ana@desk", where="llm")

    monkeypatch.setattr("difyfleet.fleet.engine.leases.take_all", held)
    port_of(box).write_text("8080\n")
    said = drift("--correct", "--yes")
    assert said["exit"] == Exit.LOCKED
    assert said["drift"][0]["operation"] == "port"
    assert port_of(box).read_text() == "8080\n"


def test_correct_without_a_terminal_wants_yes(inventory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["drift", str(inventory), "--correct"]) == Exit.USAGE
    assert "add --yes" in capsys.readouterr().err


def op(role: str, kind: str | None, state: str = "would_change", loses: bool = False) -> OperationResult:
    return OperationResult(role, "op", state, kind=kind, loses_data=loses)


@pytest.mark.parametrize(
    ("operation", "left"),
    [
        (op("dify", CORRECTIVE), None),
        (op("docker", CORRECTIVE), "drift.correct does not say docker: auto"),
        (op("dify", CORRECTIVE, loses=True), "it would lose data"),
        (op("dify", INTENTIONAL), "the inventory was changed: apply it"),
        (op("dify", None), "not known whether the host or the inventory was changed: apply it once"),
    ],
)
def test_what_is_held_back(operation: OperationResult, left: str | None) -> None:
    policy = Drift.model_validate({"correct": {"dify": "auto", "ollama": "report"}})
    assert held_back(policy, [operation, op("dify", None, "unchanged")]) == [(operation, left)]


# -- history ---------------------------------------------------------------------------------------------------


def test_since_when(
    box: Sandbox, inventory: Path, drift: Drifting, capsys: pytest.CaptureFixture[str]
) -> None:
    drift()
    port_of(box).write_text("8080\n")
    first = drift()["drift"][0]
    assert first["runs"] == 1
    assert run(["verify", str(inventory)]) == Exit.CHECKS_FAILED
    again = drift()["drift"][0]
    assert (again["since"], again["runs"]) == (first["since"], 2)
    capsys.readouterr()
    run(["drift", str(inventory)])
    assert (
        f"    drifted since {first['since']} (seen by 3 runs); --correct takes it back\n"
        in capsys.readouterr().err
    )
    assert run(["history", str(inventory), "--json"]) == Exit.OK
    runs = json.loads(capsys.readouterr().out)["runs"]
    assert [(each["verb"], each["exit"]) for each in runs] == [
        ("apply", 0), ("drift", 0), ("drift", 2), ("verify", 5), ("drift", 2), ("drift", 2)
    ]  # fmt: skip
    assert run(["history", str(inventory), "--last", "1"]) == Exit.OK
    shown = capsys.readouterr().out
    assert "llm dify: drift (corrective)" in shown
    assert "apply" not in shown


def test_a_history_that_cannot_be_written_does_not_fail_the_run(
    inventory: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (file,) = (tmp_path / "state/environments").glob("prod-*/history.jsonl")
    file.unlink()
    file.mkdir()
    assert run(["verify", str(inventory)]) == Exit.OK
    assert "this run is not in the history" in capsys.readouterr().err


# -- reports ---------------------------------------------------------------------------------------------------


def test_metrics_are_what_prometheus_reads(box: Sandbox, tmp_path: Path, drift: Drifting) -> None:
    path = tmp_path / "difyfleet.prom"
    drift("--metrics", str(path))
    clean = samples(path)[("difyfleet_last_clean_timestamp_seconds", ("prod",))]
    port_of(box).write_text("8080\n")
    drift("--metrics", str(path))
    found = samples(path)
    assert found[("difyfleet_drift_operations", ("prod", "llm", "dify", CORRECTIVE))] == 1
    assert found[("difyfleet_drift_operations", ("prod", "llm", "dify", INTENTIONAL))] == 0
    assert found[("difyfleet_drift_operations", ("prod", "llm", "ollama", CORRECTIVE))] == 0
    assert found[("difyfleet_checks_failed", ("prod", "llm", "dify"))] == 1
    assert found[("difyfleet_host_up", ("prod", "llm"))] == 1
    assert found[("difyfleet_run_exit_code", ("prod",))] == 2
    assert found[("difyfleet_last_clean_timestamp_seconds", ("prod",))] == clean > 1.7e9
    assert found[("difyfleet_last_run_timestamp_seconds", ("prod",))] >= clean
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    drift("--metrics", str(path), "--correct", "--yes")
    assert samples(path)[("difyfleet_corrected_operations", ("prod", "llm", "dify"))] == 1
    box.unreachable.add("llm")
    drift("--metrics", str(path))
    assert samples(path)[("difyfleet_host_up", ("prod", "llm"))] == 0
    assert [each for each in tmp_path.iterdir() if each.name.startswith("difyfleet.prom.")] == []


def samples(path: Path) -> dict[tuple[str, tuple[str, ...]], float]:
    families = list(text_string_to_metric_families(path.read_text()))
    assert all(family.type == "gauge" and family.documentation for family in families)
    return {
        (one.name, tuple(one.labels.values())): one.value for family in families for one in family.samples
    }


def test_metrics_of_the_inventory(
    box: Sandbox, tmp_path: Path, drift: Drifting, write: Callable[..., Path]
) -> None:
    write("{metrics: llm.prom}")
    drift()
    assert samples(tmp_path / "llm.prom")[("difyfleet_run_exit_code", ("prod",))] == 0


def test_junit_has_a_failure_for_each_drifted_operation(
    box: Sandbox, tmp_path: Path, drift: Drifting
) -> None:
    port_of(box).write_text("8080\n")
    path = tmp_path / "drift.xml"
    drift("--junit", str(path))
    (suite,) = ElementTree.fromstring(path.read_text().split("\n", 1)[1]).findall("testsuite")
    assert (suite.get("tests"), suite.get("failures")) == ("5", "2")
    (failure,) = suite.findall("testcase[@name='port']/failure")
    assert (failure.get("message"), failure.get("type")) == ("/opt/port: content differs", CORRECTIVE)
    assert "-8080" in str(failure.text)


def test_junit_stays_xml_whatever_somebody_wrote_into_a_file(
    box: Sandbox, tmp_path: Path, drift: Drifting
) -> None:
    port_of(box).write_text("\x1b[31m <80> & \x00 \ufffe ü\n")
    path = tmp_path / "drift.xml"
    drift("--junit", str(path))
    failure = ElementTree.fromstring(path.read_text().split("\n", 1)[1]).find(
        ".//testcase[@name='port']/failure"
    )
    assert failure is not None
    assert "-\ufffd[31m <80> & \ufffd \ufffd ü" in str(failure.text)


def test_a_report_that_cannot_be_written_is_an_error(
    drift: Drifting, inventory: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "folder.prom").mkdir()
    (tmp_path / "file").write_text("")
    assert run(["drift", str(inventory), "--metrics", str(tmp_path / "file" / "x.prom")]) == Exit.ERROR
    assert "x.prom: cannot be written" in capsys.readouterr().err


# -- notifications ---------------------------------------------------------------------------------------------


@pytest.fixture
def told(tmp_path: Path, write: Callable[..., Path], inventory: Path) -> Callable[[], list[dict[str, Any]]]:
    """What a notification command has received so far."""
    script = tmp_path / "tell.py"
    script.write_text("import sys\nopen('told.jsonl', 'a').write(sys.stdin.read() + '\\n')\n")
    write(f"{{correct: {{dify: auto}}, notify: {{command: [{sys.executable}, {script}]}}}}")

    def received() -> list[dict[str, Any]]:
        path = tmp_path / "told.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    return received


def test_changes_of_state_are_told_and_nothing_else(
    box: Sandbox, drift: Drifting, told: Callable[[], list[dict[str, Any]]]
) -> None:
    drift()
    assert told() == []
    port_of(box).write_text("8080\n")
    drift()
    drift()
    assert len(told()) == 1
    assert told()[0]["state"] == "drift"
    assert told()[0]["changed"] == [{"host": "llm", "role": "dify", "from": "clean", "to": "drift"}]
    assert told()[0]["text"] == "difyfleet prod: drift; llm dify: clean -> drift"
    assert told()[0]["drifted"][0]["operation"] == "port"
    drift("--correct", "--yes")
    assert told()[-1]["text"] == "difyfleet prod: clean; llm dify: drift -> changed"
    drift()
    assert len(told()) == 2
    box.unreachable.add("llm")
    drift()
    drift()
    assert len(told()) == 3
    assert told()[-1]["state"] == "error"
    assert "timed out" in told()[-1]["errors"][0]["error"]


def test_always_tells_each_run(
    drift: Drifting, told: Callable[[], list[dict[str, Any]]], write: Callable[..., Path], tmp_path: Path
) -> None:
    write(f"{{notify: {{command: [{sys.executable}, {tmp_path / 'tell.py'}], always: true}}}}")
    drift()
    drift()
    assert [each["state"] for each in told()] == ["clean", "clean"]


def test_a_notification_that_fails_is_said_and_changes_nothing(
    box: Sandbox, inventory: Path, write: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    port_of(box).write_text("8080\n")
    for command, said in (
        ("[sh, -c, 'echo no route >&2; exit 3']", "command sh was not told: exit code 3: no route"),
        ("[/no/such]", "/no/such"),
    ):
        write(f"{{notify: {{command: {command}, always: true}}}}")
        assert run(["drift", str(inventory)]) == Exit.PENDING
        assert said in capsys.readouterr().err


class _Answer:
    def __init__(self, status: int) -> None:
        self.status_code, self.ok = status, status < 400


def test_a_webhook_is_tried_twice_and_its_token_never_shown(
    box: Sandbox,
    inventory: Path,
    write: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    calls: list[tuple[str, dict[str, Any]]] = []
    answers: list[Any] = [
        _Answer(500),
        requests.ConnectionError("https://chat.example/hook?key=token-canary-9"),
        _Answer(503),
        _Answer(204),
    ]

    def post(url: str, **arguments: Any) -> Any:
        calls.append((url, arguments))
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(requests, "post", post)
    monkeypatch.setattr(notify, "_PAUSE", 0)
    monkeypatch.setenv("HOOK", "https://chat.example/hook?key=token-canary-9")
    port_of(box).write_text("8080\n")
    write("{notify: {webhook_from: {env: HOOK}, always: true}}")
    assert run(["drift", str(inventory)]) == Exit.PENDING
    said = capsys.readouterr()
    assert "webhook https://chat.example/... was not told: ConnectionError, twice" in said.err
    assert "token-canary-9" not in said.err + said.out
    assert run(["drift", str(inventory)]) == Exit.PENDING
    assert "was not told" not in capsys.readouterr().err
    url, arguments = calls[-1]
    assert url == "https://chat.example/hook?key=token-canary-9"
    assert arguments["timeout"] == 10
    assert json.loads(arguments["data"])["event"] == "drift"


def test_a_webhook_whose_url_is_not_given_is_found_before_any_host_is_asked(
    box: Sandbox,
    inventory: Path,
    write: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.delenv("NO_HOOK", raising=False)
    box.unreachable.add("llm")
    write("{notify: {webhook_from: {env: NO_HOOK}}}")
    assert run(["drift", str(inventory)]) == Exit.USAGE
    assert "NO_HOOK" in capsys.readouterr().err


def test_notify_on_the_command_line_takes_the_place_of_the_inventorys(
    box: Sandbox, drift: Drifting, told: Callable[[], list[dict[str, Any]]], tmp_path: Path
) -> None:
    port_of(box).write_text("8080\n")
    drift("--notify", "")
    assert told() == []
    port_of(box).write_text("80\n")
    drift("--notify", f"sh -c 'cat > {tmp_path}/other.json'")
    assert json.loads((tmp_path / "other.json").read_text())["state"] == "clean"
    assert told() == []


def test_no_secret_is_told(box: Sandbox, drift: Drifting, told: Callable[[], list[dict[str, Any]]]) -> None:
    Secret("canary-notify-1")
    port_of(box).write_text("canary-notify-1\n")
    box.unreachable.add("llm")
    drift()
    assert "canary-notify-1" not in json.dumps(told())
