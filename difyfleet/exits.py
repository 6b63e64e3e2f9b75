"""The exit codes of every verb. One meaning each, documented in docs/reference/exit-codes.md."""

from enum import IntEnum


class Exit(IntEnum):
    """What a finished command tells its caller."""

    OK = 0
    ERROR = 1
    PENDING = 2  # a plan or drift check found something that would change
    HALTED = 3  # a rollout stopped at a gate
    LOCKED = 4  # another run holds the host's lease
    CHECKS_FAILED = 5
    ROLLED_BACK = 6
    USAGE = 64  # click's own 2 is remapped: 2 means "changes pending" here
    INTERRUPTED = 130
