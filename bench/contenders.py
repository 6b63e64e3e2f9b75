"""The programs that are compared, each looking at the same declared host and finding nothing to do."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench import ansible, inventory
from bench.measure import RunFailed
from lab.state import CHECKOUT

_BIN = CHECKOUT / ".venv" / "bin"


@dataclass(frozen=True)
class Contender:
    """One program.

    Attributes:
        argv: for the hosts that bench.inventory has written.
        unchanged: raises RunFailed unless the output says that all hosts were looked at and nothing was to be done.
        before: a command that it needs before its first run.
        learns: it remembers something from one run to the next, so it runs twice before its time is taken.
        codes: exit codes after which the output says what happened.
        most_hosts: with more it is left out: it would take too long.
    """

    name: str
    argv: Sequence[str]
    unchanged: Callable[[str, int], None]
    env: Mapping[str, str] = field(default_factory=dict)
    before: Sequence[str] = ()
    learns: bool = False
    codes: tuple[int, ...] = (0,)
    most_hosts: int = 1000


def contenders(
    path: Path, names: Sequence[str], mitogen: Path | None, roles: Sequence[str] = ()
) -> list[Contender]:
    """All of them for one inventory; ours first.

    Args:
        path: the inventory, as bench.inventory.write gives it.
        mitogen: its folder of strategies; None where it could not be installed.
        roles: only these, none of them inside Dify; empty = all.
    """
    only = [word for role in roles for word in ("--role", role)]
    ours = [str(_BIN / "difyfleet"), "plan", str(path), "--json", *only]
    quick = [str(_BIN / "difyfleet"), "drift", str(path), "--quick", "--json", *only]
    state = {"DIFYFLEET_STATE_DIR": str(inventory.FOLDER / "state")}
    stock = [
        str(_BIN / "pyinfra"),
        "--dry",
        "--json",
        "--parallel",
        str(len(names)),
        "bench/stock_pyinfra.py",
        "deploy.py",
    ]
    play = ansible.command(path.with_suffix(".ansible.json"), skip_tags="inside" if roles else "")
    found = [
        Contender("difyfleet plan", ours, plan_is_empty, state, learns=True, codes=(0, 2)),
        Contender(
            "difyfleet drift --quick",
            quick,
            all_as_before,
            state,
            before=[str(_BIN / "python"), "-m", "bench.remember", str(path), *roles],
            codes=(0, 2, 5),
        ),
        Contender(
            "difyfleet plan, read-ahead off",
            ours,
            plan_is_empty,
            {**state, "DIFYFLEET_READ_AHEAD": "0"},
            codes=(0, 2),
        ),
        Contender(
            "plain pyinfra --dry, same roles",
            stock,
            pyinfra_is_empty,
            {**state, "BENCH_INVENTORY": str(path), "BENCH_ROLES": " ".join(roles)},
        ),
        Contender(
            "Ansible, pipelining",
            play,
            ansible_is_unchanged,
            ansible.environment(None, len(names)),
            most_hosts=10,
        ),
    ]
    if mitogen is not None:
        found.append(
            Contender(
                "Ansible, Mitogen",
                play,
                ansible_is_unchanged,
                ansible.environment(mitogen, len(names)),
                most_hosts=10,
            )
        )
    if len(names) == 1:
        found.append(Contender("ssh host true", bare_ssh(path), lambda output, hosts: None))
    return found


def bare_ssh(path: Path) -> list[str]:
    """`ssh host true`, with the key exchange that paramiko uses too: OpenSSH's own default costs 80 ms more of processor time."""
    import yaml

    declared = yaml.safe_load(path.read_text())
    (host,) = declared["hosts"].values()
    ssh = declared["ssh"]
    return [
        "ssh", "-F", "none", "-i", ssh["key"], "-o", f"UserKnownHostsFile={ssh['known_hosts']}", "-o", "BatchMode=yes",
        "-o", "KexAlgorithms=curve25519-sha256", f"{ssh['user']}@{host['address']}", "true",
    ]  # fmt: skip


def plan_is_empty(output: str, hosts: int) -> None:
    """The JSON of `difyfleet plan`: all hosts, no change, no failure."""
    result = json.loads(output)
    summary = result["summary"]
    if (summary["hosts"], summary["would_change"], summary["failed"]) != (hosts, 0, 0) or not summary[
        "operations"
    ]:
        pending = sorted(
            {
                f"{operation['role']}: {operation['name']}"
                for host in result["hosts"]
                for operation in host["operations"]
                if operation["state"] == "would_change"
            }
        )
        raise RunFailed(
            f"the plan is not empty ({', '.join(pending)}; {summary}): .venv/bin/difyfleet apply inventory/lab.yml --yes"
        )


def all_as_before(output: str, hosts: int) -> None:
    """The JSON of `difyfleet drift --quick`: all hosts, none of them looked at in full."""
    plan_is_empty(output, hosts)
    full = [host["name"] for host in json.loads(output)["hosts"] if not host["as_of"]]
    if full:
        raise RunFailed(f"looked at in full: {', '.join(full)}")


def pyinfra_is_empty(output: str, hosts: int) -> None:
    """The JSON of `pyinfra --dry --json`: operations, and no host with a change in any."""
    plan = json.loads(output)["plan"]
    pending = [
        entry["name"]
        for entry in plan
        if entry["hosts_with_change"] or entry["hosts_with_conditional_change"]
    ]
    if pending or not plan:
        raise RunFailed(f"pyinfra would change: {pending}" if plan else "pyinfra planned nothing")


_RECAP = re.compile(r"^\S+\s+: ok=(\d+)\s+changed=(\d+)\s+unreachable=(\d+)\s+failed=(\d+)", re.MULTILINE)


def ansible_is_unchanged(output: str, hosts: int) -> None:
    """The recap of ansible-playbook: all hosts, tasks done, none changed, none failed."""
    recap = [tuple(map(int, found)) for found in _RECAP.findall(output)]
    if len(recap) != hosts or any(
        ok == 0 or (changed, lost, failed) != (0, 0, 0) for ok, changed, lost, failed in recap
    ):
        raise RunFailed(f"the play changed something or failed: {output[-3000:]}")
