"""One run over hosts: connect, run deploy.py on each (the plan), execute, check. All verbs are views on it."""

from __future__ import annotations

from difyfleet.fleet import patched  # isort: skip  # noqa: F401 - gevent must patch before anything opens a socket

import contextlib
import functools
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import gevent
import gevent.pool
from pyinfra import logger as pyinfra_logger
from pyinfra.api import Config, Inventory, State
from pyinfra.api.exceptions import PyinfraError
from pyinfra.api.operations import run_host_op
from pyinfra.api.state import StateStage
from pyinfra.context import ctx_config, ctx_host, ctx_inventory, ctx_state

from difyfleet import stack
from difyfleet.errors import FleetError
from difyfleet.fleet import events, leases
from difyfleet.fleet.callbacks import ConnectErrors, Said
from difyfleet.fleet.clean_looks import CleanLook
from difyfleet.fleet.declared import Memory
from difyfleet.fleet.inventory import names_and_data
from difyfleet.fleet.neighbours import connected
from difyfleet.fleet.reading_ahead import DECLARE, EXECUTE, Readers
from difyfleet.fleet.results import (
    CHANGED,
    FAILED,
    SKIPPED,
    UNCHANGED,
    WOULD_CHANGE,
    CheckResult,
    HostResult,
    OperationResult,
    RunResult,
)
from difyfleet.notes import notes
from difyfleet.paths import deploy_file, stack_root
from difyfleet.progress import report
from difyfleet.remote import journal
from difyfleet.remote.neighbours import Neighbours
from difyfleet.remote.read_ahead import Evidence
from difyfleet.secrets import mask
from difyfleet.spec.models import Environment, HostSpec

_HANG_UP_SECONDS = 15  # for all hosts together; the process ends soon, and connections with it


class Engine:
    """A connected set of hosts on which deploy.py can be planned, executed and checked.

    Args:
        hosts: specs of the hosts to work on.
        roles: only these roles (preflight always runs); empty = all.
        parallel: hosts worked on at once; 0 = all of them.
        switches: more host data that roles look at (`reprobe_mirrors`).
        environment: what the hosts belong to; with it changes are told apart by what the controller remembers of it.
        neighbours: more hosts from which images and models may be taken; connected only when that is needed.
    """

    def __init__(
        self,
        hosts: Iterable[HostSpec],
        *,
        roles: Iterable[str] = (),
        parallel: int = 0,
        switches: Mapping[str, Any] | None = None,
        environment: Environment | None = None,
        neighbours: Iterable[HostSpec] = (),
    ) -> None:
        specs = list(hosts)
        self._memory = Memory(environment) if environment is not None else None
        self.results = {spec.name: HostResult(spec.name) for spec in specs}
        timeout = max((spec.ssh.connect_timeout for spec in specs), default=15)
        shared = {"roles_only": tuple(roles), **(switches or {})}
        self._inventory = Inventory((names_and_data(specs), shared))
        others = tuple(neighbours)
        self._neighbours = Neighbours(
            self._inventory, functools.partial(connected, others) if others else tuple
        )
        shared["neighbours"] = self._neighbours
        config = Config(CONNECT_TIMEOUT=timeout, PARALLEL=parallel or max(len(specs), 1))
        self.state = State(self._inventory, config, check_for_changes=True)
        self._callbacks = ConnectErrors()
        self.state.add_callback_handler(self._callbacks)
        self._said = Said()
        self._alive: list[Any] = []
        self._code: Any = None
        self._readers = Readers(roles, switches)
        self._evidence: dict[str, Evidence | None] = {}

    def __enter__(self) -> Engine:
        self._previous_handlers = list(pyinfra_logger.handlers)
        pyinfra_logger.handlers[:] = [self._said]
        pyinfra_logger.propagate = False
        self._contexts = contextlib.ExitStack()
        for context, value in (
            (ctx_state, self.state),
            (ctx_config, self.state.config),
            (ctx_inventory, self._inventory),
        ):
            self._contexts.enter_context(context.use(value))
        return self

    def __exit__(self, *_: object) -> None:
        self._neighbours.close()
        leases.give_back(self._inventory)
        there = [host for host in self._inventory if host.connected]
        gevent.joinall([gevent.spawn(_hang_up, host) for host in there], timeout=_HANG_UP_SECONDS)
        self._contexts.close()
        pyinfra_logger.handlers[:] = self._previous_handlers

    # -- phases ---------------------------------------------------------------------------------------------

    def connect(self) -> None:
        """Connect to all hosts at once. A host that cannot be reached gets an error; the others go on."""
        self.state.set_stage(StateStage.Connect)

        def connect(host: Any) -> None:
            report(host.name, "connecting")
            host.connect(show_errors=False)
            if host.connected:
                events.emit(events.HostConnected(host=host.name))
                self.state.activate_host(host)
                self._alive.append(host)
            else:
                self._fail(host, self._callbacks.errors.get(host.name, "cannot connect"))

        self._each(list(self._inventory), connect)

    def lock(self, reason: str, wait: float = 0) -> None:
        """Take the lease of every connected host, or none: see leases.take_all. The end of the run gives them back."""
        leases.take_all([host for host in self._inventory if host in self._alive], reason, wait, self._fail)

    def prepare(self, *, check_for_changes: bool = True) -> None:
        """Run deploy.py on every connected host. With check_for_changes this is the plan."""
        self.state.check_for_changes = check_for_changes
        self.state.set_stage(StateStage.Prepare)
        phase = stack.CONVERGE if check_for_changes else DECLARE
        self._each(list(self._alive), lambda host: self._read_ahead(host, stack.CONVERGE, phase))
        self._evidence = {host.name: self._readers.evidence(host) for host in self._alive}
        tell = check_for_changes and events.heard()
        for host in self._alive:
            self.results[host.name].operations = [
                self._planned(host, op_hash) for op_hash in host.op_hash_order
            ]
            if self._memory is not None:
                declared = [notes(host, op_hash).declared for op_hash in host.op_hash_order]
                self._memory.judge(host.name, self.results[host.name].operations, declared)
            for operation in self.results[host.name].operations if tell else ():
                events.emit(events.planned(host.name, operation))
        if check_for_changes:
            self._remember(self._alive)

    def take_over(self, host: Any, look: CleanLook | None) -> None:
        """Ask a host whether a plan would be decided as in a clean look at it. If so, it has that look's findings and is done with."""
        if look is not None and self._readers.digest(host, stack.CONVERGE) == look.evidence:
            self.results[host.name] = look.result(host.name)
            self._drop(host)

    def evidence(self, host: str) -> Evidence | None:
        """By what the plan of a host was decided; None = not by what was read ahead alone."""
        return self._evidence.get(host)

    def hold_to_plan(self) -> None:
        """From now on an operation that had nothing to do in the plan fails before its first command."""
        for host in self._alive:
            for op_hash, planned in zip(host.op_hash_order, self.results[host.name].operations, strict=True):
                notes(host, op_hash).may_change = planned.state == WOULD_CHANGE

    def keep_data(self) -> None:
        """From now on a change that would lose data fails before its first command, also one that no plan could foresee."""
        for host in self._alive:
            for op_hash in host.op_hash_order:
                notes(host, op_hash).keep_data = True

    def execute(self, only: Callable[[OperationResult], bool] = lambda operation: True) -> None:
        """Execute what was prepared, each host at its own pace. A failed operation ends its host's run only.

        Args:
            only: says which operations to execute; the others stay as they were planned.
        """
        self.state.set_stage(StateStage.Execute)
        self.state.is_executing = True
        prepared = list(self._alive)
        self._each(prepared, lambda host: self._execute_host(host, only))
        self.state.is_executing = False
        self._remember(prepared)

    def check(self) -> None:
        """Run all roles' checks on the hosts that are still fine."""
        self._each(list(self._alive), self._check_host)

    def result(self, verb: str, started: float) -> RunResult:
        """What happened, with the journal's figures."""
        book = journal.current()
        counts = book.counts()
        for result in self.results.values():
            lines = counts.get(result.name, Counter())
            result.changing_commands = journal.of(lines, journal.CHANGE)
            result.exec_round_trips = journal.of(lines, None, "exec")
        return RunResult(verb, list(self.results.values()), time.monotonic() - started, str(book.path))

    def each(self, function: Callable[[Any, HostSpec], None]) -> None:
        """Call `function(host, spec)` on every connected host, in parallel; its errors become the host's."""
        self._each(list(self._alive), lambda host: function(host, host.data.spec))

    def _remember(self, hosts: Iterable[Any]) -> None:
        if self._memory is not None:
            for host in hosts:
                self._memory.settle(host.name, self.results[host.name].operations)
            self._memory.save()

    # -- one host -------------------------------------------------------------------------------------------

    def _each(self, hosts: list[Any], function: Callable[[Any], None]) -> None:
        def guarded(host: Any) -> None:
            with (
                ctx_state.use(self.state),
                ctx_inventory.use(self._inventory),
                ctx_config.use(self.state.config.copy()),
                ctx_host.use(host),
            ):
                error = self._error_of(host, function)
                # a lost connection is behind whatever went wrong; roles' checks go on without it and say so one by one
                error = leases.lost(host) or error
                if error is not None:
                    self._fail(host, error)

        pool = gevent.pool.Pool(self.state.config.PARALLEL)
        try:
            gevent.joinall([pool.spawn(guarded, host) for host in hosts])
        except BaseException:  # Ctrl-C: nobody goes on working in the background
            pool.kill(block=False)
            raise

    def _error_of(self, host: Any, function: Callable[[Any], None]) -> str | None:
        try:
            function(host)
        except FleetError as error:
            return str(error)
        except PyinfraError as error:
            return self._words(host) or str(error)
        except Exception as error:  # noqa: BLE001 - one host's trouble must not end the others
            last = traceback.extract_tb(error.__traceback__)[-1]
            return f"{type(error).__name__}: {error} ({last.name}, line {last.lineno} of {last.filename})"
        return None

    def _read_ahead(self, host: Any, face: str, phase: str) -> None:
        """_run_deploy, its reads in one exec."""
        with self._readers.phase(host, phase):
            self._run_deploy(host, face)

    def _run_deploy(self, host: Any, face: str) -> None:
        if self._code is None:
            path = deploy_file()
            if str(stack_root()) not in sys.path:
                sys.path.insert(0, str(stack_root()))
            self._code = compile(path.read_text(), str(path), "exec")
        host.data.face = face
        report(host.name, "planning" if face == stack.CONVERGE else "checking")
        exec(self._code, {"__name__": "__difyfleet__", "__file__": str(deploy_file())})  # noqa: S102 - our own deploy.py
        if host in self.state.failed_hosts:
            self._fail(host, self._words(host) or "a fact could not be read")

    def _execute_host(self, host: Any, only: Callable[[OperationResult], bool]) -> None:
        with self._readers.phase(host, EXECUTE):
            self._execute_operations(host, only)

    def _execute_operations(self, host: Any, only: Callable[[OperationResult], bool]) -> None:
        planned = self.results[host.name].operations
        stopped = False
        for number, op_hash in enumerate(list(host.op_hash_order)):
            operation = planned[number]
            if not only(operation):
                continue
            if stopped:
                operation.state = SKIPPED
                events.emit(events.finished(host.name, operation))
                continue
            report(host.name, f"{operation.role}: {operation.name}")
            events.emit(events.OperationStarted(host=host.name, role=operation.role, name=operation.name))
            began = time.monotonic()
            succeeded = self._execute_operation(host, op_hash)
            operation.seconds = time.monotonic() - began
            self._finish(host, op_hash, operation, succeeded)
            events.emit(events.finished(host.name, operation))
            stopped = not succeeded
        if stopped:
            self._drop(host)

    def _check_host(self, host: Any) -> None:
        result = self.results[host.name]
        try:
            self._read_ahead(host, stack.CHECKS, stack.CHECKS)
        finally:
            result.checks = [
                CheckResult(role, check.name, check.ok, mask(check.evidence), check.hint, check.warn_only)
                for role, check in host.connector_data.get("difyfleet.checks", [])
            ]
            for check in result.checks:
                events.emit(events.checked(host.name, check))

    def _execute_operation(self, host: Any, op_hash: str) -> bool:
        self._said.lines.pop(host.name, None)
        try:
            return bool(run_host_op(self.state, host, op_hash)) and host not in self.state.failed_hosts
        except Exception as error:  # noqa: BLE001 - reported as this operation's failure
            book = notes(host, op_hash)
            words = str(error) if isinstance(error, FleetError) else f"{type(error).__name__}: {error}"
            book.error = book.error or words
            return False

    def _finish(self, host: Any, op_hash: str, operation: OperationResult, succeeded: bool) -> None:
        book = notes(host, op_hash)
        meta = self.state.ops[host][op_hash].operation_meta
        operation.why = [mask(change.why) for change in book.changes]
        operation.diff = _joined(book.changes)
        operation.loses_data = any(change.loses_data for change in book.changes)
        if not succeeded:
            operation.state = FAILED
            output = meta.stderr if meta.is_complete() else ""
            operation.error = mask(
                book.error or output or self._words(host) or "the command failed without a word"
            )
        else:
            operation.state = CHANGED if meta.did_change() else UNCHANGED

    def _planned(self, host: Any, op_hash: str) -> OperationResult:
        book = notes(host, op_hash)
        meta = self.state.ops[host][op_hash].operation_meta
        role, name = book.role, book.name
        if name is None:  # an operation of pyinfra's own
            role, _, name = next(iter(self.state.op_meta[op_hash].names)).rpartition(" | ")
        state = WOULD_CHANGE if meta._maybe_is_change else UNCHANGED
        return OperationResult(
            role or "",
            name,
            state,
            _joined(book.changes),
            why=[mask(change.why) for change in book.changes],
            loses_data=any(change.loses_data for change in book.changes),
            first_command=book.first_command,
        )

    def _words(self, host: Any) -> str:
        return mask("\n".join(self._said.lines.get(host.name, [])))

    def _fail(self, host: Any, error: str) -> None:
        result = self.results[host.name]
        if result.error is None:
            result.error = mask(error)
            events.emit(events.HostFailed(host=host.name, error=result.error))
        self._drop(host)

    def _drop(self, host: Any) -> None:
        if host in self._alive:
            self._alive.remove(host)


def _hang_up(host: Any) -> None:
    with contextlib.suppress(Exception):
        host.disconnect()


def _joined(changes: Iterable[Any]) -> str | None:
    return "\n".join(mask(change.diff) for change in changes if change.diff) or None


@contextlib.contextmanager
def engine(
    hosts: Iterable[HostSpec],
    *,
    lease: str | None = None,
    lock_wait: float = 0,
    new_journal: bool = True,
    **options: Any,
) -> Iterator[Engine]:
    """A connected Engine.

    Args:
        new_journal: with a journal of its own; else it goes on with the current one.
        lease, lock_wait: take the hosts' leases at once, see Engine.lock. None = the run only reads, or locks later.
    """
    if new_journal:
        journal.use(None)
    with Engine(hosts, **options) as running:
        running.connect()
        if lease is not None:
            running.lock(lease, lock_wait)
        yield running
