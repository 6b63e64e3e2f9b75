"""rollout as a property: whatever fails, and however the waves are cut. Only the work on a host is left out."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from difyfleet.errors import FleetError
from difyfleet.exits import Exit
from difyfleet.fleet import rollout, rollout_state, verbs
from difyfleet.fleet.results import CheckResult, HostResult, RolloutResult, RunResult
from difyfleet.spec.models import Dify, Environment, HostSpec
from difyfleet.spec.rollout import Rollout
from tests.unit.fleet.sandbox import spec

MANY = 12


class Run:
    """A run over hosts of which some fail their check."""

    def __init__(self, hosts: list[HostSpec], failing: set[str], log: list[list[str]]) -> None:
        self.names, self.failing = [one.name for one in hosts], failing
        log.append(self.names)

    def prepare(self, **_: Any) -> None: ...

    def execute(self) -> None: ...

    def check(self) -> None: ...

    def result(self, verb: str, started: float) -> RunResult:
        return RunResult(
            verb,
            [
                HostResult(name, checks=[CheckResult("dify", "answers", name not in self.failing, "")])
                for name in self.names
            ],
        )


class Fleet:
    """Hosts h0, h1, ...; each even one may serve Ollama to some later odd ones."""

    def __init__(self, folder: Path, count: int, servers: list[int], plan: Rollout) -> None:
        hosts = []
        for number in range(count):
            server = servers[number] % max(number, 1)
            uses = number % 2 == 1 and server % 2 == 0
            url = f"http://h{server}:11434" if uses else "http://ollama:11434"
            hosts.append(
                spec(f"h{number}", ollama={"enabled": not uses}, dify=Dify(ollama_url=url).model_dump())
            )
        hosts.reverse()  # so that order has to be made
        self.environment = Environment(name="inv", path=folder / "inv.yml", hosts=tuple(hosts), rollout=plan)
        self.log: list[list[str]] = []
        self.failing: set[str] = set()

    @contextlib.contextmanager
    def engine(self, hosts: list[HostSpec], **_: Any) -> Iterator[Run]:
        yield Run(hosts, self.failing, self.log)

    def roll(self, work: rollout.Work) -> RolloutResult:
        self.log.clear()
        return rollout.run(work, reason="rollout inv.yml")

    @property
    def worked_on(self) -> set[str]:
        return {name for step in self.log for name in step}


plans = st.builds(
    lambda counts, shares, most: Rollout(
        waves=[*sorted(counts), *(f"{share}%" for share in sorted(shares)), "100%"], max_failures=most
    ),
    st.lists(st.integers(1, MANY), max_size=2, unique=True),
    st.lists(st.integers(1, 99), max_size=2, unique=True),
    st.integers(0, 3),
)


@settings(max_examples=25, deadline=None)
@given(
    count=st.integers(1, MANY),
    servers=st.lists(st.integers(0, MANY), min_size=MANY, max_size=MANY),
    broken=st.sets(st.integers(0, MANY - 1), max_size=5),
    plan=plans,
)
def test_whatever_fails_later_waves_are_untouched_and_resume_ends_it(
    count: int, servers: list[int], broken: set[int], plan: Rollout
) -> None:
    with tempfile.TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        folder = Path(name)
        patch.setenv("DIFYFLEET_STATE_DIR", str(folder / "state"))
        fleet = Fleet(folder, count, servers, plan)
        patch.setattr(rollout, "engine", fleet.engine)
        fleet.failing = {f"h{number}" for number in broken}
        hosts = fleet.environment.hosts
        work = rollout.new(fleet.environment, hosts, limit=None, roles=())
        result = fleet.roll(work)

        assert sorted(name for wave in result.waves for name in wave) == sorted(one.name for one in hosts)
        failed = [name for wave in result.waves for name, state in wave.items() if state == "failed"]
        assert set(failed) == fleet.failing & fleet.worked_on
        assert (result.halt is not None) == (len(failed) > plan.max_failures)
        if result.halt is not None:
            assert verbs.exit_code(result) == Exit.HALTED
            later = {name for wave in result.waves[result.halt.wave :] for name in wave}
            assert not later & fleet.worked_on
        needed = rollout.needs(hosts)
        for step, names in enumerate(fleet.log):
            before = {one for earlier in fleet.log[:step] for one in earlier} - fleet.failing
            assert all(needed[one] <= before for one in names), "after what it needs, and that is well"

        done = {name for wave in result.waves for name, state in wave.items() if state == "done"}
        fleet.failing = set()
        if len(done) == count:
            with pytest.raises(FleetError, match="complete"):
                rollout.resumable(fleet.environment.path, only_failed=False)
            return
        state = rollout.resumable(fleet.environment.path, only_failed=False)
        again = fleet.roll(rollout.resumed(fleet.environment, hosts, state, only_failed=False))
        assert verbs.exit_code(again) == Exit.OK
        assert again.next is None
        assert fleet.worked_on == {one.name for one in hosts} - done
        last = rollout_state.last(fleet.environment.path)
        assert last is not None
        assert last.complete
