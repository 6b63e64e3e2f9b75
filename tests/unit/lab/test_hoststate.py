"""The judge of the crash matrix: equal states are equal, and nothing that differs is overlooked."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from tests.lab.hoststate import differences, residue

STATE: dict[str, Any] = {
    "files": {"/opt/dify/.env": ["file", "0600", "0:0", "A=1\nB=<secret x>"], "/etc/docker": ["folder", "0755", "0:0", ""]},
    "docker": {
        "containers": {"ollama": {"image": "sha256:aa", "restart policy": "always", "networks": ["difyfleet"]}},
        "volumes": ["data"],
    },
    "database": {"rows": {"apps": 1, "accounts": 1}, "residue": {"upload_files": 8}},
    "temporary files": [],
    "dify": {"documents": ["manuals: a.txt: completed, on"], "keys": ["helper: 1"]},
}  # fmt: skip


def changed(edit: Callable[[Any], Any]) -> list[str]:
    other = copy.deepcopy(STATE)
    edit(other)
    return differences(STATE, other)


def test_equal_states_have_no_differences() -> None:
    assert differences(STATE, copy.deepcopy(STATE)) == []


CASES: dict[str, tuple[Callable[[Any], Any], str]] = {
    "mode": (
        lambda s: s["files"].update({"/opt/dify/.env": ["file", "0644", "0:0", "A=1\nB=<secret x>"]}),
        "files: /opt/dify/.env: lacks ['0600'], has ['0644']",
    ),
    "content": (
        lambda s: s["files"].update({"/opt/dify/.env": ["file", "0600", "0:0", "A=2\nB=<secret x>"]}),
        "files: /opt/dify/.env: lacks ['A=1'], has ['A=2']",
    ),
    "file gone": (lambda s: s["files"].pop("/etc/docker"), "files: /etc/docker: missing"),
    "file left over": (
        lambda s: s["files"].update({"/etc/x.difyfleet-new": ["file", "0600", "0:0", ""]}),
        "files: /etc/x.difyfleet-new: surplus, ['file', '0600', '0:0', '']",
    ),
    "temporary": (
        lambda s: s["temporary files"].append("/etc/x.difyfleet-new"),
        "temporary files: ['/etc/x.difyfleet-new'], wanted []",
    ),
    "restart policy": (
        lambda s: s["docker"]["containers"]["ollama"].update({"restart policy": "no"}),
        "docker: containers: ollama: restart policy: no, wanted always",
    ),
    "second container": (
        lambda s: s["docker"]["containers"].update(ollama2={}),
        "docker: containers: ollama2: surplus, {}",
    ),
    "second app": (
        lambda s: s["database"]["rows"].update(apps=2),
        "database: rows: apps: 2, wanted 1",
    ),
    "document twice": (
        lambda s: s["dify"]["documents"].append("manuals: a.txt: completed, on"),
        "dify: documents: lacks [], has ['manuals: a.txt: completed, on', 'manuals: a.txt: completed, on']",
    ),
    "second key": (
        lambda s: s["dify"].update(keys=["helper: 2"]),
        "dify: keys: ['helper: 2'], wanted ['helper: 1']",
    ),
    "volume twice": (
        lambda s: s["docker"]["volumes"].append("data"),
        "docker: volumes: lacks [], has ['data', 'data']",
    ),
}


@pytest.mark.parametrize(("edit", "said"), CASES.values(), ids=CASES)
def test_what_differs_is_named(edit: Callable[[Any], Any], said: str) -> None:
    assert changed(edit) == [said]


def test_order_counts_where_order_was_not_taken_away() -> None:
    assert differences({"a": ["x", "y"]}, {"a": ["y", "x"]}) == ["a: the same lines in another order"]


def test_residue_is_told_but_no_difference() -> None:
    assert changed(lambda s: s["database"]["residue"].update(upload_files=40)) == []
    assert residue(STATE) == {"upload_files": 8}
