"""docker.service: unit, forwarding, and the one start, reload or restart of a run."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

from difyfleet.facts.docker import DockerService, Forwarding, IpForward
from difyfleet.facts.engine import StaticEngine
from difyfleet.facts.files import FileState, PathState
from difyfleet.operations import restart, service
from difyfleet.operations.render import render
from tests.unit.fakehost import fact, fake_host, run_steps
from tests.unit.operations.docker_facts import (
    IMAGES,
    MIRROR,
    docker,
    facts,
    file,
    recorded_engine,
    seen,
    settings,
)


def running(section: Any = None, **changes: Any) -> tuple[list[str], list[str]]:
    """The words and the steps (calls by their function's name) of `running`."""
    with fake_host(facts(**changes)):
        found, commands = run_steps(service.running, section or docker(), IMAGES)
    return [change.why for change in found], [
        re.sub(r"^FunctionCommand\((\w+), .*$", r"\1", command) for command in commands
    ]


def test_running_as_wanted() -> None:
    assert running() == ([], [])


def test_a_fresh_host() -> None:
    whys, commands = running(
        service=DockerService(), daemon=None, record=None, unit=None, static=StaticEngine()
    )
    assert whys == [
        "docker.service: absent at boot, wanted enabled",
        "docker.service: absent, wanted running",
    ]
    assert commands == ["systemctl enable docker.service", "start", "settled"]


def test_disabled_at_boot() -> None:
    whys, commands = running(service=seen(enabled="disabled"))
    assert whys == ["docker.service: disabled at boot, wanted enabled"]
    assert commands == ["systemctl enable docker.service"]


def test_stopped_and_failed() -> None:
    assert running(service=seen(active="inactive", info=None))[0] == [
        "docker.service: inactive, wanted running"
    ]
    whys, commands = running(service=seen(active="failed", result="start-limit-hit", info=None))
    assert whys == ["docker.service: failed, start-limit-hit, wanted running"]
    assert commands == ["start", "settled"]


def test_a_packages_socket_is_switched_off() -> None:
    assert running(service=seen(socket_enabled=True))[1] == ["systemctl disable --now docker.socket"]


def test_reasons_left_behind_are_answered_by_one_restart() -> None:
    whys, commands = running(service=seen(pending=("daemon.json: bip", "other programs: x")))
    assert whys == [
        "docker.service: restart (daemon.json: bip)",
        "docker.service: restart (other programs: x)",
    ]
    assert commands == ["start", "settled"]


def test_a_plan_foresees_the_restart() -> None:
    files = dict(recorded_engine().files)
    del files["/usr/bin/runc"]
    whys, _ = running(
        docker(log_max_size="5m"),
        static=replace(recorded_engine(), files=files),
        unit=file(service.unit_text().replace("RestartSec=2", "RestartSec=9")),
    )
    assert whys == [
        "docker.service: restart (/usr/bin/runc: absent)",
        "docker.service: restart (/etc/systemd/system/docker.service: content differs)",
        "docker.service: restart (daemon.json: log-opts)",
    ]


def test_mirrors_are_a_reload() -> None:
    whys, commands = running(docker(mirrors=[]))
    assert whys == [f"docker.service: reload (mirrors in force: {MIRROR}; wanted: none)"]
    assert commands == ["reload_daemon", "settled"]


def test_what_was_loaded_by_hand_is_seen_in_the_daemon() -> None:
    good = seen().info
    assert good is not None
    evil = replace(good, mirrors=("https://evil.example",), live_restore=False)
    whys, commands = running(service=seen(info=evil))
    assert whys == [
        f"docker.service: reload (mirrors in force: https://evil.example; wanted: {MIRROR})",
        "docker.service: reload (live-restore in force: false; wanted: true)",
    ]
    assert commands == ["reload_daemon", "settled"]
    other = replace(good, log_driver="local", root="/data")
    assert running(service=seen(info=other))[0] == [
        "docker.service: restart (log-driver in force: local, wanted json-file)",
        "docker.service: restart (data-root in force: /data, wanted /var/lib/docker)",
    ]


def test_a_reloadable_setting_that_docker_info_does_not_show() -> None:
    assert running(docker(max_concurrent_downloads=3))[0] == [
        "docker.service: reload (daemon.json: max-concurrent-downloads)"
    ]


def test_chains_gone_and_a_mute_daemon() -> None:
    lost = "docker.service: restart (Docker's iptables chains are gone (firewalld or iptables was restarted after Docker))"
    assert running(service=seen(chains=False))[0] == [lost]
    nothing_of_ours = docker(daemon={"iptables": False})
    text = settings(nothing_of_ours)
    assert running(nothing_of_ours, service=seen(chains=False), daemon=text)[0] == []
    assert running(service=seen(info=None))[0] == ["docker.service: restart (the daemon does not answer)"]


def unit(**changes: Any) -> tuple[list[str], list[str]]:
    with fake_host(facts(**changes)):
        found, commands = run_steps(service.unit)
    return [change.why for change in found], commands


def test_the_unit() -> None:
    assert unit() == ([], [])
    whys, commands = unit(unit=file("edited"))
    assert whys == ["/etc/systemd/system/docker.service: content differs"]
    mark = "mkdir -p -m 0755 /run/difyfleet && echo '/etc/systemd/system/docker.service changed' >> /run/difyfleet/docker.restart"
    assert mark in commands[0]
    assert (
        commands[0].index(mark) < commands[0].index("mv -fT") < commands[0].index("systemctl daemon-reload")
    )


def test_a_first_unit_wants_no_restart() -> None:
    assert "docker.restart" not in unit(unit=None, service=DockerService())[1][0]


def test_a_masked_unit() -> None:
    whys, _ = unit(unit=FileState("link", "0777", "root", "root"))
    assert whys == ["/etc/systemd/system/docker.service: a link (masked?), wanted difyfleet's unit"]


def test_a_unit_that_systemd_has_not_read() -> None:
    assert unit(service=seen(need_reload=True)) == (
        ["docker.service: changed on disk, systemd has not read it"],
        ["systemctl daemon-reload"],
    )


def test_the_unit_has_one_supervisor_and_a_start_limit() -> None:
    text = service.unit_text()
    assert "ExecStart=/usr/bin/dockerd\n" in text
    assert "StartLimitBurst=3" in text
    assert re.search(r"^After=.*firewalld\.service", text, re.MULTILINE)


def forwarding(sysctl: FileState | None, seen_now: Forwarding) -> tuple[list[str], list[str]]:
    with fake_host({fact(PathState, path=service.SYSCTL): sysctl, fact(IpForward): seen_now}):
        found, commands = run_steps(service.forwarding)
    return [change.why for change in found], commands


def test_forwarding() -> None:
    ours = file(render("docker/sysctl.conf.j2"))
    assert forwarding(ours, Forwarding("1", (("/etc/sysctl.conf", "1"),))) == ([], [])
    assert forwarding(ours, Forwarding("1")) == ([], [])
    whys, commands = forwarding(
        None, Forwarding("0", (("/etc/sysctl.conf", "0"), ("/usr/lib/sysctl.d/50.conf", "0")))
    )
    assert whys == [
        "/etc/sysctl.d/99-zz-difyfleet.conf: absent",
        "/etc/sysctl.conf: net.ipv4.ip_forward = 0, wanted 1",
        "net.ipv4.ip_forward: 0 in the kernel, wanted 1",
    ]
    assert commands[1:] == [
        r"sed -E -i --follow-symlinks 's|^([[:space:]]*net[./]ipv4[./]ip_forward[[:space:]]*=[[:space:]]*)0[[:space:]]*$|\11|' /etc/sysctl.conf",
        "echo 1 > /proc/sys/net/ipv4/ip_forward",
    ]


def test_restart_commands() -> None:
    assert restart.mark("it's so") == (
        "mkdir -p -m 0755 /run/difyfleet && echo 'it'\"'\"'s so' >> /run/difyfleet/docker.restart"
    )
    assert restart.clear() == "rm -f /run/difyfleet/docker.restart /etc/docker/daemon.json.difyfleet-previous"
    previous = "/etc/docker/daemon.json.difyfleet-previous"
    assert restart.roll_back() == (
        f"[ -e {previous} ] && mv -fT {previous} /etc/docker/daemon.json && rm -f /run/difyfleet/docker.restart"
        " && { systemctl reset-failed docker.service 2>/dev/null; systemctl start docker.service; }"
    )
