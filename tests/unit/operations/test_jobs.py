"""operations.jobs and its fact: what a cut run left of its long work."""

from __future__ import annotations

from difyfleet.facts.jobs import EndedJobs
from difyfleet.operations import jobs
from difyfleet.remote.jobs import Job
from tests.unit.fakehost import fact, fake_host, run_steps

JOB = Job("model", "llama3.2:latest", ("docker", "exec", "ollama", "ollama", "pull", "llama3.2"), 60)

# systemctl list-units --all --plain --no-legend 'difyfleet-model-*.service', on a lab host after cut runs
LISTED = """\
difyfleet-model-llama3.2:latest.service         loaded active exited  difyfleet: model llama3.2:latest
difyfleet-model-nomic-embed-text:latest.service loaded active running difyfleet: model nomic-embed-text:latest
difyfleet-model-qwen2.5:7b.service              loaded failed failed  difyfleet: model qwen2.5:7b
"""


def test_what_still_runs_is_not_listed() -> None:
    found = EndedJobs().process(LISTED.splitlines())
    assert found == ("difyfleet-model-llama3.2:latest.service", "difyfleet-model-qwen2.5:7b.service")
    assert EndedJobs().process([]) == ()


def test_ended_units_are_forgotten_with_their_logs() -> None:
    with fake_host({fact(EndedJobs, kind="model"): (JOB.unit,)}):
        changes, commands = run_steps(jobs.forgotten, "model")
    assert [change.why for change in changes] == [f"{JOB.unit}: ended, left by a run that was cut"]
    assert commands == [JOB.forget_command()]


def test_nothing_ended_is_nothing_to_do() -> None:
    with fake_host({fact(EndedJobs, kind="model"): ()}):
        assert run_steps(jobs.forgotten, "model") == ([], [])
