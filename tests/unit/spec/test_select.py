"""--limit."""

from __future__ import annotations

import re

import pytest

from difyfleet.errors import SpecError
from difyfleet.spec.models import Environment
from tests.unit.spec.conftest import Load


@pytest.fixture
def environment(inventory: Load) -> Environment:
    return inventory(
        "admin: {email: a@b.cd}\nhosts: {llm1: , llm2: , dify1: , dify2: }\ngroups: {llm: [llm2, llm1], mixed: [dify1, llm1]}\n"
    )


@pytest.mark.parametrize(
    ("limit", "names"),
    [
        (None, "llm1 llm2 dify1 dify2"),
        ("all", "llm1 llm2 dify1 dify2"),
        ("dify1", "dify1"),
        ("dify1,llm1", "llm1 dify1"),
        (" dify1 , llm1 ,", "llm1 dify1"),
        ("llm", "llm1 llm2"),
        ("mixed,llm1", "llm1 dify1"),
        ("*1", "llm1 dify1"),
        ("llm?", "llm1 llm2"),
        ("dify[2]", "dify2"),
    ],
)
def test_select(environment: Environment, limit: str | None, names: str) -> None:
    assert [host.name for host in environment.select(limit)] == names.split()


@pytest.mark.parametrize(
    ("limit", "what"),
    [
        ("lm1", "--limit lm1: there is no host and no group of this name; did you mean llm1?"),
        ("llm1,mixd", "--limit mixd: there is no host and no group of this name; did you mean mixed?"),
        ("zzz", "--limit zzz: there is no host and no group of this name"),
        ("z*", "--limit z*: the pattern fits no host"),
        (",", "--limit names no host"),
        ("", "--limit names no host"),
    ],
)
def test_unknown(environment: Environment, limit: str, what: str) -> None:
    with pytest.raises(SpecError) as caught:
        environment.select(limit)
    assert caught.value.what == what
    assert caught.value.hint


def test_the_error_lists_what_is_known(environment: Environment) -> None:
    with pytest.raises(SpecError, match=re.escape("next: known names: llm1, llm2, dify1, dify2, llm, mixed")):
        environment.select("zzz")


def test_host_by_name(environment: Environment) -> None:
    assert environment.host("dify2").name == "dify2"
    with pytest.raises(KeyError):
        environment.host("x")
