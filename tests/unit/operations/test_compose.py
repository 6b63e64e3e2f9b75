"""operations.compose: what differs, in words; the commands; how long is waited and for what."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable
from typing import Any

import pytest
import yaml

from difyfleet.errors import HostError
from difyfleet.facts.compose import ComposeProject, ComposeState, Container, ContainerLog, LastHealthAnswer
from difyfleet.operations import compose, compose_project
from difyfleet.operations.compose import Project
from tests.unit.fakehost import fact, fake_host, run_steps

TEXT = """\
services:
  db:
    image: db:1
    restart: always
    labels: {io.difyfleet.stamp: "stamp:db"}
  api:
    image: api:1
    restart: always
    container_name: the-api
    environment: {LIMIT: "${LIMIT?}"}
    networks: [default, stack]
    ports: ["127.0.0.1:8000:80"]
    mem_limit: 512m
    pids_limit: 100
    labels: {io.difyfleet.stamp: "stamp:api"}
networks:
  stack: {name: difyfleet, external: true}
"""
ENV = "LIMIT='15'\nOTHER='x'\n"
CONF = "workers 1;\n"
CLI = "env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root docker compose -p p -f compose.yml"


def sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def project(env: str = ENV, conf: str = CONF, text: str = TEXT) -> Project:
    mounted = {"db": {"/etc/db.conf": conf}}
    return Project("p", "/opt/p", compose.stamped(text, env, mounted), env, mounted, (("db",), ("api",)))


def container(of: Project, service: str, **changes: Any) -> Container:
    labels = {
        "com.docker.compose.project": "p",
        "com.docker.compose.service": service,
        "com.docker.compose.config-hash": f"hash-{service}",
        compose.STAMP: of.services[service]["labels"][compose.STAMP],
    } | changes.pop("labels", {})
    made = Container(
        id=f"id-{service}",
        name=of.container_name(service),
        image_id=f"sha256:{service}",
        image=f"{service}:1",
        labels=labels,
        status="running",
        exit_code=0,
        pid=7,
        health="healthy",
        restarts=0,
        restart_policy="always",
        networks=of.networks(service) or frozenset(),
        published=("127.0.0.1:8000->80/tcp",) if service == "api" else (),
    )
    return dataclasses.replace(made, **changes)


def state(of: Project, *containers: Container, **changes: Any) -> ComposeState:
    found = {each.service: each for each in (containers or (container(of, "db"), container(of, "api")))}
    good = ComposeState(
        docker=True,
        files={"compose.yml": sha(of.text), ".env": sha(of.env or "")},
        hashes={"db": "hash-db", "api": "hash-api"},
        recorded={"db": "hash-db", "api": "hash-api"},
        containers=found,
        images={"db:1": "sha256:db", "api:1": "sha256:api"},
        seen={"db:/etc/db.conf": sha(CONF)},
    )
    return dataclasses.replace(good, **changes)


def words(wanted: Project, found: ComposeState) -> list[str]:
    return [
        f"{each.service}: {each.why}{' (recreate)' if each.recreate else ''}"
        for each in compose.differences(wanted, found)
    ]


def test_as_declared() -> None:
    assert words(project(), state(project())) == []


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"status": "exited", "exit_code": 137}, ["api: exited (137), wanted running"]),
        ({"status": "created"}, ["api: created, wanted running"]),
        ({"status": "paused"}, ["api: paused, wanted running (recreate)"]),
        (
            {"status": "restarting", "exit_code": 1, "restarts": 9},
            ["api: restarting in a loop (exit code 1, 9 restarts) (recreate)"],
        ),
        ({"health": "unhealthy"}, ["api: unhealthy (recreate)"]),
        ({"health": "starting"}, []),
        ({"health": ""}, []),
        ({"restart_policy": "no"}, ["api: restart policy no, wanted always (recreate)"]),
        ({"networks": frozenset({"p_default"})}, ["api: not on network difyfleet (recreate)"]),
        (
            {"networks": frozenset({"p_default", "difyfleet", "x"})},
            ["api: on network x, not wanted (recreate)"],
        ),
        (
            {"aliases": {"difyfleet": frozenset({"the-api", "api"}), "p_default": frozenset({"the-api"})}},
            ["api: on network p_default without its name api (recreate)"],
        ),
        ({"name": "x"}, ["api: named x, wanted the-api (recreate)"]),
        (
            {"published": ("0.0.0.0:9000->80/tcp",)},
            ["api: publishes 0.0.0.0:9000->80/tcp, wanted 127.0.0.1:8000->80/tcp (recreate)"],
        ),
        ({"published": ()}, ["api: publishes nothing, wanted 127.0.0.1:8000->80/tcp (recreate)"]),
        ({"limits": {"memory": 512 * 1024**2, "pids": 100}}, []),
        (
            {"limits": {"memory": 1024, "pids": 7, "nano_cpus": 500_000_000}},
            [
                "api: memory limit 1024, wanted 536870912 (recreate)",
                "api: pids limit 7, wanted 100 (recreate)",
                "api: nano_cpus limit 500000000, wanted none (recreate)",
            ],
        ),
        ({"labels": {compose.STAMP: "old"}}, ["api: made from another configuration"]),
        ({"labels": {"com.docker.compose.config-hash": "z"}}, ["api: was recreated from other files"]),
        (
            {"image_id": "sha256:0123456789abcdef", "image": "other:2"},
            ["api: image other:2 0123456789ab, wanted api:1 api"],
        ),
    ],
)
def test_one_container_differs(changes: dict[str, Any], expected: list[str]) -> None:
    of = project()
    assert words(of, state(of, container(of, "db"), container(of, "api", **changes))) == expected


def test_absent_and_in_the_way() -> None:
    of = project()
    foreign = container(of, "api", image="somebody:1", labels={"com.docker.compose.project": ""})
    found = state(of, container(of, "db"), foreign={"the-api": foreign})
    assert words(of, found) == [
        "api: the-api is a container of somebody else (somebody:1), it is set aside",
        "api: absent",
    ]


def test_a_changed_key_concerns_only_the_services_that_use_it() -> None:
    before = state(project())
    assert words(project(env=ENV.replace("15", "50")), before) == ["api: made from another configuration"]
    assert words(project(env=ENV.replace("x", "y")), before) == []


def test_a_changed_mounted_file_concerns_its_service_once() -> None:
    assert words(project(conf="workers 2;\n"), state(project())) == ["db: made from another configuration"]


def test_a_file_edited_in_place_is_seen_inside_the_container() -> None:
    of = project()
    assert words(of, state(of, seen={"db:/etc/db.conf": sha("edited")})) == [
        "db: sees another /etc/db.conf (recreate)"
    ]


def test_files_edited_on_the_host_and_not_applied_are_no_difference_of_the_containers() -> None:
    of = project()
    edited = state(
        of, files={"compose.yml": sha("edited"), ".env": sha(ENV)}, hashes={"db": "zz", "api": "zz"}
    )
    assert words(of, edited) == []


def test_files_edited_and_applied_by_hand_are_told_from_the_record() -> None:
    of = project()
    api = container(of, "api", labels={"com.docker.compose.config-hash": "edited"})
    edited = state(of, container(of, "db"), api, files={"compose.yml": sha(of.text), ".env": sha("edited")})
    assert words(of, edited) == ["api: was recreated from other files"]
    assert words(of, dataclasses.replace(edited, recorded={})) == []


def test_another_compose_version_is_not_called_somebody_elses_doing() -> None:
    """From 2.26 to 2.40 the hash of a service with depends_on changes: the next `up` recreates it, so the plan must say it."""
    of = project()
    found = state(of, hashes={"db": "hash-db", "api": "hash of 2.40"})
    assert words(of, found) == ["api: this Compose version reads its definition differently"]


def test_env_file_services_are_compared_with_the_record_only() -> None:
    """Compose 2.40 leaves env_file out of `config --hash` but not out of the label that `up` writes."""
    of = project(text=TEXT.replace('environment: {LIMIT: "${LIMIT?}"}', "env_file: [.env]"))
    assert words(of, state(of, hashes={"db": "hash-db", "api": "without-env-file"})) == []
    assert words(of, state(of, recorded={"api": "before"})) == ["api: was recreated from other files"]


def test_stamps_are_stable_and_replace_the_marker() -> None:
    text = compose.stamped(TEXT, ENV)
    assert text == compose.stamped(TEXT, ENV)
    assert "stamp:api" not in text
    stamps = [each["labels"][compose.STAMP] for each in yaml.safe_load(text)["services"].values()]
    assert len(set(stamps)) == 2
    assert all(len(stamp) == 32 for stamp in stamps)


def test_env_values_as_written() -> None:
    assert compose.env_values("# c\nA='x=y $z'\nB=2\n\nC=''\n") == {"A": "x=y $z", "B": "2", "C": ""}


def test_up_says_what_differs_and_calls_once() -> None:
    of = project()
    with fake_host({fact(ComposeProject, **of.fact_arguments()): state(of, container(of, "db"))}):
        changes, commands = run_steps(compose.up, of, wait_timeout=60)
    assert [change.why for change in changes] == ["api: absent"]
    assert len(commands) == 1
    assert "bring_up" in commands[0]


def test_up_leaves_a_good_project_alone_and_removes_what_nothing_declares() -> None:
    of = project()
    stray = container(of, "db", name="p-old-1", labels={"com.docker.compose.service": "old"})
    with fake_host({fact(ComposeProject, **of.fact_arguments()): state(of)}):
        assert run_steps(compose.up, of) == ([], [])
    with fake_host(
        {
            fact(ComposeProject, **of.fact_arguments()): state(
                of, container(of, "db"), container(of, "api"), stray
            )
        }
    ):
        changes, _ = run_steps(compose.up, of)
        assert [(change.why, change.loses_data) for change in changes] == [
            ("p-old-1: not declared, removed", True)
        ]


def test_a_record_that_a_cut_run_did_not_write_is_written_by_the_next() -> None:
    of = project()
    with fake_host({fact(ComposeProject, **of.fact_arguments()): state(of, recorded={})}):
        changes, commands = run_steps(compose.up, of)
    assert [change.why for change in changes] == ["/opt/p/.difyfleet-hashes: not of the containers that run"]
    assert [command.split("(")[1].split(",")[0] for command in commands] == ["bring_up"]
    host = LiveHost(state(of, recorded={}))
    compose.bring_up(host, of, 60)
    assert host.commands == [compose.record_command(of)]


@pytest.mark.parametrize(
    ("found", "begun"),
    [
        (ComposeState(), ["db: not started yet, waited for later"]),
        (
            state(project(), container(project(), "api"), recorded={}),
            ["db: not started yet, waited for later"],
        ),
        (state(project(), container(project(), "db", health="starting"), recorded={}), []),
        (state(project(), container(project(), "api")), []),  # it had come up before: left to `up`
    ],
)
def test_begun(found: ComposeState, begun: list[str]) -> None:
    of = project()
    with fake_host({fact(ComposeProject, **of.fact_arguments()): found}):
        changes, commands = run_steps(compose.begun, of, ("db",))
    assert [change.why for change in changes] == begun
    assert len(commands) == len(begun)


def test_what_is_begun_is_neither_waited_for_nor_recorded() -> None:
    of = project()
    host = LiveHost(dataclasses.replace(state(of), containers={}))
    compose.begin(host, of, ("db",))
    assert host.commands == [f"cd /opt/p && timeout 300 {CLI} up -d --no-build --pull never db"]
    with pytest.raises(HostError, match="images are not on the host: db:1"):
        compose.begin(LiveHost(state(of, images={"api:1": "sha256:api"})), of, ("db",))


def test_up_without_docker_cannot_know() -> None:
    of = project()
    with fake_host({fact(ComposeProject, **of.fact_arguments()): ComposeState()}):
        changes, commands = run_steps(compose.up, of)
    assert [change.why for change in changes] == ["db, api: docker does not answer, known after apply"]
    assert len(commands) == 1


def test_commands() -> None:
    of = project()
    assert compose.up_commands(of, []) == []
    assert compose.up_commands(of, ["db", "api"], {"api"}) == [
        f"cd /opt/p && timeout 300 {CLI} rm --stop --force api",
        f"cd /opt/p && timeout 300 {CLI} up -d --no-build --pull never db api",
    ]
    assert compose.validate_command("p", "/opt/p").endswith("docker compose -p p -f %s config --quiet")
    assert compose.record_command(of) == (
        "cd /opt/p && (umask 077; docker ps -a --filter label=com.docker.compose.project=p --format "
        """'{{.Label "com.docker.compose.service"}} {{.Label "com.docker.compose.config-hash"}}' > .difyfleet-hashes.new)"""
        " && mv -f .difyfleet-hashes.new .difyfleet-hashes"
    )
    assert compose.set_aside_command("the-api", "0123456789abcdef") == (
        "docker update --restart no 0123456789abcdef && docker stop 0123456789abcdef && "
        "docker rename 0123456789abcdef the-api-replaced-0123456789ab"
    )


class LiveHost:
    """A host whose project passes through the given states; commands are kept."""

    name = "fake"

    def __init__(self, *states: ComposeState, refuse: str | None = None) -> None:
        self.states = list(states)
        self.commands: list[str] = []
        self.refuse = refuse
        self.data = {"_sudo": True}
        self.health_says = "urllib.error.HTTPError: HTTP Error 500: INTERNAL SERVER ERROR"

    def get_fact(self, cls: type, **_: Any) -> Any:
        if cls is ContainerLog:
            return ["ValidationError: UPLOAD_FILE_SIZE_LIMIT"]
        if cls is LastHealthAnswer:
            return self.health_says
        return self.states.pop(0) if len(self.states) > 1 else self.states[0]

    def run_shell_command(self, command: Any, **arguments: Any) -> tuple[bool, Any]:
        assert arguments["_sudo"] is True
        text = str(command)
        self.commands.append(text)
        output = type("Output", (), {"stderr_lines": ["no space left on device"], "stdout_lines": []})
        return (self.refuse is None or self.refuse not in text), output


@pytest.fixture(autouse=True)
def _fast(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]

    def sleep(seconds: float) -> None:
        now[0] += seconds

    monkeypatch.setattr("difyfleet.operations.compose.time.sleep", sleep)
    monkeypatch.setattr("difyfleet.operations.compose.time.monotonic", lambda: now[0])


def bring_up(of: Project, *states: ComposeState, timeout: int = 60, **kwargs: Any) -> LiveHost:
    live = LiveHost(*states, **kwargs)
    compose.bring_up(live, of, timeout)
    return live


def test_stages_in_order_then_the_record() -> None:
    of = project()
    nothing = state(of, container(of, "db", status="exited"), container(of, "api", status="exited"))
    starting = state(of, container(of, "db", health="starting"), container(of, "api", status="exited"))
    half = state(of, container(of, "db"), container(of, "api", status="exited"))
    live = bring_up(of, nothing, starting, half, state(of))
    assert [command.rsplit("compose.yml ", 1)[-1] for command in live.commands] == [
        "up -d --no-build --pull never db",
        "up -d --no-build --pull never api",
        compose.record_command(of),
    ]


def fails(of: Project, *states: ComposeState, **kwargs: Any) -> str:
    with pytest.raises(HostError) as caught:
        bring_up(of, *states, **kwargs)
    return str(caught.value)


def looping(of: Project, restarts: int) -> ComposeState:
    return state(
        of, container(of, "db", status="restarting", exit_code=1, restarts=restarts), container(of, "api")
    )


def test_a_loop_is_reported_after_three_restarts_with_its_log() -> None:
    of = project()
    begin = state(of, container(of, "db", status="exited"), container(of, "api"))
    said = fails(of, begin, looping(of, 1), looping(of, 2), looping(of, 3), timeout=600)
    assert "db restarts in a loop (3 restarts, exit code 1)" in said
    assert "ValidationError: UPLOAD_FILE_SIZE_LIMIT" in said
    assert "docker logs --tail 100 p-db-1" in said


def test_old_restarts_are_no_loop() -> None:
    of = project()
    begin = state(of, container(of, "db", restarts=9), container(of, "api", status="exited"))
    bring_up(of, begin, state(of, container(of, "db", restarts=9), container(of, "api")))


def test_unhealthy_three_times_running_is_a_failure_and_the_time_ends() -> None:
    of = project()
    begin = state(of, container(of, "db", status="exited"), container(of, "api"))
    sick = state(of, container(of, "db", health="unhealthy"), container(of, "api"))
    assert "db is unhealthy; the end" in fails(of, begin, sick)
    slow = state(of, container(of, "db", health="starting"), container(of, "api"))
    assert "db is starting after 60 s" in fails(of, begin, slow)


def test_without_a_health_check_a_service_must_run_quietly_for_a_while() -> None:
    of = project()
    begin = state(of, container(of, "db", status="exited"), container(of, "api"))
    up = state(of, container(of, "db", health=""), container(of, "api"))
    live = bring_up(of, begin, up)
    assert compose.time.monotonic() >= 4.0
    assert len(live.commands) == 2


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda found: ComposeState(), "docker does not answer"),
        (
            lambda found: dataclasses.replace(found, hashes=None, error="LIMIT is required"),
            "LIMIT is required",
        ),
        (
            lambda found: dataclasses.replace(found, images={"db:1": "sha256:db"}),
            "images are not on the host: api:1",
        ),
    ],
)
def test_what_cannot_be_started_is_said_before_anything_is_touched(
    change: Callable[[ComposeState], ComposeState], expected: str
) -> None:
    of = project()
    live = LiveHost(change(state(of)))
    with pytest.raises(HostError, match=expected):
        compose.bring_up(live, of, 60)
    assert live.commands == []


def test_a_refused_command_gives_its_words() -> None:
    of = project()
    begin = state(of, container(of, "db", status="exited"), container(of, "api"))
    assert "no space left on device" in fails(of, begin, refuse="up -d")


def test_foreign_surplus_and_paused_are_dealt_with_first() -> None:
    of = project()
    foreign = container(of, "api", id="f" * 64, labels={"com.docker.compose.project": ""})
    stray = container(of, "db", id="stray", labels={"com.docker.compose.service": "old"})
    begin = state(of, container(of, "db", status="paused"), stray, foreign={"the-api": foreign})
    live = bring_up(of, begin, state(of))
    assert [command.split(" && ")[0] for command in live.commands[:3]] == [
        f"docker update --restart no {'f' * 64}",
        "docker rm -f stray",
        "docker unpause id-db",
    ]
    assert "rm --stop --force db" in live.commands[3]


def test_words_that_a_restart_mends_get_one_restart() -> None:
    of = dataclasses.replace(project(), restart_when={"db": "HTTP Error 500"})
    begin = state(of, container(of, "db", status="exited"), container(of, "api"))
    starting = state(of, container(of, "db", health="starting"), container(of, "api"))
    live = bring_up(of, begin, *[starting] * 40, state(of))
    assert [command for command in live.commands if command.startswith("docker restart")] == [
        "docker restart id-db"
    ]
    assert fails(of, begin, starting, timeout=60).count("db is starting after 60 s") == 1


def test_other_words_get_no_restart() -> None:
    of = dataclasses.replace(project(), restart_when={"db": "no such words"})
    begin = state(of, container(of, "db", status="exited"), container(of, "api"))
    starting = state(of, container(of, "db", health="starting"), container(of, "api"))
    live = bring_up(of, begin, *[starting] * 40, state(of))
    assert not any("docker restart" in command for command in live.commands)


def test_the_last_health_answer_is_read() -> None:
    lines = ['"fine\\n"', '"urllib.error.HTTPError: HTTP Error 500\\n"', ""]
    assert LastHealthAnswer().process(lines) == "urllib.error.HTTPError: HTTP Error 500\n"
    assert LastHealthAnswer().process([]) == ""


def test_settled_state_waits_for_what_is_starting_and_gives_up_quietly() -> None:
    of = project()
    starting = state(of, container(of, "db", health="starting"), container(of, "api"))
    assert compose.settled_state(LiveHost(starting, starting, state(of)), of, 60) == state(of)
    assert compose.settled_state(LiveHost(starting), of, 5) == starting


@pytest.mark.parametrize(
    "elsewhere", ["", f'networks: {{a: {{labels: {{{compose_project.STAMP}: "{"0" * 32}"}}}}}}\n']
)
def test_texts_that_differ_in_their_stamps_are_read_as_yaml_reads_them(elsewhere: str) -> None:
    template = 'services:\n  one: {image: a, labels: {STAMP: "stamp:one"}}\n  two: {image: b}\n  three: {labels: {x: y, STAMP: "stamp:three"}}\n'
    for env in ("A=1\n", "A=2\n", None):
        text = (
            compose_project.stamped(
                template.replace("STAMP", compose_project.STAMP), env, {"one": {"/f": env or ""}}
            )
            + elsewhere
        )
        assert compose_project._loaded(text) == yaml.safe_load(text)
        assert "stamp:" not in str(compose_project._loaded(text))
