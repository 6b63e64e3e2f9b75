"""What a person reads at the end of a run: at 1, 3 and 50 hosts."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from rich.console import Console

from difyfleet.fleet.results import CheckResult, HostResult, OperationResult, RunResult
from difyfleet.report import terminal

DIFF = "--- /etc/docker/daemon.json\n+++ /etc/docker/daemon.json\n@@ -1 +1 @@\n-{}\n+{[1]}"
HOLDS = CheckResult("docker", "docker.service: running", True, "active")
FAILS = CheckResult("docker", "docker.service: running", False, "inactive", "difyfleet apply --role docker")
WARNS = CheckResult("docker", "mirrors: all alive", False, "one is dead", None, warn_only=True)


def host(number: int, state: str = "unchanged", check: CheckResult | None = HOLDS, **more: str) -> HostResult:
    changes = state in ("changed", "would_change")
    operation = OperationResult(
        "docker",
        "daemon.json",
        state,
        DIFF if changes else None,
        why=["debug: absent, wanted true"] if changes else [],
        error=more.get("operation_error"),
    )
    return HostResult(
        f"h{number:02}",
        [operation],
        [check] if check else [],
        more.get("error"),
        changing_commands=int(changes),
    )


def unreachable(
    number: int, error: str = "cannot connect to 192.0.2.1: timed out\n  next: try: ssh 192.0.2.1"
) -> HostResult:
    return HostResult(f"h{number:02}", error=error)


@pytest.fixture
def lines() -> Callable[..., list[str]]:
    def of(hosts: list[HostResult], verb: str = "apply", verbose: bool = False) -> list[str]:
        result = RunResult(verb, hosts, 3.21)
        result.name_inventory("prod.yml")
        console = Console(width=120, force_terminal=False)
        with console.capture() as capture:
            terminal.show(result, console, verbose=verbose)
        return [line.rstrip() for line in capture.get().splitlines()]

    return of


def rows(text: list[str]) -> list[str]:
    """The hosts of the summary table."""
    start = next((n for n, line in enumerate(text) if line.startswith("host  ")), len(text))
    return [line.split()[0] for line in text[start + 1 :] if line[:1] == "h" and ":" not in line]


def test_one_quiet_host(lines: Callable[..., list[str]]) -> None:
    text = lines([host(0)])
    assert rows(text) == ["h00"]
    assert text[-1] == "apply: nothing to change in 3.2 s"
    assert len(text) == 3


def test_one_changed_host_with_its_diff(lines: Callable[..., list[str]]) -> None:
    text = lines([host(0, "changed")])
    assert text[:2] == ["changed h00 docker | daemon.json", "    debug: absent, wanted true"]
    assert "    +{[1]}" in text, "brackets of a diff are not markup"
    assert text[-1] == "apply: 1 changed in 3.2 s"


def test_three_hosts_in_trouble_end_with_cause_and_next_command(lines: Callable[..., list[str]]) -> None:
    refused = host(
        2, "failed", operation_error="dockerd refuses: bad\nmore of it\n  next: correct docker.daemon"
    )
    text = lines([host(0, check=FAILS), unreachable(1), refused])
    assert rows(text) == ["h00", "h01", "h02"]
    assert text[-7:] == [
        "h00: docker | docker.service: running: inactive",
        "  next: difyfleet apply prod.yml --role docker",
        "h01: cannot connect to 192.0.2.1: timed out",
        "  next: try: ssh 192.0.2.1",
        "h02: docker | daemon.json: dockerd refuses: bad",
        "  next: correct docker.daemon",
        "apply: 2 failed on 2 of 3 hosts, 1 checks failed in 3.2 s",
    ]


@pytest.mark.parametrize(
    "broken",
    [
        unreachable(0, "the door is shut"),
        host(0, "failed", operation_error="it broke"),
        host(0, check=CheckResult("docker", "x: y", False, "no")),
    ],
)
def test_trouble_without_advice_gets_the_command_for_that_host(
    lines: Callable[..., list[str]], broken: HostResult
) -> None:
    assert lines([broken, host(1)])[-2] == "  next: difyfleet apply prod.yml --limit h00"


def test_fifty_quiet_hosts_are_two_lines(lines: Callable[..., list[str]]) -> None:
    assert lines([host(n) for n in range(50)]) == [
        "50 hosts: nothing to change, all checks hold (-v lists them)",
        "apply: nothing to change in 3.2 s",
    ]
    assert lines([HostResult(f"h{n:02}", checks=[HOLDS]) for n in range(50)], "verify")[0] == (
        "50 hosts: all checks hold (-v lists them)"
    )
    assert len(rows(lines([host(n) for n in range(50)], verbose=True))) == 50


def test_fifty_hosts_with_the_same_change_show_it_once(lines: Callable[..., list[str]]) -> None:
    text = lines([host(n, "would_change", None) for n in range(50)], "plan")
    assert text[0] == "would change all 50 hosts: docker | daemon.json"
    assert sum(line == "    +{[1]}" for line in text) == 1
    assert len(rows(text)) == 50
    assert text[-1] == "plan: 50 would change in 3.2 s"


def test_fifty_hosts_of_which_some_differ(lines: Callable[..., list[str]]) -> None:
    hosts = [unreachable(0), *[host(n, "would_change") for n in range(1, 8)], host(8, check=WARNS)]
    text = lines(hosts + [host(n) for n in range(9, 50)])
    assert text[0] == "would change h01, h02, h03, h04, h05 and 2 more: docker | daemon.json"
    assert rows(text) == ["h00", *[f"h{n:02}" for n in range(1, 9)]]
    assert "41 other hosts: nothing to change, all checks hold (-v lists them)" in text
    assert text[-3:] == [
        "h00: cannot connect to 192.0.2.1: timed out",
        "  next: try: ssh 192.0.2.1",
        "apply: 1 failed on 1 of 50 hosts, 7 would change in 3.2 s",
    ]


def test_equal_check_failures_are_one_row(lines: Callable[..., list[str]]) -> None:
    text = lines([host(n, check=FAILS) for n in range(10)])
    (row,) = [line for line in text if line.startswith("FAIL")]
    assert row.split("  ")[1].strip() == "all 10 hosts"
