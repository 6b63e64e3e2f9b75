"""Secrets on the host: generated once, kept, never made anew while their data lives."""

from __future__ import annotations

import base64

import pytest

from difyfleet.errors import HostError
from difyfleet.facts.files import FileState, PathState
from difyfleet.facts.secrets import HostSecrets, KeptSecret
from difyfleet.operations import secrets
from difyfleet.secrets import Secret
from tests.unit.fakehost import fact, fake_host

KEPT = KeptSecret(Secret("value-on-the-host"), "0600", "root:root")


def steps(kept: dict[str, KeptSecret], wanted: dict[str, Secret | None], **guards: str) -> list:
    facts = {fact(HostSecrets): kept}
    for path in guards.values():
        facts[fact(PathState, path=path)] = FileState("file", "0600", "root", "root")
    with fake_host(facts):
        return list(secrets.keep.steps(wanted, guards))


def test_what_is_kept_stays() -> None:
    assert steps({"db": KEPT}, {"db": None}) == []
    assert steps({"db": KEPT}, {"db": Secret("value-on-the-host")}) == []


def test_all_missing_ones_are_named_before_the_first_command() -> None:
    one, two, first, second = steps({}, {"a": None, "b": Secret("given-value-b")})
    assert one.why == "/etc/difyfleet/secrets/a: absent, generated"
    assert two.why == "/etc/difyfleet/secrets/b: absent, given by the inventory"
    assert len(base64.b64decode(first.connector_arguments["_stdin"])) == 48
    assert base64.b64decode(second.connector_arguments["_stdin"]) == b"given-value-b"
    assert "given-value-b" not in str(second)


def test_an_opened_mode_is_closed_and_the_value_kept() -> None:
    change, command = steps(
        {"db": KeptSecret(Secret("value-on-the-host"), "0644", "root:root")}, {"db": None}
    )
    assert change.why == "/etc/difyfleet/secrets/db: mode 0644 root:root, wanted 0600 root:root"
    assert base64.b64decode(command.connector_arguments["_stdin"]) == b"value-on-the-host"


def test_a_lost_secret_with_living_data_is_an_error() -> None:
    with pytest.raises(HostError, match="secret db is gone but the data made with it is still there"):
        steps({}, {"db": None}, db="/opt/dify/volumes/db/data/pgdata/PG_VERSION")


def test_the_fact_reads_values_with_bars_in_them() -> None:
    found = HostSecrets().process(["db|600|root:root|a|b", "key|644|ops:ops|x"])
    assert found == {
        "db": KeptSecret(Secret("a|b"), "0600", "root:root"),
        "key": KeptSecret(Secret("x"), "0644", "ops:ops"),
    }
