"""operations.files: facts in, exact commands out; facts.files: recorded output in, state out."""

from __future__ import annotations

import base64
import hashlib

import pytest

from difyfleet.errors import HostError
from difyfleet.facts.files import FileState, PathState
from difyfleet.operations import files
from tests.unit.fakehost import fact, fake_host, run_steps


def state(text: str = "old\n", **changes: object) -> FileState:
    fields = {"kind": "file", "mode": "0644", "owner": "root", "group": "root", "size": len(text)}
    fields |= {"sha256": hashlib.sha256(text.encode()).hexdigest(), "content": text.encode()}
    return FileState(**{**fields, **changes})  # type: ignore[arg-type]


def at(path: str, value: FileState | None) -> dict:
    return {fact(PathState, path=path): value}


def test_a_file_as_wanted_gives_nothing() -> None:
    with fake_host(at("/etc/x", state("same\n"))):
        assert run_steps(files.put, "/etc/x", "same\n") == ([], [])


def test_an_absent_file_is_written_whole_with_content_on_stdin_only() -> None:
    with fake_host(at("/etc/x y", None)):
        steps = list(files.put.steps("/etc/x y", "s3cret-content\n", mode="0600", validate="check %s"))
    change, command = steps
    assert change.why == "/etc/x y: absent"
    assert str(command) == (
        "umask 077; base64 -d > '/etc/x y.difyfleet-new' && chown root:root '/etc/x y.difyfleet-new'"
        " && chmod 0600 '/etc/x y.difyfleet-new' && { check '/etc/x y.difyfleet-new'; }"
        " && mv -fT '/etc/x y.difyfleet-new' '/etc/x y' || { r=$?; rm -f '/etc/x y.difyfleet-new'; exit $r; }"
    )
    assert "s3cret" not in str(command)
    assert base64.b64decode(command.connector_arguments["_stdin"]) == b"s3cret-content\n"


def test_changed_content_shows_a_diff() -> None:
    with fake_host(at("/etc/x", state("old\n"))):
        changes, commands = run_steps(files.put, "/etc/x", "new\n")
    assert changes[0].diff is not None
    assert changes[0].diff.splitlines()[-2:] == ["-old", "+new"]
    assert len(commands) == 1


@pytest.mark.parametrize(
    ("there", "why"),
    [
        (state(mode="0666"), "/etc/x: mode 0666, wanted 0644"),
        (state(owner="nobody"), "/etc/x: owner nobody:root, wanted root:root"),
    ],
)
def test_an_opened_mode_or_another_owner_is_named_and_set_back(there: FileState, why: str) -> None:
    with fake_host(at("/etc/x", there)):
        changes, commands = run_steps(files.put, "/etc/x", "old\n")
    assert [change.why for change in changes] == [why]
    assert commands == ["chown root:root /etc/x && chmod 0644 /etc/x"]


def test_a_directory_in_the_files_place_is_an_error_not_a_loss() -> None:
    with fake_host(at("/etc/x", state(kind="directory"))), pytest.raises(HostError, match="is a directory"):
        list(files.put.steps("/etc/x", "new\n"))


def test_directory_is_made_with_mode_and_owner() -> None:
    with fake_host(at("/opt/a b", None)):
        changes, commands = run_steps(files.directory, "/opt/a b", mode="0750", owner="70", group="70")
    assert changes[0].why == "/opt/a b: absent"
    assert commands == ["(umask 022; mkdir -p '/opt/a b') && chown 70:70 '/opt/a b' && chmod 0750 '/opt/a b'"]


def test_absent_removes_a_file_and_refuses_a_directory() -> None:
    with fake_host(at("/etc/x", state())):
        assert run_steps(files.absent, "/etc/x")[1] == ["rm -f /etc/x"]
    with fake_host(at("/etc/x", state(kind="directory"))), pytest.raises(HostError):
        list(files.absent.steps("/etc/x"))


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        ([], None),
        (["directory|755|root|root|4096"], FileState("directory", "0755", "root", "root", 4096)),
        (["symbolic link|777|root|root|9"], FileState("link", "0777", "root", "root", 9)),
        (
            [
                "regular file|600|root|root|3",
                f"{hashlib.sha256(b'hi!').hexdigest()}  -",
                base64.b64encode(b"hi!").decode(),
            ],
            FileState("file", "0600", "root", "root", 3, hashlib.sha256(b"hi!").hexdigest(), b"hi!"),
        ),
        (
            ["regular empty file|644|root|root|0", f"{hashlib.sha256(b'').hexdigest()}  -", ""],
            FileState("file", "0644", "root", "root", 0, hashlib.sha256(b"").hexdigest(), b""),
        ),
    ],
)
def test_path_state_parses_recorded_output(output: list[str], expected: FileState | None) -> None:
    assert PathState().process(output) == expected


def test_path_state_command_quotes_the_path() -> None:
    assert PathState().command("/etc/a b; rm -rf").startswith("p='/etc/a b; rm -rf'; ")
