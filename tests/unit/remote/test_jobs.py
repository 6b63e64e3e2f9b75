"""Jobs of the host: exact commands, and systemd's answers read right."""

from __future__ import annotations

import subprocess
from typing import Any

import pytest

from difyfleet.errors import HostError
from difyfleet.remote import jobs
from difyfleet.remote.jobs import Job, JobLook, JobState, run_to_end

JOB = Job("model", "qwen2.5:7b", ("docker", "exec", "ollama", "ollama", "pull", "qwen2.5:7b"), 14400)


def test_unit_names_hold_only_what_systemd_takes_and_stay_apart() -> None:
    assert JOB.unit == "difyfleet-model-qwen2.5:7b.service"
    slash = Job("model", "hf.co/a/b:q4", (), 1).unit
    assert slash.startswith("difyfleet-model-hf.co-a-b:q4-")
    assert slash != Job("model", "hf.co/a-b:q4", (), 1).unit


def test_start_command() -> None:
    assert JOB.start_command("rm -f /a") == (
        "case $(systemctl show -p SubState --value difyfleet-model-qwen2.5:7b.service) in running|start*) exit 0;; esac; "
        "systemctl stop difyfleet-model-qwen2.5:7b.service 2>/dev/null; "
        "systemctl reset-failed difyfleet-model-qwen2.5:7b.service 2>/dev/null; rm -f /a; mkdir -p -m 0755 /run/difyfleet; "
        "systemd-run --quiet --unit=difyfleet-model-qwen2.5:7b.service --remain-after-exit "
        "'--description=difyfleet: model qwen2.5:7b' sh -c "
        '\'log=$1; limit=$2; shift 2; exec timeout "$limit" "$@" >"$log" 2>&1\' job '
        "/run/difyfleet/difyfleet-model-qwen2.5:7b.service.log 14400 docker exec ollama ollama pull qwen2.5:7b"
    )


def test_start_command_is_valid_shell() -> None:
    subprocess.run(["sh", "-n", "-c", JOB.start_command("rm -f '/with blank'")], check=True)


@pytest.mark.parametrize(
    ("said", "state"),
    [
        ("Result=success\nLoadState=not-found\nSubState=dead\n---", "absent"),
        ("Result=success\nLoadState=loaded\nSubState=running\n---\nx", "running"),
        ("Result=success\nLoadState=loaded\nSubState=start\n---", "running"),
        ("Result=success\nLoadState=loaded\nSubState=exited\n---", "done"),
        ("Result=exit-code\nLoadState=loaded\nSubState=failed\n---", "failed"),
        ("Result=success\nLoadState=loaded\nSubState=dead\n---", "absent"),
    ],
)
def test_look(said: str, state: str) -> None:
    assert JobLook().process(said.splitlines()).state == state


def test_look_keeps_the_words() -> None:
    said = "Result=exit-code\nLoadState=loaded\nSubState=failed\n---\npulling manifest\nError: no space left"
    assert JobLook().process(said.splitlines()) == JobState(
        "failed", "exit-code", "pulling manifest\nError: no space left"
    )


class Host:
    """A host whose job goes through the states given."""

    name = "fake"

    def __init__(self, *states: JobState) -> None:
        self.states = list(states)
        self.commands: list[str] = []
        self.data: dict[str, Any] = {"_sudo": True}

    def get_fact(self, fact: type, **_: Any) -> JobState:
        return self.states.pop(0)

    def run_shell_command(self, command: Any, **arguments: Any) -> tuple[bool, Any]:
        assert arguments == {"_sudo": True}
        self.commands.append(str(command))
        return True, None


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "POLL_SECONDS", 0)


def run(host: Host) -> None:
    run_to_end(
        host,
        JOB,
        before="",
        describe=lambda tail: tail,
        explain=lambda tail, result: (f"{result}: {tail}", "do it"),
    )


def test_run_waits_and_forgets() -> None:
    host = Host(
        JobState("running", "success", "10%"), JobState("running", "success", "90%"), JobState("done")
    )
    run(host)
    assert host.commands == [JOB.start_command(), JOB.forget_command()]


def test_failed_job_is_explained_and_forgotten() -> None:
    host = Host(JobState("running"), JobState("failed", "exit-code", "Error: x"))
    with pytest.raises(HostError, match="exit-code: Error: x") as caught:
        run(host)
    assert caught.value.hint == "do it"
    assert host.commands[-1] == JOB.forget_command()


def test_vanished_job_is_an_error() -> None:
    with pytest.raises(HostError, match="is gone"):
        run(Host(JobState("running"), JobState("absent")))
