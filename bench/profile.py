"""``python -m bench.profile``: the controller's own time for a no-change plan, without SSH: hosts are answered in this process.

    python -m bench.profile record             keep the answers of the lab host (which `apply` has made)
    python -m bench.profile run [N,...]        processor time and peak memory of a plan of N hosts, and what an added host costs
    python -m bench.profile plan N             one such plan; its JSON on standard output
    python -m bench.profile where N [ORDER]    the same under cProfile; ORDER: tottime (default) or cumtime

Every host has secrets of its own. Connecting is not in it (see `make bench BENCH=replay`), nor are roles that ask over HTTP.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import queue
import sys
import time
from collections import ChainMap
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from bench import inventory, measure, recording
from bench.contenders import plan_is_empty
from bench.nochange import HOST
from bench.recording import Answers
from lab.state import CHECKOUT

ROLES = ("docker", "images", "ollama", "dify")  # those that only run commands
_STATE = inventory.FOLDER / "profile-state"
_OTHERS = inventory.FOLDER / "answers-others.json"


class Host:
    """The host's side of a mux (remote/mux.py) as a channel: reads are answered from the recording."""

    def __init__(self, answers: Mapping[str, tuple[int, str, str]]) -> None:
        self._answers = answers
        self._in = bytearray()
        self._nonce = ""
        self._out: queue.Queue[bytes] = queue.Queue()

    def settimeout(self, seconds: float) -> None:
        """Nothing here is late."""

    def sendall(self, data: bytes) -> None:
        self._in += data
        while (end := self._in.find(b"\n")) >= 0:
            line = bytes(self._in[: end + 1])
            if not (self._nonce or line.startswith(b"{")):  # the program, in parts
                end += int(line.partition(b" ")[2] or 0)
            elif not self._nonce:
                self._nonce = json.loads(line)["nonce"]
                self._out.put(f"{self._nonce} ready\n".encode())
            else:
                what, *words = json.loads(line)
                if what == "code":
                    end += words[1]
                elif what == "reads":
                    self._answer(words[0])
            del self._in[: end + 1]

    def _answer(self, reads: list[Any]) -> None:
        for number, line, *_ in reads:
            status, out, err = self._answers[line]
            head = f"{self._nonce} read {number} {status} {time.monotonic():.3f} {len(out.encode())} {len(err.encode())}\n"
            self._out.put(f"{head}{out}{err}".encode())

    def recv(self, size: int) -> bytes:
        return self._out.get()  # one block at a time; none is larger than the mux takes

    def close(self) -> None:
        self._out.put(b"")


def record() -> None:
    """Keep what the lab host says to each read of a plan that reads one by one."""
    os.environ["DIFYFLEET_READ_AHEAD"] = "0"
    from difyfleet.fleet import patched  # noqa: F401 - before anything else, as for the command
    from difyfleet.remote.door import DoorConnector

    found: Answers = {}
    original = DoorConnector._exec_in_channel

    def kept(self: Any, line: str, stdin: str, timeout: int) -> Any:
        status, output = original(self, line, stdin, timeout)
        out, err = (
            "".join(f"{one}\n" for one in lines) for lines in (output.stdout_lines, output.stderr_lines)
        )
        found[line] = status, out, err
        return status, output

    DoorConnector._exec_in_channel = kept  # type: ignore[method-assign]
    plan_is_empty(_plan(inventory.write("record", {HOST: None}, skip=("clock",))), 1)
    recording.keep(found)


@contextlib.contextmanager
def answered(of: Callable[[str], Mapping[str, tuple[int, str, str]]]) -> Iterator[None]:
    """Hosts are there at once, and answer from the recording.

    Args:
        of: the answers of a host by its name.
    """
    from pyinfra.connectors.util import CommandOutput, OutputLine

    from difyfleet.remote.door import DoorConnector

    def exec_in_channel(self: Any, line: str, stdin: str, timeout: int) -> Any:
        status, *texts = of(self.host.name)[line]
        return status, CommandOutput(
            [
                OutputLine(name, line)
                for name, text in zip(("stdout", "stderr"), texts, strict=True)
                for line in text.splitlines()
            ]
        )

    stand_ins: dict[str, Callable[..., Any]] = {
        "connect": lambda self: None,
        "require_connection": lambda self, cause=None: None,
        "open": lambda self, line: Host(of(self.host.name)),
        "_exec_in_channel": exec_in_channel,
    }
    before = {name: getattr(DoorConnector, name) for name in stand_ins}
    for name, function in stand_ins.items():
        setattr(DoorConnector, name, function)
    try:
        yield
    finally:
        for name, function in before.items():
            setattr(DoorConnector, name, function)


def _plan(path: Path) -> str:
    """The JSON of `difyfleet plan`, made as the command makes it."""
    from difyfleet.cli.common import make_console, selected
    from difyfleet.cli.watch import watching

    console = make_console()
    environment, hosts = selected(path, None, console)
    from difyfleet.fleet import verbs

    with watching(console, quiet=True):
        result = verbs.plan(hosts, roles=ROLES, environment=environment)
    from difyfleet.report import terminal  # noqa: F401 - as the command does

    return json.dumps(result.to_json(), ensure_ascii=False) + "\n"


def plan(count: int) -> str:
    """A plan of so many hosts."""
    from difyfleet.fleet import patched  # noqa: F401 - before anything else, as for the command

    shared = recording.kept()
    others = json.loads(_OTHERS.read_text())
    with answered(lambda name: ChainMap(others[name], shared)):
        return _plan(_inventory(count))


def _inventory(count: int) -> Path:
    addresses: dict[str, str | None] = {f"h{number}": f"10.0.2.{number}" for number in range(1, count + 1)}
    return inventory.write(f"profile{count}", addresses, skip=("clock",))


def _make_others(count: int) -> None:
    from difyfleet.spec.loader import load

    shared = recording.kept()
    hosts = load(_inventory(count)).hosts
    made = {spec.name: recording.of_another_host(shared, spec, number) for number, spec in enumerate(hosts)}
    _OTHERS.touch(mode=0o600)
    _OTHERS.write_text(json.dumps(made))


def run(counts: list[int]) -> None:
    """Print what plans of these numbers of hosts take: a cold process each, after one that has learned."""
    found: dict[int, measure.Run] = {}
    for count in counts:
        _make_others(count)
        argv = [sys.executable, "-m", "bench.profile", "plan", str(count)]
        environment = {"DIFYFLEET_STATE_DIR": str(_STATE)}
        measure.run(argv, cwd=CHECKOUT, env=environment)
        found[count], output = measure.run(argv, cwd=CHECKOUT, env=environment)
        plan_is_empty(output, count)
        one = found[count]
        print(f"{count:4} hosts: CPU {one.cpu:.2f} s, wall {one.wall:.2f} s, peak {one.peak:.0f} MiB")
    for few, many in itertools.pairwise(counts):
        added = (found[many].cpu - found[few].cpu) / (many - few)
        print(f"controller CPU per added host, {few} to {many}: {added * 1000:.1f} ms")


def where(count: int, order: str = "tottime") -> None:
    """Print where a plan spends its time."""
    import cProfile
    import pstats

    _make_others(count)
    os.environ["DIFYFLEET_STATE_DIR"] = str(_STATE)
    profile = cProfile.Profile(time.process_time)
    profile.runcall(plan, count)
    pstats.Stats(profile).strip_dirs().sort_stats(order).print_stats(70)


def main(words: list[str]) -> int:
    if words[:1] == ["record"]:
        record()
    elif words[:1] == ["run"]:
        run([int(word) for word in (words[1] if words[1:] else "1,10,50,100").split(",")])
    elif words[:1] == ["plan"] and len(words) == 2:
        sys.stdout.write(plan(int(words[1])))
    elif words[:1] == ["where"] and len(words) > 1:
        where(int(words[1]), *words[2:3])
    else:
        print(__doc__, file=sys.stderr)
        return 64
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
