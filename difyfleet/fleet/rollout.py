"""rollout: apply in waves, with all checks as the gate between them."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from difyfleet.errors import FleetError, Locked
from difyfleet.exits import Exit
from difyfleet.fleet import events, rollout_state, verbs
from difyfleet.fleet.engine import engine
from difyfleet.fleet.results import FAILED, Halt, HostResult, RolloutResult, RunResult
from difyfleet.fleet.rollout_state import RolloutState
from difyfleet.fleet.waves import Wave, needs, waves
from difyfleet.progress import report
from difyfleet.remote import journal
from difyfleet.spec.models import Environment, HostSpec


@dataclass(frozen=True)
class Work:
    """What a rollout is about to do.

    Args:
        hosts: all its hosts, done ones too, in the order of the inventory.
        waves: the hosts still to be done; where all of a wave are done it is empty.
    """

    environment: Environment
    hosts: tuple[HostSpec, ...]
    waves: tuple[Wave, ...]
    state: RolloutState

    @property
    def to_do(self) -> tuple[HostSpec, ...]:
        chosen = {spec.name for wave in self.waves for step in wave for spec in step}
        return tuple(spec for spec in self.hosts if spec.name in chosen)


def new(
    environment: Environment, hosts: Iterable[HostSpec], *, limit: str | None, roles: Iterable[str]
) -> Work:
    """A rollout from its beginning.

    Args:
        hosts: those that `limit` chooses.

    Raises:
        FleetError: the hosts have no order (waves.ordered).
    """
    hosts = tuple(hosts)
    state = rollout_state.new(environment.path, limit, roles, hosts)
    return Work(environment, hosts, tuple(waves(hosts, environment.rollout)), state)


def resumable(inventory: Path, *, only_failed: bool) -> RolloutState:
    """The last rollout of an inventory, which is to be gone on with.

    Raises:
        FleetError: there is none, or nothing is left to do.
    """
    state = rollout_state.last(inventory)
    start = f"difyfleet rollout {inventory}"
    if state is None:
        raise FleetError(
            "there was no rollout on this machine, so none to resume", where=str(inventory), hint=start
        )
    if state.complete:
        raise FleetError(
            f"the last rollout ({state.began}) is complete, there is nothing to resume",
            where=str(inventory),
            hint=start,
        )
    if only_failed and not _failed(state):
        raise FleetError(
            f"no host failed in the last rollout ({state.began})",
            where=str(inventory),
            hint=f"{start} --resume",
        )
    return state


def unfinished(inventory: Path) -> RolloutState | None:
    """The last rollout of an inventory, if it was begun and not completed."""
    with contextlib.suppress(FleetError):  # a damaged file does not keep a new rollout from being started
        state = rollout_state.last(inventory)
        if state is not None and not state.complete:
            return state
    return None


def resumed(
    environment: Environment, hosts: Iterable[HostSpec], state: RolloutState, *, only_failed: bool
) -> Work:
    """The rest of a rollout: in the waves that it had, the hosts that are not done, and those done whose declaration has changed since.

    Args:
        hosts: those that the rollout's `limit` chooses in the inventory as it is now.
        only_failed: only the hosts that failed or were interrupted.
    """
    hosts = tuple(hosts)
    now = rollout_state.digests(hosts)
    known = {name: one for name, one in state.hosts.items() if name in now}
    for name, digest in now.items():
        one = known.get(name)
        if one is None or (one.state == rollout_state.DONE and one.digest != digest):
            known[name] = rollout_state.HostState()
    state.hosts = known
    chosen = _failed(state) if only_failed else {n for n, s in known.items() if s.state != rollout_state.DONE}
    return Work(environment, hosts, tuple(waves(hosts, environment.rollout, only=chosen)), state)


def plan(work: Work) -> RunResult:
    """What the rollout would change, over all its waves; changes nothing."""
    return verbs.plan(work.to_do, roles=work.state.roles, environment=work.environment)


def run(work: Work, *, reason: str, lock_wait: float = 0) -> RolloutResult:
    """Carry a rollout out, wave after wave, until it is done or halts. After each step the state file tells how far it came.

    Args:
        reason, lock_wait: of the hosts' leases, which are taken for each wave when it is its turn.

    Raises:
        Locked: another rollout of this inventory runs on this machine.
    """
    with rollout_state.alone(work.environment.path):
        journal.use(None)
        work.state.save()
        return _Run(work, reason, lock_wait).result()


class _Run:
    """A rollout under way."""

    def __init__(self, work: Work, reason: str, lock_wait: float) -> None:
        self._work, self._reason, self._lock_wait = work, reason, lock_wait
        self._state = work.state
        self._digests = rollout_state.digests(work.to_do)
        self._needs = needs(work.hosts)
        self._began = time.monotonic()
        self._results: dict[str, HostResult] = {}
        self._failures: list[str] = []  # one line per failed host

    def result(self) -> RolloutResult:
        halt = self._all_waves()
        hosts = [self._results.get(spec.name) or self._not_run(spec, halt) for spec in self._work.hosts]
        shown = [
            {spec.name: self._state.hosts[spec.name].state for step in wave for spec in step}
            for wave in waves(self._work.hosts, self._work.environment.rollout)
        ]
        seconds = time.monotonic() - self._began
        left = None if self._state.complete else "difyfleet rollout INVENTORY --resume"
        book = str(journal.current().path)
        return RolloutResult("rollout", hosts, seconds, book, waves=shown, halt=halt, next=left)

    def _all_waves(self) -> Halt | None:
        last = len(self._work.waves)
        for number, wave in enumerate(self._work.waves, 1):
            names = [spec.name for step in wave for spec in step]
            events.emit(events.WaveStarted(wave=number, of=last, hosts=names))
            halt = self._wave(number, wave)
            done = [name for name in names if self._state.hosts[name].state == rollout_state.DONE]
            events.emit(events.WaveFinished(wave=number, of=last, done=done, halted=halt is not None))
            if halt is not None:
                return halt
        return None

    def _wave(self, number: int, wave: Sequence[Sequence[HostSpec]]) -> Halt | None:
        for step in wave:
            try:
                self._step([spec for spec in step if not self._blocked_by(spec)], number)
            except Locked as error:
                self._state.set([spec.name for spec in step], rollout_state.UNTOUCHED)
                return Halt(number, [str(error)], locked=True)
            if len(self._failures) > self._work.environment.rollout.max_failures:
                return Halt(number, self._failures)
        return None

    def _step(self, hosts: Sequence[HostSpec], number: int) -> None:
        """Apply and check hosts side by side."""
        if not hosts:
            return
        for spec in hosts:
            report(spec.name, f"wave {number} of {len(self._work.waves)}")
        self._state.set([spec.name for spec in hosts], rollout_state.STARTED)
        with engine(
            hosts,
            roles=self._state.roles,
            environment=self._work.environment,
            neighbours=self._done_before(hosts),
            lease=self._reason,
            lock_wait=self._lock_wait,
            new_journal=False,
        ) as run:
            run.prepare(check_for_changes=False)
            run.execute()
            run.check()
            done = run.result("rollout", self._began)
        for host in done.hosts:
            self._results[host.name] = host
            why = _failure(host)
            if why is not None:
                self._failures.append(f"{host.name}: {why}")
            self._state.set(
                [host.name],
                rollout_state.FAILED if why else rollout_state.DONE,
                None if why else self._digests,
            )

    def _done_before(self, hosts: Sequence[HostSpec]) -> list[HostSpec]:
        """The hosts that this rollout has done: only they may be asked for images and models, later ones stay untouched."""
        states = self._state.hosts
        return [
            spec
            for spec in self._work.environment.hosts
            if spec.name in states and spec not in hosts and states[spec.name].state == rollout_state.DONE
        ]

    def _blocked_by(self, spec: HostSpec) -> str | None:
        """A host that this one needs and that is not done in this rollout."""
        states = self._state.hosts
        return next(
            (name for name in sorted(self._needs[spec.name]) if states[name].state != rollout_state.DONE),
            None,
        )

    def _not_run(self, spec: HostSpec, halt: Halt | None) -> HostResult:
        """The result of a host that this run has not worked on, and why."""
        state, blocker = self._state.hosts[spec.name].state, self._blocked_by(spec)
        if state == rollout_state.DONE:
            note = f"done earlier in this rollout, which began at {self._state.began}"
        elif halt is not None and halt.locked:
            note = f"untouched: the rollout stopped before it, in wave {halt.wave}"
        elif halt is not None:
            note = f"untouched: the rollout halted in wave {halt.wave}"
        elif blocker is not None:
            note = f"untouched: it uses the Ollama of {blocker}, which is not done"
        else:
            note = "not part of this run"
        return HostResult(spec.name, note=note)


def _failed(state: RolloutState) -> set[str]:
    broken = (rollout_state.FAILED, rollout_state.STARTED)
    return {name for name, host in state.hosts.items() if host.state in broken}


def _failure(host: HostResult) -> str | None:
    """Why a host does not pass the gate, in one line; None = it does."""
    if verbs.exit_code(RunResult("rollout", [host])) == Exit.OK:
        return None
    for operation in host.operations:
        if operation.state == FAILED:
            return f"{operation.role} | {operation.name}: {_line(operation.error)}"
    if host.error:
        return _line(host.error)
    bad = host.failed_checks
    more = f" (and {len(bad) - 1} more checks)" if len(bad) > 1 else ""
    return f"{bad[0].role} | {bad[0].name}: {bad[0].evidence}{more}" if bad else "not everything was done"


def _line(text: str | None) -> str:
    return (text or "failed").strip().splitlines()[0]
