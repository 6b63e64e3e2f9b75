"""The lab's stand-in of Dify's api image answers what the real Dify 0.11.2 answered when it was recorded."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from lab import engine
from lab.images.dify_api.dify_api import tokens
from tests.contract import exchanges
from tests.contract.standin import INIT_PASSWORD, SECRET_KEY, Api, Stack

# The exchanges that each test here replays.
REPLAYED: dict[str, tuple[int, ...]] = {
    "rollout": tuple(range(1, 40)),
    "sessions": (380, 381, 382, 383),
    "two bad fields": (569,),
    "expired": (550,),
    "locked out": (24, 385),
    "redis down": (455, 456, 457, 458),
    "redis back": (460,),
    "redis emptied": (461,),
    "no tables": tuple(range(500, 507)),
    "init password": tuple(range(510, 524)),
    "no key, init password": (530, 531, 532, 533),
    "no key": (540, 541, 542),
    "no database": (534, 535, 536, 537),
    "six at once": (543,),
}


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    stack = Stack()
    try:
        yield stack
    finally:
        stack.close()


@pytest.fixture(scope="module")
def owned(stack: Stack) -> Api:
    """An API server whose owner has been created and has logged in."""
    api = stack.api()
    assert api.replay(20, 27) == []
    return api


def test_a_first_rollout(stack: Stack) -> None:
    api = stack.api()
    api.known["JWT"] = tokens.access_token("another secret", "x", "SELF_HOSTED", 60)
    assert api.replay(*REPLAYED["rollout"]) == []


def test_the_access_token_has_the_recorded_claims(owned: Api) -> None:
    recorded = exchanges.recording(27)
    head, body, _ = owned.known["ACCESS_TOKEN"].split(".")
    assert json.loads(tokens._decode(head)) == {"alg": "HS256", "typ": "JWT"}
    claims = json.loads(tokens._decode(body))
    assert claims.keys() == recorded["access_token_claims"].keys()
    assert (claims["iss"], claims["sub"]) == ("SELF_HOSTED", "Console API Passport")
    assert len(owned.known["REFRESH_TOKEN"]) == recorded["refresh_token_length"]


def test_sessions_and_logout(owned: Api) -> None:
    for session in "AC":
        assert owned.replay(27) == []
        owned.known[f"ACCESS_TOKEN_{session}"] = owned.known["ACCESS_TOKEN"]
        owned.known[f"REFRESH_TOKEN_{session}"] = owned.known["REFRESH_TOKEN"]
    assert owned.replay(*REPLAYED["sessions"]) == []


def test_the_first_bad_field_is_reported(owned: Api) -> None:
    assert owned.replay(*REPLAYED["two bad fields"]) == []


def test_an_expired_token(owned: Api) -> None:
    owned.known["EXPIRED_ACCESS_TOKEN"] = tokens.access_token(SECRET_KEY, "x", "SELF_HOSTED", -1)
    assert owned.replay(*REPLAYED["expired"]) == []


def test_six_wrong_passwords_then_a_lock_out(stack: Stack) -> None:
    api = stack.api()
    assert api.replay(20) == []
    wrong, right = REPLAYED["locked out"]
    assert api.replay(*[wrong] * 6) == []
    assert api.replay(right) == []  # the right password
    stack.execute(
        stack.redis, "redis-cli", "-a", "contract-pa55", "del", "login_error_rate_limit:admin@example.com"
    )
    assert api.replay(27) == []


def test_redis_down_and_back(stack: Stack) -> None:
    api = stack.api()
    assert api.replay(20, 27, 28) == []
    engine.run(["docker", "stop", "-t", "5", stack.redis], timeout=60)
    try:
        assert api.replay(*REPLAYED["redis down"]) == []
    finally:
        engine.run(["docker", "start", stack.redis], timeout=60)
    stack.wait(lambda: api.replay(*REPLAYED["redis back"]) == [], "login after Redis came back")
    stack.execute(stack.redis, "redis-cli", "-a", "contract-pa55", "flushall")
    assert api.replay(*REPLAYED["redis emptied"]) == []


def test_a_database_without_tables(stack: Stack) -> None:
    assert stack.api(MIGRATION_ENABLED="false").replay(*REPLAYED["no tables"]) == []


def test_the_init_password(stack: Stack) -> None:
    assert stack.api(INIT_PASSWORD=INIT_PASSWORD).replay(*REPLAYED["init password"]) == []


def test_an_empty_secret_key_with_an_init_password(stack: Stack) -> None:
    assert (
        stack.api(SECRET_KEY="", INIT_PASSWORD=INIT_PASSWORD).replay(*REPLAYED["no key, init password"]) == []
    )


def test_an_empty_secret_key(stack: Stack) -> None:
    assert stack.api(SECRET_KEY="").replay(*REPLAYED["no key"]) == []


def test_no_database(stack: Stack) -> None:
    assert stack.api(DB_PORT="5999").replay(*REPLAYED["no database"]) == []


def test_a_wrong_database_password(stack: Stack) -> None:
    assert stack.api(DB_PASSWORD="wrong").replay(*REPLAYED["no database"]) == []


def test_six_setups_at_once_make_one_owner(stack: Stack) -> None:
    api = stack.api()
    recorded = Counter(
        result["status"] for result in exchanges.recording(*REPLAYED["six at once"])["results"]
    )

    def setup(client: int) -> int:
        body = {"email": f"admin{client}@example.com", "name": "Admin", "password": api.known["PASSWORD"]}
        headers = {"Content-Type": "application/json"}
        return exchanges.send(
            api.address, "POST", "/console/api/setup", headers, json.dumps(body).encode()
        ).status

    with ThreadPoolExecutor(6) as pool:
        assert Counter(pool.map(setup, range(6))) == recorded == Counter({201: 1, 403: 5})


# --- what has no recorded exchange: the process itself


def end_of(stack: Stack, **environment: str) -> tuple[int, str]:
    """Exit status and output of a container that is expected to end."""
    variables = stack.environment(stack.new_database(), **environment)
    options = [part for name, value in variables.items() for part in ("-e", f"{name}={value}")]
    argv = ["docker", "run", "--rm", "--network", stack.name, *options, stack.image]
    done = engine.run(argv, timeout=60, check=False)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("mode", ["api", "worker"])
def test_a_limit_with_a_unit_ends_the_process(stack: Stack, mode: str) -> None:
    status, output = end_of(stack, MODE=mode, UPLOAD_FILE_SIZE_LIMIT="50M")
    assert status == 1
    assert "1 validation error for DifyConfig\nUPLOAD_FILE_SIZE_LIMIT" in output
    assert "[type=int_parsing, input_value='50M', input_type=str]" in output


@pytest.mark.parametrize("mode", ["api", "worker"])
def test_a_wrong_redis_password_ends_the_process(stack: Stack, mode: str) -> None:
    status, output = end_of(stack, MODE=mode, REDIS_PASSWORD="wrong")
    assert status == 1
    assert "WRONGPASS" in output


def test_an_empty_log_level_ends_the_worker(stack: Stack) -> None:
    assert end_of(stack, MODE="worker", LOG_LEVEL="")[0] == 2


def ping(stack: Stack, worker: str) -> int:
    """Exit status of the health command that also works on the real image."""
    command = "celery -A app.celery inspect ping -d celery@$HOSTNAME"
    return engine.run(["docker", "exec", worker, "sh", "-c", command], timeout=60, check=False).returncode


def test_a_worker_answers_pings_and_dies_with_its_broker(stack: Stack) -> None:
    worker = stack.run("worker", stack.image, stack.environment(stack.new_database(), MODE="worker"))
    stack.wait(lambda: ping(stack, worker) == 0, "the worker")
    engine.run(["docker", "stop", "-t", "5", stack.redis], timeout=60)
    try:
        assert ping(stack, worker) == 1
    finally:
        engine.run(["docker", "start", stack.redis], timeout=60)
    stack.wait(lambda: ping(stack, worker) == 0, "the worker after Redis came back")


def test_a_worker_with_a_wrong_broker_password_answers_no_ping(stack: Stack) -> None:
    url = "redis://:wrong@redis:6379/1"
    worker = stack.run(
        "worker", stack.image, stack.environment(stack.new_database(), MODE="worker", CELERY_BROKER_URL=url)
    )
    logs = ["docker", "logs", worker]
    stack.wait(
        lambda: "Cannot connect to the broker" in engine.run(logs, check=False).stderr,
        "the worker's complaint",
    )
    assert ping(stack, worker) != 0


def test_password_reset_in_the_container(stack: Stack) -> None:
    api = stack.api()
    assert api.replay(20) == []
    reset = ["flask", "reset-password", "--email", "admin@example.com", "--new-password", "New-passw0rd"]
    out = stack.execute(api.container, *reset, "--password-confirm", "New-passw0rd")
    assert "Password reset successfully." in out
    api.known["PASSWORD"] = "New-passw0rd"
    assert api.replay(27) == []
