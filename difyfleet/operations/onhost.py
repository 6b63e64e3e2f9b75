"""Running a changing command from inside a `call` function, where its words decide what the operator is told."""

from __future__ import annotations

from typing import Any

from pyinfra.api import StringCommand

_TRAIL = 12  # lines of a failed command that are shown


def execute(
    on: Any, script: str, *, stdin: str | None = None, timeout: int | None = None
) -> tuple[bool, str]:
    """Run a shell script on the host, as root, through the door (journalled as a change).

    Args:
        on: pyinfra's host.
        timeout: seconds until it counts as failed.

    Returns:
        Whether it exited 0, and its last words (standard error, or standard output where that is empty).
    """
    arguments: dict[str, Any] = {"_sudo": bool(on.data.get("_sudo"))}
    if stdin is not None:
        arguments["_stdin"] = stdin
    if timeout is not None:
        arguments["_timeout"] = timeout
    ok, output = on.run_shell_command(StringCommand(script), **arguments)
    lines = [line for line in output.stderr_lines if line.strip()] or [
        line for line in output.stdout_lines if line.strip()
    ]
    return bool(ok), "\n".join(lines[-_TRAIL:])
