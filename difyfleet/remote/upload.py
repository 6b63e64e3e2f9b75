"""Large files to a host: streamed through sudo into their final file system, never through /tmp (a tmpfs on openEuler)."""

from __future__ import annotations

import hashlib
import shlex
from pathlib import Path
from typing import Any

from difyfleet.errors import HostError
from difyfleet.progress import report
from difyfleet.remote import journal
from difyfleet.remote.changes import about_to_change

_CHUNK = 1 << 18


def sha256_of(path: Path) -> str:
    """Hex SHA-256 of a file on the controller."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def send(host: Any, source: Path, target: str, *, mode: str = "0644") -> None:
    """Copy a file to the host: written beside the target, hash checked there, then renamed.

    Raises:
        HostError: the copy broke or arrived with another hash; the target is as it was.
    """
    door = host.connector
    about_to_change(door)
    journal.current().write(host.name, journal.CHANGE, "exec", f"upload {source.name} to {target}")
    temp = shlex.quote(f"{target}.difyfleet-new")
    script = f"umask 077; cat > {temp} && sha256sum < {temp} && chmod {mode} {temp}"
    sudo = (
        ""
        if not host.data.get("_sudo")
        else ("sudo -H -k -S -p '' " if door.sudo_password else "sudo -H -n ")
    )
    channel = door.client.get_transport().open_session(timeout=30)
    channel.settimeout(120)
    channel.exec_command(f"{sudo}sh -c {shlex.quote(script)}")
    if door.sudo_password and sudo:
        channel.sendall((door.sudo_password.reveal() + "\n").encode())
    size, sent = source.stat().st_size, 0
    with source.open("rb") as file:
        while block := file.read(_CHUNK):
            channel.sendall(block)
            sent += len(block)
            report(host.name, f"upload {source.name}: {sent * 100 // max(size, 1)} %")
    channel.shutdown_write()
    answer = channel.makefile("r").read()
    status = channel.recv_exit_status()
    text = answer.decode() if isinstance(answer, bytes) else answer
    if status != 0 or text.split()[:1] != [sha256_of(source)]:
        raise HostError(
            f"upload of {source.name} broke (exit {status})",
            where=f"{host.name}:{target}",
            hint="run apply again",
        )
    ok, output = host.run_shell_command(_rename(temp, target), _sudo=bool(sudo))
    if not ok:
        raise HostError(f"could not rename the upload: {output.stderr}", where=f"{host.name}:{target}")


def _rename(temp: str, target: str) -> Any:
    from pyinfra.api import StringCommand

    return StringCommand(f"mv -fT {temp} {shlex.quote(target)}")
