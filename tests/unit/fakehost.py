"""Operations without a host: given facts in, the exact notes and commands out."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

from pyinfra.api import Config, StringCommand
from pyinfra.context import ctx_config, ctx_host, ctx_state

from difyfleet.operations.base import Change


class FakeHost:
    """Answers get_fact from a table; an unknown fact is an error that prints what was asked."""

    def __init__(self, facts: Mapping[tuple[type, tuple[tuple[str, Any], ...]], Any], **data: Any) -> None:
        self.name = "fake"
        self.connector: Any = None
        self.connector_data: dict[str, Any] = {}
        self.current_op_hash: str | None = None
        self.executing_op_hash: str | None = None
        self._facts = dict(facts)
        self.data = _Data(data)

    def get_fact(self, fact: type, **kwargs: Any) -> Any:
        key = (fact, tuple(sorted(kwargs.items())))
        if key in self._facts:
            return self._facts[key]
        raise AssertionError(f"the test gives no answer for {fact.__name__}({kwargs})")


class _Data:
    def __init__(self, values: dict[str, Any]) -> None:
        self.__dict__.update(values)

    def get(self, key: str, default: Any = None) -> Any:
        return self.__dict__.get(key, default)


class _State:
    is_executing = False
    config = Config()


def fact(cls: type, **kwargs: Any) -> tuple[type, tuple[tuple[str, Any], ...]]:
    """The key of one fact in the table."""
    return cls, tuple(sorted(kwargs.items()))


@contextlib.contextmanager
def fake_host(facts: Mapping[Any, Any], **data: Any) -> Iterator[FakeHost]:
    """A context in which `pyinfra.host` is a FakeHost. `facts` maps `fact(Class, arg=...)` to answers."""
    host = FakeHost(facts, **data)
    with ctx_state.use(_State()), ctx_config.use(Config()), ctx_host.use(host):
        yield host


def run_steps(operation: Any, *args: Any, **kwargs: Any) -> tuple[list[Change], list[str]]:
    """All notes and all commands (as masked text) of an operation in the current fake host."""
    changes, commands = [], []
    for step in operation.steps(*args, **kwargs):
        if isinstance(step, Change):
            changes.append(step)
        else:
            commands.append(str(step) if isinstance(step, StringCommand) else repr(step))
    return changes, commands
