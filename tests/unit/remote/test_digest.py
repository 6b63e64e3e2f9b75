"""What a phase was decided by and what the host says now: the same digest for the same answers, whoever makes it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from difyfleet.remote import digest_script, journal
from difyfleet.remote.changes import about_to_change
from difyfleet.remote.read_ahead import Evidence
from tests.unit.remote import test_requests_ahead as requests_ahead
from tests.unit.remote.test_requests_ahead import PHASE, Host, Service

service = requests_ahead.service
PATHS = ("/value", "/own", "/missing")


@pytest.fixture(autouse=True)
def _own_journal(tmp_path: Path) -> None:
    journal.use(tmp_path / "journal.jsonl")


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    host = Host(tmp_path)
    yield host
    host.ahead.close()


def decided_by(host: Host, service: str) -> Evidence | None:
    host.run(service, *PATHS)
    return host.ahead.evidence


def digest(host: Host) -> Evidence | None:
    host.new_run()
    return host.ahead.digest(PHASE)


def test_the_host_says_what_the_run_was_decided_by(host: Host, service: str) -> None:
    assert decided_by(host, service) is None, "nothing was ahead"
    seen = decided_by(host, service)
    assert seen is not None
    assert digest(host) == seen
    assert digest(host) == decided_by(host, service), "also when it signs in anew"


@pytest.mark.parametrize("path", PATHS)
def test_another_answer_is_another_digest(
    host: Host, service: str, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    host.run(service, *PATHS)
    seen = decided_by(host, service)
    if path == "/missing":
        monkeypatch.setattr(Service, "say", lambda self, status, text, *more: SAY(self, 200, text, *more))
    else:
        Service.value = "changed"
    found = digest(host)
    assert found is not None
    assert seen is not None
    assert found.reads == seen.reads
    assert found.answers != seen.answers


SAY = Service.say


@pytest.mark.parametrize(
    "what", ["down", "refused", "no password", "another password", "another list", "not learned"]
)
def test_no_digest_or_another_one(
    host: Host, service: str, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if what != "not learned":
        host.run(service, *PATHS)
    seen = decided_by(host, service)
    if what == "down":
        monkeypatch.setattr(Service, "say", lambda self, status, text, *more: SAY(self, 503, text, *more))
    elif what == "refused":
        Service.password = "another"
    elif what == "no password":
        host.given = None
    elif what == "another password":
        host.given = "wrong-canary-4410"
    elif what == "another list":
        host.requests.save(PHASE, requests_ahead.Counter())
    found = digest(host)
    assert found is None or found != seen
    if what == "not learned":
        assert seen is None


def test_a_full_look_after_a_digest_signs_in_no_second_time(host: Host, service: str) -> None:
    host.run(service, *PATHS)
    Service.asked.clear()
    Service.value = "changed"
    host.new_run()
    host.ahead.digest(PHASE)
    host.ahead.begin(PHASE)
    token = host.log_in(service).json()["data"]["access_token"]
    assert host.get(f"{service}/own", token).text == "/own changed"
    host.ahead.end(learn=True)
    assert Service.asked["POST /login"] == 1
    assert Service.asked["GET /own"] == 2, "answers of a digest are not kept"


def test_a_refusal_met_by_a_digest_is_the_answer_and_the_last_try(host: Host, service: str) -> None:
    host.run(service, *PATHS)
    Service.asked.clear()
    Service.password = "another"
    host.new_run()
    assert host.ahead.digest(PHASE) is None, "what needs the token was not asked"
    host.ahead.begin(PHASE)
    assert host.log_in(service).status_code == 401
    host.ahead.end(learn=False)
    assert Service.asked["POST /login"] == 1
    assert digest(host) is None, "it is not signed in ahead any more"
    assert Service.asked["POST /login"] == 1


def test_quick_looks_alone_try_a_wrong_password_once(host: Host, service: str) -> None:
    """No full look ever gets to its own sign-in: the run is cut, or fails before."""
    host.run(service, *PATHS)
    Service.asked.clear()
    Service.password = "another"
    for _ in range(3):
        assert digest(host) is None
        host.ahead.close()
    assert Service.asked["POST /login"] == 1


def test_a_refusal_is_not_believed_after_a_change(host: Host, service: str) -> None:
    host.run(service, *PATHS)
    Service.password = "another"
    host.new_run()
    host.ahead.digest(PHASE)
    host.ahead.begin(PHASE)
    about_to_change(host)
    Service.password = str(host.given)
    assert host.log_in(service).ok


def test_what_changes_by_use_alone_does_not_count() -> None:
    def of(**values: object) -> bytes | None:
        body = json.dumps({"data": [{"name": "a", **values}]}).encode()
        return digest_script.of_response(200, body, False)

    assert of(hit_count=3) == of(hit_count=4)
    assert of(hit_count=3, text="a") != of(hit_count=3, text="b")
