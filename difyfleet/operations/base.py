"""What every operation here is made of: facts in; reasons and commands out.

An operation is a pyinfra operation whose generator may also yield `Change` notes: what differs and why. The notes are
kept beside pyinfra's own bookkeeping (they are the plan's words), the commands go on to pyinfra. A note must come before the
command it explains, because a plan stops at the first command.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Generator, Iterator
from typing import Any, ParamSpec, TypeVar

from pyinfra import host, state
from pyinfra.api import FunctionCommand, StringCommand
from pyinfra.api import operation as pyinfra_operation

from difyfleet.errors import HostError
from difyfleet.notes import Change, OpNotes, notes
from difyfleet.secrets import mask

__all__ = ["Change", "call", "declaring", "operation", "shell"]

P = ParamSpec("P")
F = TypeVar("F", bound=Callable[..., Any])


def shell(*bits: Any, stdin: str | None = None, timeout: int | None = None) -> StringCommand:
    """A shell command as pyinfra wants it. Bits are joined by blanks: quote what is not a literal (QuoteString, shlex.quote).

    Args:
        stdin: text for the command's standard input; the place for content and secrets, which must not stand in argv.
        timeout: seconds of silence after which the command counts as failed.
    """
    arguments: dict[str, Any] = {}
    if stdin is not None:
        arguments["_stdin"] = stdin
    if timeout is not None:
        arguments["_timeout"] = timeout
    return StringCommand(*bits, **arguments)


def call(function: Callable[..., Any], *args: Any, **kwargs: Any) -> FunctionCommand:
    """A Python function as a command: `function(host, *args, **kwargs)` runs on the controller at execute time.

    It raises HostError to fail the operation; what it does to the host must go through the door (host.run_shell_command, the
    HTTP clients), so that it is journalled.
    """

    def run(state: Any, host: Any, *call_args: Any, **call_kwargs: Any) -> bool:
        try:
            function(host, *call_args, **call_kwargs)
        except HostError as error:
            _record_failure(host, error)
            return False
        return True

    run.__name__ = getattr(function, "__name__", "call")
    return FunctionCommand(run, args, kwargs)


def _record_failure(on: Any, error: HostError) -> None:
    notes(on, on.current_op_hash or on.executing_op_hash).error = str(error)


def described(command: Any) -> str:
    """A command in words, for telling two plans apart: the shell text without its standard input, or the function's name."""
    function = getattr(command, "function", None)
    return mask(f"{getattr(function, '__name__', 'call')}()" if function else str(command))


def _refuse_unwanted(book: OpNotes) -> None:
    """Stop before a command of an operation that had nothing to do in the plan that is being applied, or that must not lose data."""
    if not book.may_change:
        why = "; ".join(change.why for change in book.changes) or "it found something to do"
        raise HostError(
            f"not in the plan, so not done: {why}",
            hint="look at what is left, then apply that: difyfleet plan --out FILE",
        )
    lost = [change.why for change in book.changes if change.loses_data] if book.keep_data else []
    if lost:
        raise HostError(
            f"would lose data, so not done: {'; '.join(lost)}",
            hint="look at it; if it may go: difyfleet apply INVENTORY",
        )


def _fail(state: Any, host: Any, error: HostError) -> bool:
    _record_failure(host, error)
    return False


def declaring(what: Callable[..., Any]) -> Callable[[F], F]:
    """Decorator below @operation, for one whose arguments hold more than it brings about (a whole HostSpec), or less (it renders a
    template): `what(*arguments)` is what it declares. Drift is told from a changed inventory by it (fleet/declared.py).
    """

    def mark(function: F) -> F:
        function.declares = what  # type: ignore[attr-defined]
        return function

    return mark


def declaration(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """What a call of an operation declares: see `declaring`; else its arguments, without pyinfra's own."""
    own = {key: value for key, value in kwargs.items() if key != "name" and not key.startswith("_")}
    what = getattr(function, "declares", None)
    return what(*args, **own) if what else (function.__name__, args, own)


def operation(function: Callable[P, Generator[Any, None, None]]) -> Callable[P, Any]:
    """Decorator: a generator of Change notes and commands becomes a pyinfra operation.

    HostError raised by the generator fails the plan of that host while preparing, and the operation while executing. The
    undecorated generator stays reachable as `.steps` for tests: facts in, exact notes and commands out.
    """

    @functools.wraps(function)
    def generator(*args: P.args, **kwargs: P.kwargs) -> Iterator[Any]:
        op_hash = host.current_op_hash
        book = notes(host, op_hash) if op_hash else OpNotes([])
        book.changes.clear()
        book.first_command = None
        try:
            for step in function(*args, **kwargs):
                if isinstance(step, Change):
                    book.changes.append(step)
                    continue
                if state.is_executing:
                    _refuse_unwanted(book)
                else:
                    book.first_command = described(step)
                yield step
        except HostError as error:
            if not state.is_executing:
                raise
            yield FunctionCommand(_fail, (error,), {})

    registered = pyinfra_operation()(generator)  # type: ignore[arg-type]

    @functools.wraps(function)
    def named(*args: Any, **kwargs: Any) -> Any:
        name = kwargs.get("name") or function.__name__
        meta = registered(*args, **kwargs)
        # pyinfra keeps one set of names for all hosts that meet at an operation; a report needs this host's own
        book = notes(host, meta._hash)
        book.role, book.name = host.current_deploy_name, name
        book.declared = declaration(function, args, kwargs)
        return meta

    named.steps = function  # type: ignore[attr-defined]
    return named
