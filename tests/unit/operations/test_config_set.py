"""operations.config_set: nothing old is touched before the program itself has accepted the new set."""

from __future__ import annotations

import dataclasses

import pytest

from difyfleet.errors import HostError
from difyfleet.facts.files import FileState, PathState
from difyfleet.operations.config_set import ConfigFile, config_set
from tests.unit.fakehost import fact, fake_host, run_steps

FILES = {"nginx.conf": ConfigFile("a\n"), "ssl/dify.key": ConfigFile("KEY", mode="0600", opaque=True)}
GOOD = {
    "nginx.conf": FileState("file", "0644", "root", "root", content=b"a\n"),
    "ssl/dify.key": FileState("file", "0600", "root", "root", content=b"KEY"),
}
JUDGE = (
    "timeout 120 docker run --rm --pull never --network none"
    " -v /opt/d/nginx.difyfleet-new/nginx.conf:/etc/nginx/nginx.conf:ro"
    " -v /opt/d/nginx.difyfleet-new/ssl/dify.key:/etc/nginx/ssl/dify.key:ro --entrypoint nginx nginx:1 -t"
)


def steps(found: dict[str, FileState | None]) -> tuple[list[str], list[str | None], list[str]]:
    facts = {fact(PathState, path=f"/opt/d/nginx/{path}"): state for path, state in found.items()}
    with fake_host(facts):
        changes, commands = run_steps(
            config_set, "/opt/d/nginx", FILES, image="nginx:1", mount_at="/etc/nginx", judge=["nginx", "-t"]
        )
    return [change.why for change in changes], [change.diff for change in changes], commands


def test_equal_files_are_left_alone() -> None:
    assert steps(dict(GOOD)) == ([], [], [])


def test_one_changed_file_has_the_whole_set_staged_judged_and_swapped() -> None:
    notes, diffs, commands = steps(
        GOOD | {"nginx.conf": dataclasses.replace(GOOD["nginx.conf"], content=b"b\n")}
    )
    assert notes == ["/opt/d/nginx/nginx.conf: content differs"]
    assert diffs[0] is not None
    assert "-b\n+a" in diffs[0]
    stage, *puts, judge, swap = commands
    assert stage == (
        "rm -rf /opt/d/nginx.difyfleet-new && (umask 022; mkdir -p"
        " /opt/d/nginx /opt/d/nginx.difyfleet-new /opt/d/nginx.difyfleet-new/ssl /opt/d/nginx/ssl)"
    )
    assert ["nginx.difyfleet-new/nginx.conf" in puts[0], "nginx.difyfleet-new/ssl/dify.key" in puts[1]] == [
        True,
        True,
    ]
    assert "chmod 0600" in puts[1]
    assert judge == f"{JUDGE} || {{ r=$?; rm -rf /opt/d/nginx.difyfleet-new; exit $r; }}"
    assert swap == (
        "mv -fT /opt/d/nginx.difyfleet-new/nginx.conf /opt/d/nginx/nginx.conf"
        " && mv -fT /opt/d/nginx.difyfleet-new/ssl/dify.key /opt/d/nginx/ssl/dify.key && rm -rf /opt/d/nginx.difyfleet-new"
    )


def test_a_key_is_never_shown() -> None:
    notes, diffs, commands = steps(GOOD | {"ssl/dify.key": None})
    assert notes == ["/opt/d/nginx/ssl/dify.key: absent"]
    assert not any("KEY" in text for text in [*filter(None, diffs), *commands])
    assert "KEY" not in repr(FILES["ssl/dify.key"])


def test_an_opened_key_is_closed_without_a_swap() -> None:
    notes, _, commands = steps(
        GOOD | {"ssl/dify.key": dataclasses.replace(GOOD["ssl/dify.key"], mode="0644")}
    )
    assert notes == ["/opt/d/nginx/ssl/dify.key: mode 0644, wanted 0600"]
    assert commands == ["chown root:root /opt/d/nginx/ssl/dify.key && chmod 0600 /opt/d/nginx/ssl/dify.key"]


def test_a_folder_in_the_way_is_refused() -> None:
    with pytest.raises(HostError, match="is a directory"):
        steps(GOOD | {"nginx.conf": FileState("directory", "0755", "root", "root")})
