"""Rows of runs that change nothing on many hosts, all of them addresses of the one lab host: as it is, and with recorded answers."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from bench import ansible, inventory, measure
from bench.contenders import contenders
from bench.controller import Controller
from bench.nochange import HOST, chosen, ready
from bench.pairs import rounds, say
from bench.table import Row
from lab import container, engine
from lab.engine import run
from lab.network import Network
from lab.state import CHECKOUT, Host

ROLES = (
    "docker",
    "images",
    "ollama",
    "openwebui",
    "dify",
)  # Dify lets nobody log in a hundred times a minute
REPLAYED_ROLES = ("docker", "images", "ollama", "dify")  # those that only run commands
_FIRST = 100  # 10.0.2.100: the first of the extra addresses
_ANSWERS = "/var/lib/bench-answers"  # as in replay.c
_SHELL = "/usr/local/bin/bench-replay"
_SERVER = "/usr/local/lib/bench-replay-server.py"
_UP = f"for _ in $(seq 100); do [ -S {_ANSWERS}/server ] && exit 0; sleep 0.1; done; exit 1"
_USER = "replayed"
_SKIP = ("clock",)  # a recorded clock stands still


def real(counts: Sequence[int], milliseconds: float, pairs: int, only: Sequence[str]) -> Iterator[Row]:
    """One row per number of hosts, each doing its own work."""
    lab, host, watch, mitogen = ready()
    controller = Controller(lab)
    what = f"addresses of the one lab host, roles {', '.join(ROLES)}; their processor time is spent beside the controller's"
    for count in counts:
        addresses = _addresses(lab, count)
        path = inventory.write(f"fleet{count}", addresses, _known_hosts(host, addresses.values()))
        ansible.declare(lab, HOST, path)
        found = chosen(contenders(path, list(addresses), mitogen, ROLES), only, count)
        with controller.at(milliseconds):
            say(f"no-change run, {count} hosts, round trip {milliseconds:g} ms")
            runs = rounds(found, count, pairs, controller, watch)
            yield Row(f"no change, {count} hosts, {milliseconds:g} ms", what, runs, count)


def replayed(counts: Sequence[int], milliseconds: float, pairs: int, only: Sequence[str]) -> Iterator[Row]:
    """One row per number of hosts whose sshd is real and whose answers are recorded: what is left is the controller's own time.

    Ansible is not among the contenders: what it sends is another program each time.
    """
    lab, host, watch, _ = ready()
    controller = Controller(lab)
    what = f"sshd is real, answers of roles {', '.join(REPLAYED_ROLES)} are recorded from the lab host and cost it almost nothing"
    _make_user(lab)
    with controller.at(0):
        _record(lab, host, controller)
    with _server(lab):
        for count in counts:
            addresses = _addresses(lab, count)
            path = inventory.write(
                f"replay{count}", addresses, _known_hosts(host, addresses.values()), user=_USER, skip=_SKIP
            )
            found = chosen(contenders(path, list(addresses), None, REPLAYED_ROLES), only, count)
            found = [each for each in found if "Ansible" not in each.name]
            with controller.at(milliseconds):
                say(f"no-change run, {count} hosts with recorded answers, round trip {milliseconds:g} ms")
                runs = rounds(found, count, pairs, controller, watch)
                yield Row(f"no change, {count} replayed hosts, {milliseconds:g} ms", what, runs, count)


def _make_user(lab: Network) -> None:
    """A user of the lab host whose login shell is replay.c."""
    engine.ensure("gcc")
    program = inventory.folder() / "replay"
    run(["gcc", "-O2", "-static", "-o", str(program), str(CHECKOUT / "bench" / "replay.c")])
    run(["docker", "cp", str(program), f"{lab.name}-{HOST}:{_SHELL}"])
    script = f"""
        set -e
        id {_USER} >/dev/null 2>&1 || useradd -m -s {_SHELL} {_USER}
        install -d -m 0700 -o {_USER} /home/{_USER}/.ssh {_ANSWERS}
        install -m 0600 -o {_USER} /home/{inventory.USER}/.ssh/authorized_keys /home/{_USER}/.ssh/authorized_keys
        rm -f {_ANSWERS}/*
        echo '{_USER} ALL=(ALL) NOPASSWD: ALL' >/etc/sudoers.d/bench
        chmod 0755 {_SHELL}
        chmod 0440 /etc/sudoers.d/bench
    """
    run(container.execute(lab, HOST, ["sh", "-c", script]))


def _record(lab: Network, host: Host, controller: Controller) -> None:
    """Keep the answers of one plan that reads one by one.

    Raises:
        RunFailed: the plan was not empty.
    """
    path = inventory.write("record", {"h0": host.address}, user=_USER, skip=_SKIP)
    by_one = next(each for each in contenders(path, ["h0"], None, REPLAYED_ROLES) if "off" in each.name)
    with _recording(lab):
        _, output = measure.run(controller.argv(list(by_one.argv)), cwd=CHECKOUT, env=by_one.env)
        by_one.unchanged(output, 1)


@contextlib.contextmanager
def _server(lab: Network) -> Iterator[None]:
    """Inside, the host's side of read-ahead is replay_server.py."""
    run(["docker", "cp", str(CHECKOUT / "bench" / "replay_server.py"), f"{lab.name}-{HOST}:{_SERVER}"])
    words = ["python3", _SERVER, f"{_ANSWERS}/server", _ANSWERS]
    with subprocess.Popen(container.execute(lab, HOST, words), stdin=subprocess.DEVNULL) as server:
        try:
            run(container.execute(lab, HOST, ["sh", "-c", _UP]), timeout=30)
            yield
        finally:
            run(container.execute(lab, HOST, ["pkill", "-f", _SERVER]), check=False)
            server.wait(10)


@contextlib.contextmanager
def _recording(lab: Network) -> Iterator[None]:
    mark = f"{_ANSWERS}/recording"
    run(container.execute(lab, HOST, ["touch", mark]))
    try:
        yield
    finally:
        subprocess.run(container.execute(lab, HOST, ["rm", "-f", mark]), timeout=60, check=True)


def _addresses(lab: Network, count: int) -> Mapping[str, str]:
    """So many names and addresses, to all of which the lab host answers."""
    found = {f"h{number}": f"10.0.2.{_FIRST + number}" for number in range(count)}
    holder = run(["docker", "inspect", "-f", "{{.State.Pid}}", f"{lab.name}-{HOST}-net"]).stdout.strip()
    script = "".join(f"address replace {address}/24 dev eth0\n" for address in found.values())
    run(["nsenter", "-t", holder, "-n", "ip", "-batch", "-"], input=script)
    return found


def _known_hosts(host: Host, addresses: Iterable[str]) -> Path:
    """A known_hosts file in which each address has the host's key."""
    key = next(
        line.split(" ", 1)[1]
        for line in (inventory.LAB / "known_hosts").read_text().splitlines()
        if line.startswith(f"{host.address} ")
    )
    path = inventory.folder() / "known_hosts"
    path.write_text("".join(f"{address} {key}\n" for address in addresses))
    return path
