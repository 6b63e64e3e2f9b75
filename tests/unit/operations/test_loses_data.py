"""Which changes would lose data: every one that removes what exists only on the host, and no other."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from difyfleet.clients.dify import Document
from difyfleet.content.documents import There, plan_documents
from difyfleet.content.state import KnownDocument, KnownKnowledge
from difyfleet.facts.engine import InstalledPackages
from difyfleet.facts.files import FileState, PathState
from difyfleet.facts.fitness import CONFLICTING
from difyfleet.facts.secrets import HostSecrets, KeptSecret
from difyfleet.operations import files, rpm, secrets
from difyfleet.secrets import Secret
from difyfleet.spec.content import Knowledge
from difyfleet.spec.document_files import sha256
from tests.unit.fakehost import fact, fake_host, run_steps

ROOT = Path(__file__).resolve().parents[3]


def lost(operation: Any, *args: Any, facts: dict[Any, Any], **kwargs: Any) -> list[tuple[str, bool]]:
    with fake_host(facts):
        changes, _ = run_steps(operation, *args, **kwargs)
    return [(change.why, change.loses_data) for change in changes]


KEPT = fact(HostSecrets)


@pytest.mark.parametrize(
    ("there", "loses"),
    [
        ({}, False),  # absent: written anew; data made with it guards it (see secrets.keep)
        ({"key": KeptSecret(Secret("another value"), "0600", "root:root")}, True),
        ({"key": KeptSecret(Secret("the given value"), "0644", "root:root")}, False),
    ],
    ids=["absent", "another value", "mode"],
)
def test_secrets(there: dict[str, KeptSecret], loses: bool) -> None:
    found = lost(secrets.keep, {"key": Secret("the given value")}, facts={KEPT: there})
    assert [each for _, each in found] == [loses]


def test_a_file_that_should_not_be_there() -> None:
    state = FileState("file", "0600", "root", "root", 4, "00", b"key\n")
    assert lost(files.absent, "/opt/key", facts={fact(PathState, path="/opt/key"): state}) == [
        ("/opt/key: present, wanted absent", True)
    ]


def test_an_edited_file_is_in_the_diff() -> None:
    state = FileState("file", "0644", "root", "root", 4, "00", b"old\n")
    facts = {fact(PathState, path="/opt/x"): state}
    with fake_host(facts):
        changes, _ = run_steps(files.put, "/opt/x", "new\n")
    assert [(change.loses_data, "-old" in str(change.diff)) for change in changes] == [(False, True)]


def test_packages_of_another_engine() -> None:
    found = lost(
        rpm.conflicting_absent, facts={fact(InstalledPackages, names=CONFLICTING): {"docker-engine": "18.09"}}
    )
    assert found == [("package docker-engine-18.09: installed, wanted absent", True)]


# -- documents in Dify -----------------------------------------------------------------------------------------

TEXT = b"Thirty days.\n"


def document(**changes: Any) -> Document:
    values: dict[str, Any] = {
        "id": "d1",
        "name": "handbook.md",
        "position": 1,
        "indexing_status": "completed",
        "display_status": "available",
        "enabled": True,
        "archived": False,
        "error": None,
        "word_count": 12,
        "file_id": "f1",
        "file_size": len(TEXT),
        "doc_form": "text_model",
        "rule_id": "r1",
    }
    return Document(**{**values, **changes})


OURS = KnownDocument("d1", "f1", sha256(TEXT), rule_id="r1")


@pytest.mark.parametrize(
    ("there", "known", "expected"),
    [
        ([], None, [("add", False)]),
        ([document()], OURS, []),
        ([document()], KnownDocument("d1", "f1", "0" * 64, rule_id="r1"), [("replace", False)]),
        ([document(enabled=False)], OURS, [("enable", False)]),
        ([document(indexing_status="error")], OURS, [("replace", False)]),
        ([document(archived=True)], OURS, [("replace", False)]),
        ([document(file_id="f2")], OURS, [("replace", True)]),
        ([document(rule_id="r2")], OURS, [("replace", True)]),
        ([document()], None, [("replace", True)]),
        ([document(id="d2")], OURS, [("replace", True)]),
        ([document(), document(id="d9", name="theirs.md")], OURS, [("remove", True)]),
    ],
    ids=[
        "absent",
        "same",
        "the file changed",
        "switched off",
        "not indexed",
        "archived",
        "another upload",
        "segmented anew",
        "nothing known",
        "another document of its name",
        "undeclared",
    ],
)
def test_documents(
    tmp_path: Path, there: list[Document], known: KnownDocument | None, expected: list[tuple[str, bool]]
) -> None:
    (tmp_path / "handbook.md").write_bytes(TEXT)
    knowledge = Knowledge(documents=tmp_path, remove_undeclared_documents=True)
    entries = KnownKnowledge("k1", {"handbook.md": known} if known else {})
    plan = plan_documents(knowledge, entries, There(there))
    assert [(step.action, step.loses_data) for step in plan.changes] == expected


def test_a_document_whose_file_is_gone(tmp_path: Path) -> None:
    (tmp_path / "other.md").write_text("x\n")
    entries = KnownKnowledge("k1", {"handbook.md": OURS})
    plan = plan_documents(Knowledge(documents=tmp_path), entries, There([document()]))
    assert [(step.action, step.loses_data) for step in plan.changes] == [("add", False), ("remove", True)]


# -- the list --------------------------------------------------------------------------------------------------


def test_every_command_that_removes_something_was_thought_about() -> None:
    """A new `rm` in an operation either stands behind a change that says `loses_data`, or is listed here with its reason."""
    harmless = {
        "compose.py": "containers are recreated from declarations; undeclared ones are marked",
        "config_set.py": "its own staging folder",
        "engine_source.py": "its own partial downloads",
        "files.py": "its own temporary file; `absent` is marked",
        "image_pulls.py": "its own exit code file",
        "models.py": "damaged blobs, of no use to anybody; models are marked",
        "pushed.py": "damaged blobs, of no use to anybody",
        "rpm.py": "packages are marked",
        "restart.py": "its own mark",
        "share_service.py": "its own folder under /run",
    }
    removing = {
        path.name
        for path in (ROOT / "difyfleet" / "operations").glob("*.py")
        if re.search(r"\brm -|\brm --|\bollama rm|dnf -y remove|\.delete\(|\bremove\(", path.read_text())
        and not path.name.endswith("_script.py")
    }
    assert removing == harmless.keys()
