"""What the contenders are given: the same hosts, the same login, the same declared work."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from bench import ansible, contenders, inventory, nochange
from difyfleet.fleet.inventory import host_data
from difyfleet.spec.loader import load


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The benchmark's own files go into the test's folder; the lab is one that was never up."""
    lab = tmp_path / "lab"
    lab.mkdir()
    for name in ("key", "known_hosts", "ssh_config", "SHA256SUMS"):
        (lab / name).write_text(f"{'0' * 64}  docker-26.1.5.tgz\n" if name == "SHA256SUMS" else "")
    monkeypatch.setattr(inventory, "LAB", lab)
    monkeypatch.setattr(inventory, "FOLDER", tmp_path / "bench")
    monkeypatch.setattr(ansible, "_DECLARED", tmp_path / "declared")
    return tmp_path


def two_hosts() -> Path:
    known = inventory.LAB / "known_hosts"
    return inventory.write(
        "two", {"h0": "10.0.2.100", "h1": "10.0.2.101"}, known, user="replayed", skip=["clock"]
    )


def test_our_inventory_is_that_of_the_lab_for_other_hosts() -> None:
    environment = load(two_hosts())
    assert [(spec.name, spec.address) for spec in environment.hosts] == [
        ("h0", "10.0.2.100"),
        ("h1", "10.0.2.101"),
    ]
    (first, _) = environment.hosts
    data = host_data(first)
    assert (data["ssh_user"], data["ssh_key"], data["_sudo"]) == (
        "replayed",
        str(inventory.LAB / "key"),
        True,
    )
    assert inventory.models() == [
        model.split(":latest")[0] for model in ("qwen2.5:7b", "llama3.2", "nomic-embed-text")
    ]
    assert first.preflight.skip == ["clock"]
    assert first.dify.enabled
    assert first.openwebui.enabled


def test_a_host_without_an_address_is_reached_through_the_relay() -> None:
    declared = yaml.safe_load(inventory.write("relay", {"first": None}).read_text())
    assert declared["hosts"] == {"first": None}
    assert declared["ssh"] == {
        "config": str(inventory.LAB / "ssh_config"),
        "known_hosts": str(inventory.LAB / "known_hosts"),
    }


def test_the_folder_is_closed() -> None:
    assert inventory.folder().stat().st_mode & 0o777 == 0o700


def test_one_benchmark_at_a_time() -> None:
    with inventory.alone(), pytest.raises(inventory.LabError, match="another"), inventory.alone():
        pass
    with inventory.alone():
        pass


def test_ansible_has_the_same_hosts_and_login() -> None:
    hosts = ansible._hosts(yaml.safe_load(two_hosts().read_text()))
    assert list(hosts) == ["h0", "h1"]
    assert hosts["h1"]["ansible_host"] == "10.0.2.101"
    assert hosts["h1"]["ansible_user"] == "replayed"
    assert str(inventory.LAB / "known_hosts") in hosts["h1"]["ansible_ssh_common_args"]


def test_contents_become_files_and_answers_become_digests(folder: Path) -> None:
    seen: dict[str, Any] = {
        "files": [
            {"path": "/opt/dify/.env", "mode": "0600", "content": base64.b64encode(b"A={{x}}\n").decode()}
        ],
        "webui": [{"path": "/ollama/config", "json": {"on": True}}],
        "dify": [{"path": "/apps/1", "json": {"prompt": "{{#context#}}"}}],
    }
    declared = ansible._declared(seen)
    (file,) = declared["files"]
    assert Path(file["src"]).read_bytes() == b"A={{x}}\n"
    assert declared["dify"] == [{"path": "/apps/1", "digest": ansible.digest({"prompt": "{{#context#}}"})}]
    assert "{{" not in json.dumps(declared)


def test_everyone_is_asked_about_the_same_hosts_and_roles() -> None:
    path = two_hosts()
    found = {
        each.name: each for each in contenders.contenders(path, ["h0", "h1"], Path("strategies"), ["docker"])
    }
    assert list(found) == [
        "difyfleet plan",
        "difyfleet drift --quick",
        "difyfleet plan, read-ahead off",
        "plain pyinfra --dry, same roles",
        "Ansible, pipelining",
        "Ansible, Mitogen",
    ]
    ahead, quick, by_one, stock, play, mitogen = found.values()
    assert ahead.argv == by_one.argv
    assert quick.argv[1:4] == ["drift", str(path), "--quick"]
    assert quick.before[-2:] == [str(path), "docker"]
    assert (ahead.learns, by_one.env["DIFYFLEET_READ_AHEAD"]) == (True, "0")
    assert "DIFYFLEET_READ_AHEAD" not in ahead.env
    assert ahead.argv[-2:] == ["--role", "docker"]
    assert (stock.env["BENCH_INVENTORY"], stock.env["BENCH_ROLES"]) == (str(path), "docker")
    assert play.argv == mitogen.argv
    assert "ANSIBLE_STRATEGY" not in play.env
    assert mitogen.env["ANSIBLE_STRATEGY_PLUGINS"] == "strategies"


def test_ours_always_runs_and_the_slow_ones_not_for_many_hosts() -> None:
    found = contenders.contenders(two_hosts(), ["h0", "h1"], Path("strategies"))
    assert [each.name for each in nochange.chosen(found, ["pyinfra"], 2)] == [
        "difyfleet plan",
        "plain pyinfra --dry, same roles",
    ]
    assert not any("Ansible" in each.name for each in nochange.chosen(found, [], 50))
    assert len(nochange.chosen(found, [], 10)) == 6
