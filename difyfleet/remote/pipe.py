"""A fast two-way pipe to a program on the host: this machine's `ssh` where it can log in by itself, else a channel of the door's connection.

paramiko encrypts in Python and carries about half of what OpenSSH does (docs/bundles.md), so large files go through the program.
Neither needs SFTP nor forwarding, which hardened hosts switch off.
"""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import tempfile
from typing import Any

from paramiko import SSHException
from pyinfra.api import StringCommand

from difyfleet.errors import HostError
from difyfleet.remote import journal

SSH, PARAMIKO = "ssh", "paramiko"
_BUFFER = 1 << 20  # bytes between this program and ssh
_STEP = 1 << 18  # paramiko's sendall copies the rest of the buffer for every packet, so it is fed in pieces
_SEND_TIMEOUT = 300.0  # seconds without a byte taken
_END = 10.0  # seconds ssh gets to end by itself
_NO_LOGIN = 255  # ssh's own exit code


class Pipe:
    """Bytes in, lines out.

    Args:
        end: a socket or a paramiko channel.
        process, errors: of the ssh program, and the file that holds what it says.
    """

    def __init__(self, end: Any, process: subprocess.Popen[bytes] | None = None, errors: Any = None) -> None:
        self._end, self._process, self._errors = end, process, errors
        self._rest = b""
        self.sent = 0  # bytes

    @property
    def via(self) -> str:
        return PARAMIKO if self._process is None else SSH

    def send(self, data: bytes | memoryview) -> None:
        """Send all of it.

        Raises:
            OSError, EOFError: the line is broken, or takes nothing any more.
        """
        self._end.settimeout(_SEND_TIMEOUT)
        view = memoryview(data)
        for start in range(0, len(view), _STEP):
            part = view[start : start + _STEP]
            self._end.sendall(part if self._process else bytes(part))
            self.sent += len(part)

    def line(self, timeout: float) -> str:
        """The next line.

        Raises:
            OSError: none within `timeout` seconds (TimeoutError), or the line is broken.
            EOFError: there are no more.
        """
        while b"\n" not in self._rest:
            self._end.settimeout(timeout)
            data = self._end.recv(1 << 16)
            if not data:
                raise EOFError("the other end has ended")
            self._rest += data
        line, _, self._rest = self._rest.partition(b"\n")
        return line.decode(errors="replace")

    def words(self) -> str:
        """What ssh, or the program on the host, had to say besides. Ends the pipe."""
        self.close()
        if self._errors is None:
            return ""
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").splitlines()
        return "; ".join(line.strip() for line in lines[-4:] if line.strip())

    @property
    def no_login(self) -> bool:
        """Whether ssh has ended without having run anything."""
        return self._process is not None and self._process.poll() == _NO_LOGIN

    def close(self) -> None:
        """End it."""
        self._end.close()
        if self._process is None or self._process.poll() is not None:
            return
        try:
            self._process.wait(_END)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(_END)


def ssh_argv(door: Any) -> list[str] | None:
    """The ssh command that logs in as the door has done, without the remote command; None where only the door can (a password).

    Args:
        door: the host's connected connector.
    """
    data, program = door.host.data, shutil.which("ssh")
    transport = door.client.get_transport() if door.client else None
    if program is None or transport is None or data.get("difyfleet_ssh_password") is not None:
        return None
    checking = str(data.get("ssh_strict_host_key_checking"))
    options = {
        "BatchMode": "yes",
        "Ciphers": "^aes128-gcm@openssh.com",  # the quickest where the processor knows AES; others stay possible
        "ClearAllForwardings": "yes",
        "Compression": "no",  # one processor compresses slower than most lines carry
        "ConnectTimeout": "30",
        "ControlPath": "none",
        "LogLevel": "ERROR",
        "ServerAliveCountMax": "4",
        "ServerAliveInterval": "15",
        # the door has met the key already, and stored it where that is wished
        "StrictHostKeyChecking": "no" if checking == "no" else "yes",
    }
    argv = [program, "-T", "-l", str(transport.get_username())]
    for option, key in (("-F", "ssh_config_file"), ("-p", "ssh_port"), ("-i", "ssh_key")):
        if data.get(key):
            argv += [option, str(data.get(key))]
    if data.get("ssh_key"):
        options["IdentitiesOnly"] = "yes"
    if data.get("ssh_known_hosts_file"):
        options["UserKnownHostsFile"] = str(data.get("ssh_known_hosts_file"))
    for name, value in options.items():
        argv += ["-o", f"{name}={value}"]
    return [*argv, "--", str(data.get("ssh_hostname"))]


def open_pipe(on: Any, script: str, what: str, *, program: bool = True) -> Pipe:
    """Start a changing program on the host that is fed through its standard input and answers in lines.

    Args:
        on: pyinfra's host; the caller has asked for its lease.
        script: shell words of the program.
        what: for the journal.
        program: use ssh where that can be.

    Raises:
        HostError: there is no channel to be had.
        ConnectionLost: the door's connection is gone.
    """
    door = on.connector
    argv = ssh_argv(door) if program else None
    if argv is not None:
        line, password = door.command_line(StringCommand(script))
        journal.current().write(on.name, journal.CHANGE, "ssh", what, door.operation_name())
        pipe = _of_program([*argv, line])
        with contextlib.suppress(OSError):  # it has ended: that shows at the first line
            pipe.send(password.encode())
        return pipe
    try:
        channel = door.start(StringCommand(script), journal.CHANGE, what)
    except (SSHException, OSError, EOFError) as error:
        door.require_connection(error)
        raise HostError(f"sshd gives no channel: {error or type(error).__name__}", where=on.name) from error
    return Pipe(channel)


def _of_program(argv: list[str]) -> Pipe:
    ours, theirs = socket.socketpair()
    with theirs:
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER)
        errors = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the pipe
        process = subprocess.Popen(argv, stdin=theirs.fileno(), stdout=theirs.fileno(), stderr=errors)
    return Pipe(ours, process, errors)
