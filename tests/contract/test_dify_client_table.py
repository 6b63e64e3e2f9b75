"""Every public method of the client is tested against recorded exchanges, and the table in its documentation says against which."""

from __future__ import annotations

import importlib
import inspect
import os
from pathlib import Path

import pytest
import requests

from difyfleet.clients.dify import Dify
from difyfleet.secrets import Secret
from tests.contract.dify_replay import TABLE, Replay, client

PAGE = Path(__file__).parents[2] / "docs/reference/dify-client.md"
START, END = (
    "<!-- table of exchanges: made by tests/contract/test_dify_client_table.py -->",
    "<!-- end of table -->",
)
for module in ("setup", "apps", "knowledge", "service"):
    importlib.import_module(
        f"tests.contract.test_dify_client_{module}"
    )  # fills TABLE when this file runs alone


def public_methods() -> set[str]:
    dify = Dify(requests.Session(), "http://dify.example")
    parts = {name: part for name, part in vars(dify).items() if not name.startswith("_")}
    parts |= {"app": dify.app(Secret("key")), "knowledge": dify.knowledge(Secret("key"))}
    return {
        f"{name}.{method}"
        for name, part in parts.items()
        for method, _ in inspect.getmembers(part, inspect.ismethod)
        if not method.startswith("_")
    }


def table() -> str:
    rows = [f"| `{method}` | {', '.join(dict.fromkeys(TABLE[method]))} |" for method in sorted(TABLE)]
    return "\n".join([START, "", "| Method | Recorded exchanges |", "| --- | --- |", *rows, "", END])


def test_every_public_method_is_replayed() -> None:
    assert public_methods() == set(TABLE)


def test_the_documentation_shows_the_table() -> None:
    """UPDATE_TABLE=1 writes it."""
    text = PAGE.read_text()
    before, rest = text.split(START)
    after = rest.split(END)[1]
    if os.environ.get("UPDATE_TABLE"):
        PAGE.write_text(before + table() + after)
    assert PAGE.read_text() == before + table() + after


@pytest.mark.parametrize(("name", "password"), [("Admin", "another-passw0rd"), ("Another", "<PASSWORD>")])
def test_a_request_that_differs_fails(name: str, password: str) -> None:
    with pytest.raises(AssertionError, match="020-setup-post-ok: sent"):
        client(Replay(20)).setup.create_admin("admin@example.com", name, Secret(password))


def test_a_request_too_many_fails() -> None:
    with pytest.raises(AssertionError, match="one request more than recorded"):
        client(Replay()).setup.status()
