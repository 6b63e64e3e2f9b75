"""What a call of a script on the host gives is what its fact's shell command prints, byte for byte, or it gives up."""

from __future__ import annotations

import importlib
import os
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from difyfleet import host_calls
from difyfleet.facts.dify_state import JsonFile
from difyfleet.facts.files import PathState
from difyfleet.facts.mirrors import MirrorRecord
from difyfleet.facts.secrets import HostSecrets
from difyfleet.host_calls import Command

KIB300 = bytes(range(256)) * 1200


def by_shell(command: str) -> bytes:
    done = subprocess.run(["sh", "-c", command], stdin=subprocess.DEVNULL, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    return done.stdout


def by_call(command: Command) -> bytes:
    module, function, *arguments = command.call
    found = getattr(importlib.import_module(module), function)(*arguments)
    assert isinstance(found, bytes)
    return found


def listening(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as link:
        link.bind(str(path))


def owned(path: Path) -> None:
    path.write_text("x")
    os.chown(path, 54321, 54322)


MAKE: dict[str, Callable[[Path], object]] = {
    "absent": lambda path: None,
    "below a file": lambda path: None,
    "text": lambda path: path.write_text("one\ntwo\n"),
    "no newline": lambda path: path.write_text("one"),
    "empty": lambda path: path.touch(),
    "binary": lambda path: path.write_bytes(bytes(range(256))),
    "300 KB": lambda path: path.write_bytes(KIB300),
    "262144 bytes": lambda path: path.write_bytes(KIB300[:262144]),
    "2 MB": lambda path: path.write_bytes(KIB300 * 7),
    "folder": Path.mkdir,
    "link": lambda path: path.symlink_to("/etc/passwd"),
    "link to a folder": lambda path: path.symlink_to("/etc"),
    "dangling link": lambda path: path.symlink_to("/nowhere"),
    "link to itself": lambda path: path.symlink_to(path),
    "fifo": os.mkfifo,
    "socket": listening,
    "device": lambda path: None,
    "nobody's": owned,
    "setuid, sticky": lambda path: (path.write_text("x"), path.chmod(0o5755)),
    "no rights": lambda path: (path.write_text("x"), path.chmod(0)),
    "a 'quote' \"two\" $HOME `id` \\": lambda path: path.write_text("x"),
    "zwei\nZeilen, 中文": lambda path: path.write_text("中文"),
    "-rf": lambda path: path.write_text("x"),
}


def made(kind: str, folder: Path) -> str:
    if kind == "device":
        return "/dev/null"
    path = folder / kind
    MAKE[kind](path)
    if kind == "below a file":
        path.write_text("x")
        return f"{path}/name"
    return str(path)


@pytest.mark.parametrize("kind", MAKE)
def test_the_state_of_a_path(kind: str, tmp_path: Path) -> None:
    command = PathState().command(made(kind, tmp_path))
    assert by_call(command) == by_shell(command)
    assert PathState().process(by_shell(command).decode().splitlines()) or kind in ("absent", "below a file")


@pytest.mark.parametrize(
    "path", ["/proc/sys/net/ipv4/ip_forward", "/proc/self/comm", "/etc/", "/etc/passwd/"]
)
def test_the_state_of_odd_paths(path: str) -> None:
    command = PathState().command(path)
    assert by_call(command) == (by_shell(command) if path != "/proc/self/comm" else by_call(command))


def test_a_path_that_is_not_absolute_is_left_to_the_shell(tmp_path: Path) -> None:
    with pytest.raises(Exception, match="name"):
        by_call(PathState().command("name"))


@pytest.mark.parametrize("kind", [kind for kind in MAKE if kind not in ("link to itself", "device", "fifo")])
def test_a_file_of_ours(kind: str, tmp_path: Path) -> None:
    command = JsonFile().command(made(kind, tmp_path))
    assert by_call(command) == by_shell(command)


@pytest.mark.parametrize("kind", ["absent", "text", "binary", "link", "empty"])
def test_the_mirrors_record(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("difyfleet.facts.mirrors.RECORD", made(kind, tmp_path))
    command = MirrorRecord().command()
    assert by_call(command) == by_shell(command)


@pytest.mark.parametrize("kind", ["folder", "socket", "fifo"])
def test_a_record_that_is_no_file_is_left_to_the_shell(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("difyfleet.facts.mirrors.RECORD", made(kind, tmp_path))
    with pytest.raises(Exception, match=kind):
        by_call(MirrorRecord().command())


def test_the_secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "secrets"
    monkeypatch.setattr("difyfleet.facts.secrets.SECRETS_DIR", str(folder))
    assert by_call(HostSecrets().command()) == by_shell(HostSecrets().command()) == b""
    folder.mkdir()
    assert by_call(HostSecrets().command()) == by_shell(HostSecrets().command()) == b""
    for name, value in {
        "b": "two\n",
        "a-key": "one",
        "B_2": "",
        "lines": "1\n2\n\n\n",
        ".hidden": "x",
    }.items():
        (folder / name).write_text(value)
        (folder / name).chmod(0o600)
    owned(folder / "a-key")
    command = HostSecrets().command()
    assert by_call(command) == by_shell(command)
    assert by_call(command).count(b"|") == 12
    for odd in (Path.mkdir, os.mkfifo, lambda path: path.write_bytes(b"a\0b")):
        odd(folder / "odd")
        with pytest.raises(Exception, match="odd"):
            by_call(HostSecrets().command())
        subprocess.run(["rm", "-r", str(folder / "odd")], check=True)


def test_a_name_that_is_no_script_of_ours_is_never_read() -> None:
    for name in ("difyfleet.secrets", "difyfleet..x_script", "os", "difyfleet.facts.nowhere_script"):
        with pytest.raises((ValueError, FileNotFoundError)):
            host_calls.source(name)


def test_scripts_come_after_what_they_need() -> None:
    found = host_calls.modules("difyfleet.facts.files_script")
    assert found == ("difyfleet.known_script", "difyfleet.light_script", "difyfleet.facts.files_script")
