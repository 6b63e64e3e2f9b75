"""The section drift: what it takes, and where it may stand."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.spec.conftest import Errors, Load
from tests.unit.spec.test_generated import accepted


def test_left_out_it_only_reports(host_with: Load) -> None:
    drift = host_with("").drift
    assert not any(drift.corrects(role) for role in ("docker", "knowledge"))
    assert (drift.notify.command, drift.notify.webhook, drift.notify.always, drift.metrics) == (
        None,
        None,
        False,
        None,
    )


def test_a_policy_per_role(host_with: Load) -> None:
    drift = host_with("drift: {correct: {docker: auto, knowledge: report}}").drift
    assert [drift.corrects(role) for role in ("docker", "knowledge", "dify")] == [True, False, False]


def test_metrics_need_not_be_there_yet_and_are_relative_to_the_inventory(host_with: Load) -> None:
    assert host_with("drift: {metrics: llm.prom}").drift.metrics == Path.cwd() / "llm.prom"


GOOD = [
    "drift:",
    "drift: {notify: {webhook: 'https://chat.example/hook', always: true}}",
    "drift: {notify: {command: [./tell.sh], webhook_from: {env: HOOK}}}",
]


@pytest.mark.parametrize("text", GOOD)
def test_the_loader_and_the_schema_accept_it(host_with: Load, text: str) -> None:
    assert host_with(text).hosts
    assert accepted(f"hosts: {{a: }}\n{text}\n")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "drift: {correct: {docker: yes please}}",
            "inv.yml:3:27: drift.correct.docker: should be 'auto' or 'report', not 'yes please'",
        ),
        ("drift: {correct: {dokcer: auto}}", "inv.yml:3:19: drift.correct.dokcer: the key should be 'docker', "),
        ("drift: {notify: {command: []}}", "inv.yml:3:27: drift.notify.command: "),
        ("drift: {notify: {command: ./tell.sh}}", "inv.yml:3:27: drift.notify.command: should be a list, not './tell.sh'"),
        ("drift: {notify: {webhook: chat.example}}", "inv.yml:3:27: drift.notify.webhook: "),
        ("drift: {notify: {webhok: x}}", "inv.yml:3:18: drift.notify.webhok: unknown key; did you mean webhook?"),
        ("drift: {metrics: no/such/folder/x.prom}", "inv.yml:3:18: drift.metrics: the folder DIR/no/such/folder does not exist"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_with_its_place(section_errors: Errors, text: str, expected: str) -> None:
    (error,) = section_errors(text)
    assert error.startswith(expected)


def test_no_host_has_its_own(errors: Errors) -> None:
    assert errors("admin: {email: a@b.cd}\nhosts: {a: {drift: {correct: {docker: auto}}}}\n") == [
        "inv.yml:2:13: hosts.a.drift: concerns all hosts: move drift to the top level of the file"
    ]
