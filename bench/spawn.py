"""Runs one command and writes what it took as the last line of standard error: ``WALL CPU PEAK`` in seconds, seconds and MiB.

``python -I -S bench/spawn.py SECONDS COMMAND...``, which kills it after so many seconds and then ends with :data:`LATE`.

A process of its own, because the kernel counts a child's memory from the fork: the child of a large program looks as large.
"""

import os
import signal
import sys
import time

LATE = 124


def main(argv: "list[str]") -> int:
    """Run the command in a session of its own; gives its exit code, 128 + the signal's number if a signal ended it."""
    seconds, command = float(argv[0]), argv[1:]
    started = time.monotonic()
    child = os.fork()
    if child == 0:
        os.setsid()
        try:
            os.execvp(command[0], command)  # noqa: S606
        except OSError as error:
            os.write(2, f"{command[0]}: {error}\n".encode())
            os._exit(127)
    late = []

    def kill(*_: object) -> None:
        late.append(True)
        os.killpg(child, signal.SIGKILL)

    signal.signal(signal.SIGALRM, kill)
    signal.signal(signal.SIGTERM, kill)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    _, status, usage = os.wait4(child, 0)
    wall = time.monotonic() - started
    print(f"\n{wall:.4f} {usage.ru_utime + usage.ru_stime:.4f} {usage.ru_maxrss / 1024:.1f}", file=sys.stderr)
    if late:
        return LATE
    return os.WEXITSTATUS(status) if os.WIFEXITED(status) else 128 + os.WTERMSIG(status)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
