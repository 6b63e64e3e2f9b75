"""content.rescue: a new password and a cleared lock, with nothing secret in any argument."""

from __future__ import annotations

import pytest

from difyfleet.content import console, rescue
from difyfleet.errors import HostError
from difyfleet.facts.dify_state import REFUSED_PATH
from difyfleet.secrets import Secret
from difyfleet.spec.models import Admin, HostSpec
from tests.unit.content.fakedify import FakeDify, FakeOn, on_host

SPEC = HostSpec(name="llm", address="10.9.9.9", admin=Admin(email="ops@example.com"))
FILE = "/etc/difyfleet/secrets/dify_admin_password"
PROMPTS = "Email: New password: Confirm new password: "
DONE = PROMPTS + "Password reset successfully."


def host(*answers: str, password: str = "kept-Passw0rd-1") -> FakeOn:
    server = FakeDify()
    server.admin = ("ops@example.com", Secret("kept-Passw0rd-1"))
    on = FakeOn(server, {FILE: password, REFUSED_PATH: "{}"})
    on.answers = list(answers)
    return on


def test_reset_makes_the_kept_password_the_right_one() -> None:
    on = host(DONE, "OK\n1")
    with on_host(on):
        said = rescue.reset_password(on, SPEC)
    assert said == f"password of ops@example.com is the one from {FILE}; login works"
    (reset, answers), (unlock, commands), _ = on.scripts
    assert (reset, answers) == (
        "docker exec -i dify-api-1 flask reset-password",
        "ops@example.com\nkept-Passw0rd-1\nkept-Passw0rd-1\n",
    )
    assert (unlock, commands) == (
        "docker exec -i dify-redis-1 redis-cli",
        "SELECT 0\nDEL login_error_rate_limit:ops@example.com\n",
    )
    assert REFUSED_PATH not in on.files
    assert not any("kept-Passw0rd-1" in script for script, _ in on.scripts)


def test_without_any_password_a_new_one_is_kept() -> None:
    on = host(DONE, "OK\n0")
    del on.files[FILE]
    on.server.session.login = lambda email, password: on.server.logins.append(password)  # type: ignore[method-assign]
    with on_host(on):
        said = rescue.reset_password(on, SPEC)
    assert "newly generated" in said
    assert rescue.RULE.fullmatch(on.files[FILE])
    assert on.files[FILE] not in said


@pytest.mark.parametrize(
    "words", ["Account not found for email: ops@example.com", "Invalid password. Must match ..."]
)
def test_a_refusal_is_an_error_although_the_command_exits_0(words: str) -> None:
    on = host(PROMPTS + words)
    with on_host(on), pytest.raises(HostError, match=words.split(".")[0]):
        rescue.reset_password(on, SPEC)
    assert len(on.scripts) == 1


def test_unlock_tells_whether_there_was_a_lock() -> None:
    on = host("OK\n1")
    with on_host(on):
        assert rescue.unlock(on, SPEC) == "ops@example.com may log in again (was locked or had wrong tries)"
    on = host("OK\n0")
    with on_host(on):
        assert rescue.unlock(on, SPEC) == "ops@example.com may log in again (was not locked)"


def test_redis_that_refuses_is_an_error() -> None:
    on = host("NOAUTH Authentication required.\nNOAUTH Authentication required.")
    with on_host(on), pytest.raises(HostError, match="Redis refused"):
        rescue.unlock(on, SPEC)


def test_the_note_about_a_refused_password_holds_no_password() -> None:
    import json

    text = console.record_of("ops@example.com", Secret("some-Passw0rd"))
    assert "some-Passw0rd" not in text
    record = json.loads(text)
    assert console.is_of(record, "ops@example.com", Secret("some-Passw0rd"))
    assert not console.is_of(record, "ops@example.com", Secret("other-Passw0rd"))
    assert not console.is_of(record, "else@example.com", Secret("some-Passw0rd"))
    assert console.record_of("ops@example.com", Secret("some-Passw0rd")) != text, "salted"
    assert not console.is_of({"salt": "zz"}, "ops@example.com", Secret("some-Passw0rd"))
