"""facts.compose: a real host's answer (Compose 2.26.1, Docker 26.1.5), and what can be different in it."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from difyfleet.facts.compose import ComposeProject, ComposeState, ContainerLog

RECORDED = json.loads((Path(__file__).parent / "recorded" / "compose_dify.json").read_text())
NGINX_CONF = "a88e17136a28cb1a45b2549602f051cad06725a53c626f389d2add4562fda107"


@pytest.fixture
def answer() -> dict[str, Any]:
    return copy.deepcopy(RECORDED)


def read(answer: dict[str, Any]) -> ComposeState:
    return ComposeProject().process([json.dumps(answer)])


def test_a_real_host(answer: dict[str, Any]) -> None:
    state = read(answer)
    assert state.docker
    assert state.error is None
    assert state.files[".env"] == "ebe05df7702aa697a0312670804c81675df6430fe32ff25ab49d87125fb13ca0"
    assert state.hashes == state.recorded
    assert state.hashes == {
        "db": "21be647d208e3ea4ab845eb3130da4c6db8efd71c607560db26b1f24db13442c",
        "nginx": "10feeec200271c94d1322afa1846876e7791405faf9082d5b4a2df5f6700f03e",
    }
    assert (state.orphans, state.foreign) == ((), {})
    assert set(state.images) == {"nginx:1.27.3", "postgres:15-alpine"}
    assert state.images["nginx:1.27.3"] == state.containers["nginx"].image_id
    assert state.seen == {"nginx:/etc/nginx/nginx.conf": NGINX_CONF}
    nginx, db = state.containers["nginx"], state.containers["db"]
    assert (nginx.name, nginx.status, nginx.health, nginx.restarts) == (
        "dify-nginx-1",
        "running",
        "healthy",
        0,
    )
    assert nginx.published == ("0.0.0.0:80->80/tcp",)
    assert db.published == ()
    assert db.networks == {"dify_default"}
    assert db.aliases == {"dify_default": {"dify-db-1", "db"}}
    assert db.restart_policy == "always"
    assert db.config_hash == state.hashes["db"]
    assert nginx.settled


def test_container_of_somebody_else_under_our_name(answer: dict[str, Any]) -> None:
    for each in answer["containers"]:
        del each["labels"]["com.docker.compose.project"]
    state = read(answer)
    assert set(state.foreign) == {"dify-db-1", "dify-nginx-1"}
    assert state.containers == {}


def test_second_copy_of_a_service_is_surplus_and_one_off_runs_are_not_counted(answer: dict[str, Any]) -> None:
    nginx = answer["containers"][0]
    second, once = copy.deepcopy(nginx), copy.deepcopy(nginx)
    second["id"], second["labels"]["com.docker.compose.container-number"] = "f" * 64, "2"
    once["id"], once["labels"]["com.docker.compose.oneoff"] = "e" * 64, "True"
    answer["containers"] = [second, once, *answer["containers"]]
    state = read(answer)
    assert [container.id[0] for container in state.orphans] == ["f"]
    assert state.containers["nginx"].id == nginx["id"]


def test_files_that_do_not_load_give_the_error_and_no_hashes(answer: dict[str, Any]) -> None:
    state = read(answer | {"hashes": None, "error": "no such key\n"})
    assert state.hashes is None
    assert state.error == "no such key\n"


def test_warnings_among_the_hashes_are_passed_over(answer: dict[str, Any]) -> None:
    state = read(answer | {"hashes": 'time="2026" level=warning msg="obsolete version"\n' + answer["hashes"]})
    assert state.hashes is not None
    assert set(state.hashes) == {"db", "nginx"}


def test_no_docker() -> None:
    assert ComposeProject().process([]) == ComposeState()
    assert not ComposeProject.default().docker


def test_log_lines() -> None:
    assert ContainerLog().process(["one  ", "", "two"]) == ["one", "two"]
