"""The stream of --events: every line fits the published schema, tells the truth, and holds no secret."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from difyfleet.checks import Check
from difyfleet.cli import run
from difyfleet.exits import Exit
from difyfleet.fleet import events
from difyfleet.operations import files
from difyfleet.progress import report
from difyfleet.report.stream import JsonLines
from difyfleet.secrets import Secret
from difyfleet.spec.models import HostSpec
from tests.unit.fleet.sandbox import Sandbox, role

ROOT = Path(__file__).resolve().parents[3]
CANARY = "canary-5ecret-88112"
EVENT: TypeAdapter[Any] = TypeAdapter(events.Event)


def converge(spec: HostSpec) -> None:
    Secret(CANARY)
    report(spec.name, f"busy with {CANARY}")
    files.put("/opt/good", f"PASSWORD={CANARY}\n", name="good")
    files.directory("/opt/good", name="bad")  # a file by then
    files.put("/opt/later", "x", name="later")


def checks(spec: HostSpec) -> Iterator[Check]:
    yield Check("thing: stands", True, "seen")
    yield Check("thing: shines", False, f"token {CANARY}", "polish it", warn_only=True)


@pytest.fixture
def inventory(tmp_path: Path) -> str:
    path = tmp_path / "prod.yml"
    path.write_text(
        "admin: {email: ops@example.com}\nssh: {user: root}\nhosts: {llm: 192.0.2.1, gone: 192.0.2.2}\n"
    )
    return str(path)


@pytest.fixture
def stream(
    make_sandbox: Callable[..., Sandbox], inventory: str, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, list[dict[str, Any]], dict[str, Any]]]:
    box = make_sandbox(role(converge, checks))
    box.unreachable.add("gone")

    def of(verb: str, *options: str) -> tuple[int, list[dict[str, Any]], dict[str, Any]]:
        """Exit code, events, summary document."""
        capsys.readouterr()
        code = run([verb, inventory, "--events", *options])
        text = capsys.readouterr().out
        assert CANARY not in text
        lines = [json.loads(line) for line in text.splitlines()]
        return code, lines[:-1], lines[-1]

    return of


def kinds(found: list[dict[str, Any]], host: str) -> list[str]:
    return [each["event"] for each in found if each.get("host") == host and each["event"] != "progress"]


def test_an_apply_event_by_event(stream: Any) -> None:
    code, found, summary = stream("apply", "--yes")
    assert kinds(found, "llm") == [
        "host_connected",
        "operation_started",
        "operation_finished",
        "operation_started",
        "operation_finished",
        "operation_finished",
    ]
    done = {each["name"]: each for each in found if each["event"] == "operation_finished"}
    assert {name: each["state"] for name, each in done.items()} == {
        "good": "changed",
        "bad": "failed",
        "later": "skipped",
    }
    assert "/opt/good is a file" in done["bad"]["error"]
    assert kinds(found, "gone") == ["host_failed"]
    assert found[-1]["event"] == "run_finished"
    assert (found[-1]["exit"], found[-1]["verb"]) == (code, "apply") == (Exit.ERROR, "apply")
    assert summary["verb"] == "apply"
    assert [host["name"] for host in summary["hosts"]] == ["llm", "gone"]


def test_waves_of_a_rollout_that_halts(stream: Any) -> None:
    code, found, summary = stream("rollout", "--yes")
    waves = [each for each in found if each["event"].startswith("wave_")]
    assert [(each["event"], each["wave"]) for each in waves] == [("wave_started", 1), ("wave_finished", 1)]
    assert waves[1]["done"] == []
    assert waves[1]["halted"]
    assert found[-1]["exit"] == code == Exit.HALTED
    assert summary["verb"] == "rollout"


def test_every_line_fits_the_schema(stream: Any) -> None:
    seen = set()
    for verb, *options in (("plan",), ("apply", "--yes"), ("verify",), ("rollout", "--yes")):
        _, found, summary = stream(verb, *options)
        assert summary["version"] == 1
        for line in found:
            EVENT.validate_python(line)
            fits(line)
            seen.add(line["event"])
    assert seen == {kind.model_fields["event"].default for kind in events.KINDS}


def fits(line: dict[str, Any]) -> None:
    """The line has exactly the keys of its definition in the committed schema, and every value its type."""
    schema = json.loads((ROOT / "docs" / "reference" / "events.schema.json").read_text())
    definition = schema["$defs"][schema["discriminator"]["mapping"][line["event"]].rsplit("/", 1)[1]]
    assert definition["properties"].keys() == line.keys()
    types = {
        "string": str,
        "array": list,
        "number": (int, float),
        "integer": int,
        "boolean": bool,
        "null": type(None),
    }
    for key, value in line.items():
        rule = definition["properties"][key]
        accepted = [each["type"] for each in rule.get("anyOf", [rule]) if "type" in each]
        assert any(isinstance(value, types[name]) for name in accepted), (key, value)
        assert value in rule.get("enum", [value])
        assert value == rule.get("const", value)


def test_the_schema_refuses_what_is_no_event() -> None:
    for bad in (
        {"event": "host_connected"},
        {"event": "no such"},
        {"event": "host_connected", "host": "x", "more": 1},
    ):
        with pytest.raises(ValidationError):
            EVENT.validate_python(bad)


def test_the_committed_schema_is_current() -> None:
    committed = (ROOT / "docs" / "reference" / "events.schema.json").read_text()
    assert committed == events.schema_text(), "run: python -m difyfleet.fleet.events"


def test_every_event_and_key_is_described() -> None:
    page = (ROOT / "docs" / "reference" / "events.md").read_text()
    for kind in events.KINDS:
        name = kind.model_fields["event"].default
        row = next((line for line in page.splitlines() if line.startswith(f"| `{name}` |")), "")
        for key in set(kind.model_fields) - {"version", "event", "at"}:
            assert f"`{key}`" in row, f"{name}: {key}"


def test_a_reader_that_went_away_does_not_end_the_run() -> None:
    class Closed(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    JsonLines(Closed())(events.HostConnected(host="llm"))


def test_nobody_listens_after_the_run(stream: Any) -> None:
    stream("verify")
    assert events._listeners == []
