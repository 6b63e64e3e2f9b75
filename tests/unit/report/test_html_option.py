"""--html FILE of plan, apply, verify and drift."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from difyfleet.cli import run
from difyfleet.exits import Exit
from difyfleet.fleet import drift, verbs
from difyfleet.fleet.results import RunResult
from tests.unit.report import fleets
from tests.unit.report.dom import parse


@pytest.fixture
def inventory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DIFYFLEET_STATE_DIR", str(tmp_path / "state"))
    path = tmp_path / "prod.yml"
    path.write_text("admin: {email: ops@example.com}\nhosts: {llm-001: 192.0.2.1}\n")
    return path


@pytest.mark.parametrize(
    ("verb", "more", "code"),
    [("plan", [], Exit.PENDING), ("apply", ["--yes"], Exit.PENDING), ("verify", [], Exit.CHECKS_FAILED)],
)
def test_the_page_is_written_whole_and_readable(
    verb: str, more: list[str], code: Exit, inventory: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    host = fleets.host("llm-001", verb)
    if verb == "verify":
        fleets.fail(host, "docker", "service: running", "dead", "difyfleet apply --role docker")
    else:
        fleets.differ(host, "dify", ".env", "UPLOAD_FILE_SIZE_LIMIT: 15, wanted 50")
    result = RunResult(verb, [host])
    monkeypatch.setattr(verbs, verb, lambda *_, **__: result)
    target = inventory.parent / "pages" / "today.html"
    assert run([verb, str(inventory), "--html", str(target), *more]) == code
    tree = parse(target.read_text())
    assert f"difyfleet {verb}" in tree.text
    assert str(inventory) in tree.text
    assert target.stat().st_mode & 0o777 == 0o644
    assert [path.name for path in target.parent.iterdir()] == ["today.html"], "nothing is left beside it"
    if verb == "verify":
        assert f"difyfleet apply {inventory} --role docker" in tree.text, "hints are typeable"


def test_a_page_that_cannot_be_written_is_an_error_after_the_result(
    inventory: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(verbs, "plan", lambda *_, **__: RunResult("plan", [fleets.host("llm-001", "plan")]))
    (inventory.parent / "file").write_text("")
    target = inventory.parent / "file" / "page.html"
    assert run(["plan", str(inventory), "--html", str(target)]) == Exit.ERROR
    said = capsys.readouterr().err
    assert "plan: nothing to change" in said
    assert f"{target}: cannot be written: " in said
    assert "next: name another FILE" in said


def test_drift_writes_the_page_that_the_inventory_names_with_the_history(
    inventory: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (inventory.parent / "pages").mkdir()
    inventory.write_text(f"{inventory.read_text()}drift: {{html: pages/drift.html}}\n")
    moments = iter(["2026-11-23T04:00:00Z", "2026-11-23T10:00:00Z", "2026-11-24T10:00:00Z"])
    monkeypatch.setattr("difyfleet.fleet.history.now", lambda: next(moments))
    for _ in range(3):
        monkeypatch.setattr(drift, "look", lambda *_, **__: fleets.fleet(1))
        assert run(["drift", str(inventory)]) == Exit.PENDING
    tree = parse((inventory.parent / "pages" / "drift.html").read_text())
    assert "The last 3 runs, 2026-11-23 04:00 to 2026-11-24 10:00 UTC" in tree.text
    said = [" ".join(each.text.split()) for each in tree.all("p", "on")]
    assert said == ["since 2026-11-23 04:00, 3 runs"] * 2
    (strip,) = [each for each in tree.all("svg") if "aria-label" in each.attributes]
    assert strip.attributes["aria-label"] == "llm-001, 3 runs: 3 check failed"
