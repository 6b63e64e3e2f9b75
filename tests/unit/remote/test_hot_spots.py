"""remote.hot_spots: the same answers with less work, and hands off a pyinfra that is another one."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, get_type_hints

import pyinfra.api.arguments
import pyinfra.api.connectors
import pyinfra.api.facts
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyinfra.api import Config, Inventory, State
from pyinfra.context import ctx_config

from difyfleet.remote import hot_spots

STOCK_POP = hot_spots.stock("pop_global_arguments")
VALUES = st.dictionaries(
    st.sampled_from(["_sudo", "_sudo_user", "_env", "_chdir", "_timeout", "_retries", "_if", "name", "spec"]),
    st.sampled_from([True, False, None, "text", 3, {}, {"A": "b"}]),
)


def original() -> list[tuple[str, type]]:
    """As in pyinfra 3.10.0."""
    return list(pyinfra.api.arguments.get_type_hints(pyinfra.api.arguments.AllArguments).items())


def changing() -> list[object]:
    return [object()]


@pytest.fixture
def stock(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """pyinfra as it is without us."""
    for module in (pyinfra.api.arguments, pyinfra.api.facts):
        monkeypatch.setattr(module, "all_global_arguments", original)
    return original


def test_this_pyinfra_is_known() -> None:
    assert hot_spots.install()


def test_the_answers_are_the_same_and_hints_are_evaluated_no_more(
    stock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert hot_spots.install()
    assert hot_spots.install()
    assert pyinfra.api.facts.all_global_arguments()
    monkeypatch.setattr(pyinfra.api.arguments, "get_type_hints", None)
    for module in (pyinfra.api.arguments, pyinfra.api.facts):
        found = module.all_global_arguments()
        assert found == list(get_type_hints(pyinfra.api.arguments.AllArguments).items())
        found.clear()
        assert module.all_global_arguments(), "each caller has a list of its own"


@pytest.mark.parametrize("mend", hot_spots.MENDS, ids=lambda mend: mend.name)
def test_it_is_mended_wherever_it_is_used(mend: hot_spots.Mend) -> None:
    assert {getattr(module, mend.name) for module in mend.places()} - {hot_spots.stock(mend.name)}
    assert len({getattr(module, mend.name) for module in mend.places()}) == 1


def test_connectors_are_those_that_pyinfra_finds_and_each_caller_has_a_dict_of_its_own() -> None:
    found = pyinfra.api.connectors.get_all_connectors()
    assert found == hot_spots.stock("get_all_connectors")()
    found.clear()
    assert "difyfleet" in pyinfra.api.connectors.get_all_connectors()


class Asked:
    def command(self, path: str, deep: bool = False, *, how: object = None) -> str:
        return ""

    def packed(self, *paths: str, **more: object) -> str:
        return ""


@pytest.mark.parametrize("name", ["command", "packed"])
@pytest.mark.parametrize(
    ("args", "kwargs"),
    [
        ((), {"path": "x"}),
        ((), {"how": 1, "path": "x"}),
        (("x",), {}),
        (("x",), {"deep": True}),
        ((), {}),
        ((), {"path": "x", "other": 1}),
        (("x",), {"path": "y"}),
    ],
)
def test_arguments_of_a_fact_are_bound_as_inspect_binds_them(
    name: str, args: tuple[object, ...], kwargs: dict[str, object]
) -> None:
    method = getattr(Asked(), name)

    def outcome(bind: Any) -> object:
        try:
            return list(bind(method, *args, **kwargs).items())
        except TypeError as error:
            return str(error)

    assert outcome(pyinfra.api.facts.getcallargs) == outcome(inspect.getcallargs)


@pytest.mark.parametrize("other", ["version", "parameters", "use", "absent", "answers"])
def test_another_pyinfra_is_left_alone(stock: Any, other: str, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = pyinfra.api.arguments
    if other == "version":
        monkeypatch.setattr(hot_spots, "KNOWN", ("3.9.9",))
    elif other == "parameters":
        monkeypatch.setattr(arguments, "all_global_arguments", lambda state: [])
    elif other == "use":
        monkeypatch.setattr(pyinfra.api.facts, "all_global_arguments", lambda: [])
    elif other == "absent":
        monkeypatch.delattr(arguments, "all_global_arguments")
    else:
        for module in (arguments, pyinfra.api.facts):
            monkeypatch.setattr(module, "all_global_arguments", changing)
    before = getattr(arguments, "all_global_arguments", None), pyinfra.api.facts.all_global_arguments
    assert not hot_spots.install()
    assert (
        getattr(arguments, "all_global_arguments", None),
        pyinfra.api.facts.all_global_arguments,
    ) == before


@given(call=VALUES, around=VALUES, on_host=VALUES, in_group=VALUES, for_all=VALUES, in_deploy=VALUES)
def test_global_arguments_are_those_that_pyinfra_would_have_found(
    call: dict[str, Any], around: dict[str, Any], on_host: Any, in_group: Any, for_all: Any, in_deploy: Any
) -> None:
    def outcome(pop: Any) -> object:
        inventory = Inventory(([("one", on_host)], for_all), some=(["one"], in_group))
        state = State(inventory, Config(SUDO_USER="somebody"))
        host = inventory.get_host("one")
        host.current_deploy_kwargs, host.current_deploy_data = around, in_deploy
        left = dict(call)
        with ctx_config.use(Config(SHELL="bash")):
            try:
                return pop(state, host, left), left
            except Exception as error:  # noqa: BLE001 - of a value that is none
                return type(error), str(error)

    assert pyinfra.api.facts.pop_global_arguments is not STOCK_POP
    assert outcome(pyinfra.api.facts.pop_global_arguments) == outcome(STOCK_POP)
