"""A connection that sshd drops before its first word is tried again; any other failure is not."""

from __future__ import annotations

import pytest
from paramiko import AuthenticationException, SSHException

from difyfleet.remote import turned_away

BANNER = SSHException("Error reading SSH protocol banner[Errno 104] Connection reset by peer")


class Connecting:
    def __init__(self, *errors: Exception) -> None:
        self.errors, self.tries = list(errors), 0

    def __call__(self) -> None:
        self.tries += 1
        if self.errors:
            raise self.errors.pop(0)


@pytest.fixture(autouse=True)
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    found: list[float] = []
    monkeypatch.setattr(turned_away.time, "sleep", found.append)
    return found


def test_dropped_connections_are_tried_again_each_time_later(pauses: list[float]) -> None:
    connect = Connecting(BANNER, ConnectionResetError("reset"), BANNER)
    turned_away.patiently(connect)
    assert connect.tries == 4
    assert all(
        turned_away.PAUSE * number / 2 <= pause <= turned_away.PAUSE * number
        for number, pause in enumerate(pauses, 1)
    )


def test_not_for_ever() -> None:
    connect = Connecting(*[BANNER] * 20)
    with pytest.raises(SSHException, match="banner"):
        turned_away.patiently(connect)
    assert connect.tries == turned_away.TRIES


@pytest.mark.parametrize(
    "error",
    [AuthenticationException("no"), ConnectionRefusedError("no"), SSHException("no"), TimeoutError("no")],
)
def test_nothing_else_is_tried_again(error: Exception) -> None:
    connect = Connecting(error)
    with pytest.raises(type(error), match="no"):
        turned_away.patiently(connect)
    assert connect.tries == 1


def test_a_host_that_was_only_slow_is_not_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([0.0, 15.0])
    monkeypatch.setattr(turned_away.time, "monotonic", lambda: next(times))
    connect = Connecting(BANNER)
    with pytest.raises(SSHException):
        turned_away.patiently(connect)
    assert connect.tries == 1
