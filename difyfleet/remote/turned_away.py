"""A login that sshd had no room for: of connections that have not logged in yet it keeps so many (MaxStartups, 10) and drops others unseen.

A run that connects to all hosts at once meets that at a jump host, or where several addresses are one machine.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable

from paramiko import SSHException
from pyinfra import logger

TRIES = 6
PAUSE = 0.5  # seconds, times the number of the try, half of it by chance
_SOON = 5.0  # seconds in which a connection is dropped; one that was only slow is not tried again


def patiently(connect: Callable[[], None]) -> None:
    """Connect; where sshd closes the connection before its first word, try again. Nothing was sent by then, so no try counts as a login.

    Raises:
        SSHException, OSError: it did not come about.
    """
    for number in range(1, TRIES + 1):
        began = time.monotonic()
        try:
            return connect()
        except (SSHException, ConnectionResetError) as error:
            if number == TRIES or not _turned_away(error) or time.monotonic() - began > _SOON:
                raise
            logger.debug("try %d: %s", number, error)
        time.sleep(PAUSE * number * random.uniform(0.5, 1))  # noqa: S311 - only spreads them


def _turned_away(error: Exception) -> bool:
    return isinstance(error, ConnectionResetError) or "reading SSH protocol banner" in str(error)
