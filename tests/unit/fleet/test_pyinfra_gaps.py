"""What pyinfra 3.10 does not give and users ask for (docs/pyinfra-gaps.md), as this project answers it, through the command line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from difyfleet.cli import run
from difyfleet.exits import Exit
from difyfleet.operations import files
from difyfleet.secrets import Secret
from difyfleet.spec.models import HostSpec
from tests.unit.fleet.sandbox import Sandbox, role

CANARY = "hunter2-canary-4711"


@pytest.fixture
def inventory(tmp_path: Path) -> str:
    path = tmp_path / "prod.yml"
    path.write_text(
        "admin: {email: ops@example.com}\nssh: {user: root}\n"
        "hosts: {one: 192.0.2.1, two: {address: 192.0.2.2, dify: {http_port: 8088}}}\n"
    )
    return str(path)


def converge(spec: HostSpec) -> None:
    files.put("/opt/port", f"{spec.dify.http_port}\n", name="port")
    if spec.name == "two":
        files.put("/opt/only-two", "x", name="only on two")
    files.put("/opt/name", spec.name, name=f"name {spec.name}")


def test_the_exit_code_tells_pending_changes_from_none(
    make_sandbox: Callable[..., Sandbox], inventory: str
) -> None:
    make_sandbox(role(converge))
    assert run(["plan", inventory]) == Exit.PENDING == 2
    assert run(["apply", inventory, "--yes"]) == Exit.OK == 0
    assert run(["plan", inventory]) == Exit.OK


def test_each_host_has_its_own_plan(
    make_sandbox: Callable[..., Sandbox], inventory: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """pyinfra merges operations of several hosts by name and place; names and reasons of one host must not show at another."""
    box = make_sandbox(role(converge))
    (box.host("one") / "opt/port").write_text("81\n")
    (box.host("one") / "opt/port").chmod(0o644)
    assert run(["plan", inventory, "--json"]) == Exit.PENDING
    planned = {host["name"]: host["operations"] for host in json.loads(capsys.readouterr().out)["hosts"]}
    assert [each["name"] for each in planned["one"]] == ["port", "name one"]
    assert [each["name"] for each in planned["two"]] == ["port", "only on two", "name two"]
    assert planned["one"][0]["why"] == ["/opt/port: content differs"]
    assert planned["two"][0]["why"] == ["/opt/port: absent"]
    assert "+80" in planned["one"][0]["diff"]
    assert "+8088" in planned["two"][0]["diff"]


@pytest.mark.parametrize("known", [True, False], ids=["by value", "by the name of its key"])
def test_a_diff_of_an_env_file_shows_keys_and_no_secret(
    known: bool,
    make_sandbox: Callable[..., Sandbox],
    inventory: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    value = CANARY if known else "never-made-a-Secret-0815"

    def env(spec: HostSpec) -> None:
        text = f"LOG_LEVEL=INFO\nSECRET_KEY={Secret(value).reveal() if known else value}\n"
        files.put("/opt/.env", text, mode="0600", name=".env")

    box = make_sandbox(role(env))
    for host in ("one", "two"):
        (box.host(host) / "opt/.env").write_text(f"LOG_LEVEL=DEBUG\nSECRET_KEY=old-{value}\n")
    saved = tmp_path / "next.plan"
    shown = ""
    for words in (["-v", "--out", str(saved)], ["--json"], ["--events"]):
        assert run(["plan", inventory, *words]) == Exit.PENDING
        out, err = capsys.readouterr()
        shown += out + err
    shown += saved.read_text()
    journals = list((tmp_path / "state" / "journal").glob("*.jsonl"))
    assert len(journals) == 3
    shown += "".join(path.read_text() for path in journals)
    assert value not in shown
    assert "+LOG_LEVEL=INFO" in shown
    assert "SECRET_KEY=********" in shown
