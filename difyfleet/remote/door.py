"""The one door to a host: pyinfra's SSH connector with a journal, TCP_NODELAY, time-outs and a sudo that keeps its password out of argv.

Whatever is not known to be a read counts as a change. A read is what runs inside a fact, or inside `reading()`.
"""

from __future__ import annotations

import contextlib
import functools
import shlex
import socket
from collections.abc import Iterator
from typing import Any

from paramiko import Channel, ChannelException, SSHException
from pyinfra import logger
from pyinfra.api import StringCommand
from pyinfra.api.exceptions import ConnectError
from pyinfra.connectors.ssh import SSHConnector
from pyinfra.connectors.util import CommandOutput, make_unix_command, read_output_buffers

from difyfleet.errors import ConnectionLost
from difyfleet.host_calls import Call, Command
from difyfleet.remote import hot_spots, journal
from difyfleet.remote.changes import about_to_change
from difyfleet.remote.learned_reads import Read
from difyfleet.remote.lease import Lease, at_work
from difyfleet.remote.read_ahead import ReadAhead
from difyfleet.remote.reading import is_reading
from difyfleet.remote.turned_away import patiently
from difyfleet.secrets import Secret, mask

READ_TIMEOUT = 120  # seconds a fact may take; a hanging docker daemon must not hang the run
CHANGE_TIMEOUT = (
    1800  # seconds a change may take unless it says otherwise; pulls are not changes, they are polled
)
hot_spots.install()
_CHUNK = 1 << 18  # paramiko's sendall copies the rest of the buffer for every packet, so it is fed in pieces


def whole_input(size: int) -> str:
    """Shell words in front of a changing command that reads standard input: it starts when all of it is there. Of a run that dies while
    it sends, the host sees only the end of the input, and an empty file or half a script looks as good as a whole one.

    Args:
        size: of the input, in bytes.
    """
    return (
        f'_in=$(mktemp) && cat >"$_in" && [ "$(stat -c %s "$_in")" = {size} ]'
        " || { rm -f \"$_in\"; echo 'the input did not arrive whole' >&2; exit 75; };"
        ' exec <"$_in"; rm -f "$_in"; '
    )


class DoorConnector(SSHConnector):
    """SSH to one host. Inventories of difyfleet use it as `@difyfleet/NAME`."""

    sudo_password: Secret | None = None
    lease: Lease | None = None  # what this run holds on the host; no change goes out without it
    changes: int = 0  # that have gone out, see about_to_change
    ahead: ReadAhead | None = None  # answers to reads that this run is expected to make

    @staticmethod
    def make_names_data(name: str) -> Iterator[tuple[str, dict[str, Any], list[str]]]:
        yield name, {"ssh_hostname": name}, []

    def make_paramiko_kwargs(self) -> dict[str, Any]:
        kwargs: dict[str, Any] = super().make_paramiko_kwargs()
        password = self.host.data.get("difyfleet_ssh_password")
        if isinstance(password, Secret):
            kwargs["password"] = password.reveal()
        limit = kwargs.get("timeout") or 15
        kwargs.setdefault("banner_timeout", limit)
        kwargs.setdefault("auth_timeout", limit)
        kwargs.setdefault("channel_timeout", READ_TIMEOUT)  # paramiko's own is an hour
        return kwargs

    def _connect(self) -> None:
        patiently(super()._connect)

    def connect(self) -> None:
        try:
            super().connect()
        except ConnectError as error:
            raise ConnectError(_explain(str(error), self.host.name, self.data)) from error
        transport = self.client.get_transport() if self.client else None
        sock: Any = getattr(transport, "sock", None)
        if hasattr(sock, "setsockopt"):  # a ProxyCommand's pipe has no socket options
            with contextlib.suppress(OSError):
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        journal.current().write(self.host.name, journal.CONNECT, "ssh", f"connected to {self.host.name}")
        self._try_sudo_password()

    def _try_sudo_password(self) -> None:
        """Learn once whether sudo wants the password, and that it is right: one try, so pam_faillock (3 tries) is never met."""
        password = self.host.data.get("difyfleet_sudo_password")
        if not isinstance(password, Secret):
            return
        probe = "if sudo -n -k true 2>/dev/null; then echo free; else sudo -k -S -p '' true && echo asked; fi"
        status, output = self._exec(probe, password.reveal() + "\n", timeout=60)
        if "asked" in output.stdout_lines:
            self.sudo_password = password
        elif status != 0 or "free" not in output.stdout_lines:
            said = "; ".join(line for line in output.stderr_lines if line.strip()) or f"exit code {status}"
            raise ConnectError(
                f"sudo refused the password of {self.data['ssh_user'] or 'the login user'} ({said}). One try was made. "
                "Correct ssh.sudo_password in the inventory."
            )

    def run_shell_command(
        self, command: StringCommand, print_output: bool = False, print_input: bool = False, **arguments: Any
    ) -> tuple[bool, CommandOutput]:
        """Run a command, journalled as read or change. Arguments are pyinfra's connector arguments.

        Raises:
            TimeoutError: no answer within _timeout seconds (default: READ_TIMEOUT or CHANGE_TIMEOUT).
            ConnectionLost: the connection is gone.
        """
        kind = journal.READ if is_reading() else journal.CHANGE
        arguments.pop("_get_pty", None)
        timeout = arguments.pop("_timeout", None) or (
            READ_TIMEOUT if kind == journal.READ else CHANGE_TIMEOUT
        )
        stdin = arguments.pop("_stdin", None) or ""
        accepted = arguments.pop("_success_exit_codes", None) or [0]
        if not isinstance(stdin, str):
            stdin = "".join(line if line.endswith("\n") else f"{line}\n" for line in stdin)
        for unused in ("_sudo_password", "_su_password", "_retries", "_retry_delay", "_retry_until"):
            arguments.pop(unused, None)
        if kind == journal.CHANGE:
            about_to_change(self)
        before = at_work() if kind == journal.CHANGE and self.lease is not None else ""
        if kind == journal.CHANGE and stdin:
            before += whole_input(len(stdin.encode()))
        line, password, shown = self._line(command, arguments, before)
        logger.debug("%s on %s: %s", kind, self.host.name, shown)
        known = None
        if kind == journal.READ and not stdin and self._may_be_kept(line, shown):
            known = self._read_ahead(Read(line, timeout, bool(password), self._call(command, line)))
        if known is None:
            self.asks_besides()
            journal.current().write(self.host.name, kind, "exec", shown, self.operation_name())
            read = Read(line, timeout, asks=bool(password)) if kind == journal.READ and not stdin else None
            known = self._exec_beside_reads(line, password + stdin, timeout, read)
        status, output = known
        if status != 0 and any(
            text.strip() == "sudo: a password is required" for text in output.stderr_lines
        ):
            raise SSHException(
                "sudo asks for a password: set ssh.sudo_password in the inventory, or NOPASSWD in sudoers"
            )
        return status in accepted, output

    def start(self, command: StringCommand, kind: str, what: str, *, combine: bool = True) -> Channel:
        """Start a command for bash, as root, and give its channel, standard input open.

        Args:
            kind, what: for the journal.
            combine: both outputs in one stream.

        Raises:
            SSHException, OSError, EOFError: there is no channel to be had.
        """
        line, password = self.command_line(command)
        transport = self.client.get_transport() if self.client else None
        if transport is None:
            raise SSHException("not connected")
        self.asks_besides()
        journal.current().write(self.host.name, kind, "exec", what)
        channel = transport.open_session(timeout=READ_TIMEOUT)
        channel.set_combine_stderr(combine)
        channel.exec_command(line)
        channel.sendall(password.encode())
        return channel

    def open(self, line: str) -> Channel:
        """An exec channel for a line of the login shell: standard input open, both outputs apart. The caller journals it.

        Raises:
            SSHException, OSError, EOFError: there is no channel to be had.
        """
        transport = self.client.get_transport() if self.client else None
        if transport is None:
            raise SSHException("not connected")
        channel = transport.open_session(timeout=READ_TIMEOUT)
        channel.exec_command(line)
        return channel

    @staticmethod
    def _may_be_kept(line: str, shown: str) -> bool:
        """Whether a line holds no secret: neither one that pyinfra hides nor one known here."""
        return line.endswith(shown) and mask(line) == line

    def front(self) -> str:
        """How the line of a read begins that runs as facts do, up to its command."""
        return self._line(StringCommand("true"), {"_sudo": bool(self.host.data.get("_sudo"))})[
            0
        ].removesuffix("true")

    def _call(self, command: StringCommand | str, line: str) -> Call:
        """What gives the same as a line without a shell; () where the line does more than the fact's command."""
        wanted = command  # pyinfra hands a fact's command on as it is
        if not isinstance(wanted, Command) or line != self.front() + shlex.quote(wanted):
            return ()
        return wanted.call

    def asks_besides(self) -> None:
        """Called where something is asked that was not read ahead."""
        if self.ahead is not None:
            self.ahead.asked_besides()

    def _read_ahead(self, read: Read) -> tuple[int, CommandOutput] | None:
        try:
            return self.ahead.answer(read, self.sudo_password) if self.ahead is not None else None
        except TimeoutError as error:
            self.require_connection(error)
            raise

    def _exec_beside_reads(
        self, line: str, stdin: str, timeout: int, read: Read | None
    ) -> tuple[int, CommandOutput]:
        """An exec, also where sshd gives one session at a time only and the channel for reads has it."""
        try:
            return self._exec(line, stdin, timeout)
        except ChannelException:
            if self.ahead is None or not self.ahead.busy:
                raise
            found = self.ahead.ask(read, self.sudo_password) if read is not None else None
            if found is not None:
                return found
            self.ahead.close()
            return self._exec(line, stdin, timeout)

    def command_line(self, command: StringCommand) -> tuple[str, str]:
        """A command for bash, as root, as it goes over a line of its own: the line, and what sudo must read before the command does."""
        line, password, _ = self._line(command, self._as_root())
        return line, password

    def _as_root(self) -> dict[str, Any]:
        return {"_sudo": bool(self.host.data.get("_sudo")), "_shell_executable": "bash"}

    def _line(
        self, command: StringCommand, arguments: dict[str, Any], before: str = ""
    ) -> tuple[str, str, str]:
        """The line to run, what sudo must read on standard input before the command does, and the line as it may be shown.

        Args:
            before: shell words in front of the command, not shown.
        """
        password = self.sudo_password if arguments.get("_sudo") else None
        if password is not None:
            arguments = {**arguments, "_sudo": False}
        line, shown = _built(command, before, arguments)
        if password is None:
            return line, "", shown
        # -k: never a cached ticket, so the password line is always consumed by sudo and never reaches the command
        return f"sudo -H -k -S -p '' {line}", password.reveal() + "\n", shown

    def require_connection(self, cause: object = None) -> None:
        """Called where something did not come back.

        Raises:
            ConnectionLost: the connection is gone.
        """
        transport = self.client.get_transport() if self.client else None
        if transport is not None and transport.is_active():
            return
        cause = cause or (self.lease.ended if self.lease is not None else None)
        raise ConnectionLost(
            f"the SSH connection was lost{f' ({cause})' if cause else ''}; "
            "what was under way on the host may still run to its end there",
            where=self.host.name,
            hint="run the same command again: it waits for that and goes on from there",
        )

    def _exec(self, line: str, stdin: str, timeout: int) -> tuple[int, CommandOutput]:
        try:
            status, output = self._exec_in_channel(line, stdin, timeout)
        except (OSError, EOFError, SSHException) as error:
            self.require_connection(error)
            raise
        if status == -1:  # no exit status: a signal ended the command, or there is nobody left to send one
            self.require_connection()
        return status, output

    def _exec_in_channel(self, line: str, stdin: str, timeout: int) -> tuple[int, CommandOutput]:
        client = self.client
        if client is None:
            raise SSHException("not connected")
        stdin_file, stdout_file, stderr_file = client.exec_command(line)
        channel = stdout_file.channel
        try:
            data = memoryview(stdin.encode())
            for start in range(0, len(data), _CHUNK):
                channel.sendall(bytes(data[start : start + _CHUNK]))
            channel.shutdown_write()
            output = read_output_buffers(
                stdout_file, stderr_file, timeout=timeout, print_output=False, print_prefix=""
            )
            return channel.recv_exit_status(), output
        except TimeoutError:
            channel.close()
            raise TimeoutError(f"no answer within {timeout} s") from None
        except OSError as error:
            if channel.closed and not channel.exit_status_ready():
                raise SSHException(f"the channel broke: {error}") from error
            # the command ended without reading all of its input: its own exit status and words say why
            output = read_output_buffers(
                stdout_file, stderr_file, timeout=timeout, print_output=False, print_prefix=""
            )
            return channel.recv_exit_status(), output
        finally:
            stdin_file.close()

    def operation_name(self) -> str | None:
        """The operation under way, for the journal."""
        op_hash = self.host.executing_op_hash or self.host.current_op_hash
        if op_hash is None:
            return None
        book = self.host.connector_data.get("difyfleet.notes", {}).get(op_hash)
        return getattr(book, "name", None)

    def put_file(self, *args: Any, **kwargs: Any) -> bool:
        """pyinfra's SFTP upload, journalled as a change. Our own files go through operations.files.put instead."""
        about_to_change(self)
        journal.current().write(
            self.host.name, journal.CHANGE, "sftp", f"put {args[1] if len(args) > 1 else ''}"
        )
        return bool(super().put_file(*args, **kwargs))

    def disconnect(self) -> None:
        if self.ahead is not None:
            self.ahead.close()
        super().disconnect()
        if self.client is not None:
            self.client.close()


def _built(command: StringCommand | str, before: str, arguments: dict[str, Any]) -> tuple[str, str]:
    """What pyinfra makes of a command, whole and as it may be shown, `before` being in front of the former only."""
    if arguments.get("_env"):  # may hold what is not to be shown; the same on no two hosts
        return _wrapped(command, before, **arguments)
    plain = {key: value for key, value in arguments.items() if key != "_env"}
    if isinstance(command, StringCommand):
        return _kept(command.get_raw_value(), command.get_masked_value(), before, tuple(plain.items()))
    return _kept(str(command), str(command), before, tuple(plain.items()))


def _wrapped(
    raw: StringCommand | str, before: str, masked: StringCommand | str | None = None, **arguments: Any
) -> tuple[str, str]:
    shown = str(make_unix_command(raw if masked is None else masked, **arguments))  # type: ignore[arg-type]
    whole = StringCommand(before, raw) if before else raw
    return make_unix_command(whole, **arguments).get_raw_value(), shown  # type: ignore[arg-type]


@functools.lru_cache(maxsize=512)
def _kept(raw: str, masked: str, before: str, arguments: tuple[tuple[str, Any], ...]) -> tuple[str, str]:
    """_wrapped; most hosts are asked the same."""
    return _wrapped(raw, before, masked, **dict(arguments))


def _explain(message: str, name: str, data: Any) -> str:
    """A connect error with the next thing to type."""
    login = data["ssh_user"] or "the login user"
    target = data["ssh_hostname"] or name
    lowered = message.lower()
    if "host key" in lowered:
        hint = f"if the host was reinstalled on purpose, remove its old key: ssh-keygen -R {target}"
        if data["ssh_known_hosts_file"]:
            hint += f" -f {data['ssh_known_hosts_file']}"
    elif "authentication" in lowered or "no existing session" in lowered or "private key" in lowered:
        hint = f"try it by hand: ssh {login}@{target}; check ssh.user, ssh.key and the host's authorized_keys"
    elif "resolve" in lowered or "name or service" in lowered:
        hint = f"check the address of {name} in the inventory"
    else:
        hint = f"is the machine up and sshd reachable? try: ssh {target}"
    return f"cannot connect to {target}: {message}\n  next: {hint}"
