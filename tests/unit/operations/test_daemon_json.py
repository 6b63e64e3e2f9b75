"""daemon.json: merging, deciding, and the script that judges before it replaces."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from difyfleet.errors import HostError
from difyfleet.facts.docker import Docker
from difyfleet.facts.files import PathState
from difyfleet.facts.mirrors import Answer
from difyfleet.operations import daemon_json, daemon_json_guards
from tests.unit.fakehost import fact, fake_host, run_steps
from tests.unit.operations.docker_facts import IMAGES, MIRROR, docker, facts, file, seen, settings


def decided(section: Any, **changes: Any) -> daemon_json.Decision:
    with fake_host(facts(**changes)):
        return daemon_json.decide(section, IMAGES)


def steps(section: Any, **changes: Any) -> tuple[list[str], list[str]]:
    with fake_host(facts(**changes)):
        found, commands = run_steps(daemon_json.configured, section, IMAGES)
    return [change.why for change in found], commands


def test_our_settings() -> None:
    assert daemon_json.wanted(docker(insecure_registries=["reg.lan:5000"]), [MIRROR]) == {
        "registry-mirrors": [MIRROR],
        "insecure-registries": ["reg.lan:5000"],
        "data-root": "/var/lib/docker",
        "live-restore": True,
        "log-driver": "json-file",
        "log-opts": {"max-size": "20m", "max-file": "5"},
        "bip": "10.200.0.1/24",
        "default-address-pools": [{"base": "10.201.0.0/16", "size": 24}],
        "max-concurrent-downloads": 6,
    }


def test_no_mirror_alive_is_an_empty_list() -> None:
    # a deleted key would keep the old mirrors over a reload
    assert daemon_json.wanted(docker(bip=None, address_pools=[]), [])["registry-mirrors"] == []
    assert "bip" not in daemon_json.wanted(docker(bip=None), [])


def test_docker_daemon_wins_and_foreign_log_drivers_lose_our_options() -> None:
    found = daemon_json.wanted(docker(daemon={"bip": "10.1.0.1/24", "log-driver": "journald"}), [])
    assert found["bip"] == "10.1.0.1/24"
    assert "log-opts" not in found
    assert "log-opts" in daemon_json.wanted(docker(daemon={"log-driver": "local"}), [])


def test_a_mirror_that_would_stop_dockerd_is_refused() -> None:
    with pytest.raises(HostError, match="ftp"):
        daemon_json.wanted(docker(daemon={"registry-mirrors": ["ftp://x"]}), [])


def test_as_written_nothing_happens() -> None:
    assert steps(docker()) == ([], [])


def test_blanks_and_order_do_not_count() -> None:
    mixed = json.dumps(dict(reversed(json.loads(settings(docker())).items())))
    record = json.dumps({"kept": {}, "written": hashlib.sha256(mixed.encode()).hexdigest()})
    assert steps(docker(), daemon=mixed, record=record) == ([], [])


def test_keys_found_before_difyfleet_are_kept() -> None:
    decision = decided(docker(), daemon='{"labels": ["a=b"], "log-opts": {"max-size": "1m"}}', record=None)
    assert decision.new["labels"] == ["a=b"]
    assert decision.new["log-opts"] == {"max-size": "20m", "max-file": "5"}
    assert decision.record["kept"] == {"labels": ["a=b"]}


def test_keys_added_by_hand_later_go() -> None:
    edited = settings(docker(), debug=True)
    decision = decided(docker(), daemon=edited)
    assert "debug" not in decision.new
    assert (decision.changed, decision.by_hand) == (("debug",), True)
    assert steps(docker(), daemon=edited)[0] == [
        "/etc/docker/daemon.json: debug differs; debug would go (to keep it, write it under docker.daemon in the inventory)"
    ]


def test_a_key_taken_out_of_the_inventory_goes() -> None:
    before = docker(daemon={"debug": True})
    text = settings(before)
    record = json.dumps({"kept": {}, "written": hashlib.sha256(text.encode()).hexdigest()})
    decision = decided(docker(), daemon=text, record=record)
    assert (decision.changed, decision.by_hand) == (("debug",), False)


def test_broken_json_is_replaced_and_kept_beside() -> None:
    decision = decided(docker(), daemon='{"log-driver": "json-file", }')
    assert (decision.old, decision.by_hand) == (None, True)
    assert decision.new == json.loads(settings(docker()))
    assert steps(docker(), daemon="{")[0] == [
        "/etc/docker/daemon.json: not valid JSON, replaced (a copy is kept)"
    ]


def test_an_empty_file_is_no_settings() -> None:
    assert decided(docker(), daemon="\n", record=None).old == {}


@pytest.mark.parametrize(
    ("change", "restart"),
    [
        ({"mirrors": []}, ()),
        ({"live_restore": False, "max_concurrent_downloads": 3}, ()),
        ({"insecure_registries": ["reg.lan:5000"]}, ()),
        ({"log_max_size": "5m"}, ("log-opts",)),
        ({"bip": None}, ("bip",)),
        ({"daemon": {"labels": ["x=y"], "dns": ["192.0.2.53"]}}, ("dns",)),
    ],
)
def test_reload_or_restart(change: dict[str, Any], restart: tuple[str, ...]) -> None:
    assert decided(docker(**change)).restart == restart


def test_a_deleted_reloadable_key_wants_a_restart() -> None:
    # reload does not reset it (daemon/reload.go)
    assert decided(
        docker(), daemon=settings(docker(), debug=True, **{"max-download-attempts": 9})
    ).restart == ("debug",)


def test_mode_and_owner() -> None:
    text = settings(docker())
    assert steps(docker(), daemon=file(text, mode="0600"))[0] == [
        "/etc/docker/daemon.json: mode 0600, wanted 0644"
    ]


def test_a_lost_record_is_written_again_without_touching_the_file() -> None:
    whys, commands = steps(docker(), record=None)
    assert whys == ["/etc/difyfleet/daemon.json: does not match /etc/docker/daemon.json"]
    assert ["_remember" in command for command in commands] == [True]


def test_new_answers_of_mirrors_are_said() -> None:
    with fake_host(facts(answers={})) as host:
        host.connector_data["difyfleet.mirror-answers"] = {MIRROR: (1e12, Answer(False, "silent for 4 s"))}
        found, _ = run_steps(daemon_json.configured, docker(), IMAGES)
    assert [change.why for change in found] == [
        f"mirror {MIRROR}: left out (silent for 4 s)",
        "/etc/docker/daemon.json: registry-mirrors differs",
    ]


def test_the_diff_shows_settings_and_no_password() -> None:
    proxies = {"proxies": {"http-proxy": "http://me:hunter2@proxy:3128"}}
    with fake_host(facts()):
        found, _ = run_steps(daemon_json.configured, docker(daemon=proxies), IMAGES)
    assert found[0].diff is not None
    assert '+    "http-proxy": "http://********@proxy:3128"' in found[0].diff
    assert "hunter2" not in found[0].diff
    assert "json-file" not in found[0].diff  # unchanged lines far away are not shown


def test_data_root_does_not_move_under_containers() -> None:
    section = docker(data_root="/data")
    answers = facts(service=seen(info=None, active="inactive"))
    with fake_host(answers), pytest.raises(HostError, match="would move from /var/lib/docker to /data"):
        run_steps(daemon_json.configured, section, IMAGES)
    answers[fact(PathState, path="/var/lib/docker/containers")] = None
    with fake_host(answers):  # nothing was ever run there
        assert run_steps(daemon_json.configured, section, IMAGES)[1]
    with fake_host(facts()):  # images, but no container
        assert run_steps(daemon_json.configured, section, IMAGES)[1]


@pytest.mark.parametrize(
    "daemon",
    [{"log-driver": "nope"}, {"log-opts": {"max-size": "5x"}}, {"log-opts": {"max-file": "0"}}],
)
def test_log_settings_that_dockerd_looks_at_too_late(daemon: dict[str, Any]) -> None:
    with fake_host(facts()), pytest.raises(HostError, match=r"log driver|max-size|max-file"):
        run_steps(daemon_json.configured, docker(daemon=daemon), IMAGES)


def test_a_trial_touches_nothing_of_the_running_daemon() -> None:
    found = json.loads(
        daemon_json_guards.trial(
            {"bip": "10.1.0.1/24", "hosts": ["fd://"], "storage-driver": "overlay2"}, "/data"
        )
    )
    assert found == {
        "storage-driver": "overlay2",
        "data-root": "/data/difyfleet-trial",
        "exec-root": "/run/difyfleet/trial",
        "pidfile": "/run/difyfleet/trial/docker.pid",
        "hosts": ["unix:///run/difyfleet/trial/docker.sock"],
        "bridge": "none",
        "iptables": False,
        "ip6tables": False,
        "ip-forward": False,
    }


def test_dockerds_words() -> None:
    line = 'time="2026-11-24T06:08:48Z" level=error msg="no \\"x\\" at http://a:b@c" error="bad"'
    assert daemon_json_guards.mask_words(line) == 'no "x" at http://********@c error="bad"'
    assert daemon_json_guards.mask_words("") == "no words"


# -- the script, with a dockerd of our own that says yes or no -----------------------------------------------------


def _run(tmp_path: Path, dockerd: str, *parts: str) -> subprocess.CompletedProcess[str]:
    stubs = tmp_path / "stubs"
    stubs.mkdir()
    (stubs / "dockerd").write_text(f"#!/bin/sh\n{dockerd}\n")
    (stubs / "docker").write_text("#!/bin/sh\nexit 1\n")
    (stubs / "chown").write_text("#!/bin/sh\nexit 0\n")
    for stub in stubs.iterdir():
        stub.chmod(0o755)
    script = Path(daemon_json.__file__).with_name("daemon_json_script.sh").read_text()
    for folder in ("/etc/docker", "/etc/difyfleet", "/run/difyfleet"):
        (tmp_path / folder.lstrip("/")).mkdir(parents=True, exist_ok=True)
        script = script.replace(folder, f"{tmp_path}{folder}")
    script = script.replace("@MIRRORS@", f"{tmp_path}/etc/difyfleet/mirrors.json").replace(
        "@TRIAL@", f"{tmp_path}/trial"
    )
    stdin = "".join(base64.b64encode(part.encode()).decode() + "\n" for part in parts)
    path = f"{stubs}:{os.environ['PATH']}"
    return subprocess.run(
        ["sh", "-c", script],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=60,
        env={"PATH": path},
        check=False,
    )


def _files(tmp_path: Path) -> dict[str, str]:
    found = {}
    for folder in ("etc", "run"):
        for path in (tmp_path / folder).rglob("*"):
            if path.is_file():
                name = str(path.relative_to(tmp_path))
                found["etc/docker/backup" if "backup" in name else name] = path.read_text()
    return found


def test_the_script_puts_the_file_in_place(tmp_path: Path) -> None:
    (tmp_path / "etc/docker").mkdir(parents=True)
    (tmp_path / "etc/docker/daemon.json").write_text("old")
    done = _run(
        tmp_path,
        "echo configuration OK >&2",
        '{"a": 1}\n',
        "",
        "record\n",
        "mirrors\n",
        "daemon.json: a",
        "by hand",
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert _files(tmp_path) == {
        "etc/docker/daemon.json": '{"a": 1}\n',
        "etc/docker/daemon.json.difyfleet-previous": "old",
        "etc/docker/backup": "old",
        "etc/difyfleet/daemon.json": "record\n",
        "etc/difyfleet/mirrors.json": "mirrors\n",
        "run/difyfleet/docker.restart": "daemon.json: a\n",
    }


@pytest.mark.parametrize(
    ("validate", "trial"), [("echo bad key >&2; exit 1", ""), ("exit 0", '{"storage-driver": "nope"}')]
)
def test_a_refused_file_leaves_no_trace(tmp_path: Path, validate: str, trial: str) -> None:
    (tmp_path / "etc/docker").mkdir(parents=True)
    (tmp_path / "etc/docker/daemon.json").write_text("old")
    dockerd = f'case "$1" in --validate) {validate};; *) echo "failed to start daemon: driver not supported: nope"; exit 1;; esac'
    done = _run(tmp_path, dockerd, '{"a": 1}\n', trial, "record\n", "mirrors\n", "daemon.json: a", "by hand")
    assert done.returncode == 1
    assert done.stderr.strip() in ("bad key", "failed to start daemon: driver not supported: nope")
    assert _files(tmp_path) == {"etc/docker/daemon.json": "old"}
    assert not (tmp_path / "trial").exists()


def test_without_a_change_of_settings_no_reason_is_left(tmp_path: Path) -> None:
    done = _run(tmp_path, "exit 0", "{}\n", "", "record\n", "", "", "")
    assert done.returncode == 0
    assert set(_files(tmp_path)) == {"etc/docker/daemon.json", "etc/difyfleet/daemon.json"}


def test_facts_of_another_docker_are_not_asked_for() -> None:
    # a plan on a converged host reads no more than it needs: the service is only looked at when something differs
    answers = facts()
    del answers[fact(Docker)]
    with fake_host(answers):
        assert run_steps(daemon_json.configured, docker(), IMAGES) == ([], [])
