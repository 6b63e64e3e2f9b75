"""docker.service: its unit, and the one start, reload or restart that a run makes of it."""

from __future__ import annotations

import json
import time
from collections.abc import Generator
from typing import Any

from pyinfra import host

from difyfleet.diffs import unified
from difyfleet.errors import HostError
from difyfleet.facts.docker import Docker as DockerFact
from difyfleet.facts.docker import DockerService, IpForward
from difyfleet.facts.files import PathState
from difyfleet.operations import daemon_json, engine, rpm
from difyfleet.operations.base import Change, call, declaring, operation, shell
from difyfleet.operations.daemon_json_guards import mask_words, refuse_logging
from difyfleet.operations.files import attribute_changes, file_changes, put_command
from difyfleet.operations.mirrors import entry
from difyfleet.operations.onhost import execute
from difyfleet.operations.render import render
from difyfleet.operations.restart import clear, mark, roll_back
from difyfleet.spec.models import Docker

UNIT = "/etc/systemd/system/docker.service"
SYSCTL = (
    "/etc/sysctl.d/99-zz-difyfleet.conf"  # sorts after 99-sysctl.conf, openEuler's link to /etc/sysctl.conf
)
_UP_SECONDS = 60


def unit_text() -> str:
    return render("docker/docker.service.j2")


def unit_differences() -> list[str]:
    """How the unit file differs from ours, in words."""
    state = host.get_fact(PathState, path=UNIT)
    if state is None:
        return [f"{UNIT}: absent"]
    if state.kind != "file":
        return [f"{UNIT}: a {state.kind} (masked?), wanted difyfleet's unit"]
    if state.text != unit_text():
        return [f"{UNIT}: content differs"]
    return attribute_changes(UNIT, state, mode="0644", owner="root", group="root")


@operation
@declaring(unit_text)
def unit() -> Generator[Any, None, None]:
    """docker.service, the same for both installation methods: it takes the place of the package's unit."""
    for why in unit_differences():
        state = host.get_fact(PathState, path=UNIT)
        old = state.text if state is not None and state.kind == "file" else None
        yield Change(why, unified(old, unit_text(), UNIT) if old != unit_text() else None)
    if unit_differences():
        reason = "true" if host.get_fact(DockerFact).load == "not-found" else mark(f"{UNIT} changed")
        yield put_command(
            UNIT,
            unit_text().encode(),
            mode="0644",
            owner="root",
            group="root",
            validate=reason,
            after="systemctl daemon-reload",
        )
    elif host.get_fact(DockerFact).need_reload:
        yield Change("docker.service: changed on disk, systemd has not read it")
        yield shell("systemctl daemon-reload")


@operation
@declaring(lambda: render("docker/sysctl.conf.j2"))
def forwarding() -> Generator[Any, None, None]:
    """net.ipv4.ip_forward = 1, now and after `sysctl --system`, `sysctl -p` and a boot.

    dockerd switches it on when it starts, but openEuler's /etc/sysctl.conf holds a 0 that comes back with every `sysctl -p`, which
    reads that file only. So the line there is turned, too.
    """
    wanted = render("docker/sysctl.conf.j2")
    seen = host.get_fact(IpForward)
    commands = []
    differing = file_changes(SYSCTL, host.get_fact(PathState, path=SYSCTL), wanted)
    if differing:
        yield from differing
        commands.append(put_command(SYSCTL, wanted.encode(), mode="0644", owner="root", group="root"))
    if ("/etc/sysctl.conf", "0") in seen.lines:
        yield Change("/etc/sysctl.conf: net.ipv4.ip_forward = 0, wanted 1")
        pattern = r"s|^([[:space:]]*net[./]ipv4[./]ip_forward[[:space:]]*=[[:space:]]*)0[[:space:]]*$|\11|"
        commands.append(shell(f"sed -E -i --follow-symlinks '{pattern}' /etc/sysctl.conf"))
    if seen.value != "1":
        yield Change(f"net.ipv4.ip_forward: {seen.value or 'unknown'} in the kernel, wanted 1")
        commands.append(shell("echo 1 > /proc/sys/net/ipv4/ip_forward"))
    yield from commands  # after all notes: a plan stops at the first command


def restart_reasons(docker: Docker, decision: daemon_json.Decision, seen: DockerService) -> list[str]:
    """Why the running daemon has to be restarted: marks left by changes, changes that a plan foresees, and what can be seen of it."""
    reasons = list(seen.pending)
    if not seen.running:
        return reasons
    if not reasons:
        reasons += (engine if docker.method == "static" else rpm).restart_reasons(docker)
        reasons += unit_differences()
        reasons += [f"daemon.json: {', '.join(decision.restart)}"] if decision.restart else []
    reasons += _other_settings_in_force(decision, seen) if not reasons else []
    if seen.chains is False and _manages_chains(docker):
        reasons.append("Docker's iptables chains are gone (firewalld or iptables was restarted after Docker)")
    if seen.info is None and not reasons:
        reasons.append("the daemon does not answer")
    return reasons


def _other_settings_in_force(decision: daemon_json.Decision, seen: DockerService) -> list[str]:
    """Settings that dockerd was started with and that daemon.json does not hold (any more)."""
    if seen.info is None:
        return []
    new = decision.new
    pairs = (
        ("log-driver", seen.info.log_driver, str(new.get("log-driver", "json-file"))),
        (
            "data-root",
            seen.info.root.rstrip("/"),
            str(new.get("data-root", daemon_json.DEFAULT_ROOT)).rstrip("/"),
        ),
    )
    return [
        f"{key} in force: {found}, wanted {wanted}"
        for key, found, wanted in pairs
        if found and found != wanted
    ]


def _manages_chains(docker: Docker) -> bool:
    return (
        docker.daemon.get("iptables", True) is not False
        and docker.daemon.get("firewall-backend", "iptables") == "iptables"
    )


def reload_reasons(decision: daemon_json.Decision, seen: DockerService) -> list[str]:
    """Why the running daemon has to read daemon.json again: what it says of itself is not what the file has to say."""
    if not seen.running or seen.info is None:
        return []
    found = []
    mirrors = tuple(entry(decision.new.get("registry-mirrors")))
    if seen.info.mirrors != mirrors:
        found.append(
            f"mirrors in force: {', '.join(seen.info.mirrors) or 'none'}; wanted: {', '.join(mirrors) or 'none'}"
        )
    live = bool(decision.new.get("live-restore", False))
    if seen.info.live_restore != live:
        found.append(
            f"live-restore in force: {json.dumps(seen.info.live_restore)}; wanted: {json.dumps(live)}"
        )
    others = [
        key
        for key in decision.changed
        if key not in decision.restart and key not in ("registry-mirrors", "live-restore")
    ]
    if others:
        found.append(f"daemon.json: {', '.join(others)}")
    return found


@operation
def running(docker: Docker, images: tuple[str, ...]) -> Generator[Any, None, None]:
    """Docker enabled at boot and running with the settings of daemon.json; at most one restart, a reload where that is enough.

    Raises:
        HostError: it does not come up (its own words), or the settings in force are not the file's.
    """
    seen = host.get_fact(DockerFact)
    commands: list[Any] = []
    if seen.enabled != "enabled":
        yield Change(f"docker.service: {seen.enabled or 'absent'} at boot, wanted enabled")
        commands.append(shell("systemctl enable docker.service"))
    if seen.socket_enabled or seen.socket_active:
        yield Change("docker.socket: enabled, wanted off (docker.service has its own socket)")
        commands.append(shell("systemctl disable --now docker.socket"))
    decision = daemon_json.decide(docker, images) if seen.running else None
    restart = restart_reasons(docker, decision, seen) if decision else []
    reload = reload_reasons(decision, seen) if decision else []
    if decision is None:
        state = f"{seen.active}, {seen.result}" if seen.result not in ("", "success") else seen.active
        yield Change(f"docker.service: {'absent' if seen.load == 'not-found' else state}, wanted running")
        commands.append(call(start, "start"))
    elif restart:
        yield from (Change(f"docker.service: restart ({why})") for why in restart)
        wish = bool(decision.new.get("live-restore", False))
        commands.append(call(start, "restart", bool(seen.info and wish and not seen.info.live_restore)))
    elif reload:
        yield from (Change(f"docker.service: reload ({why})") for why in reload)
        commands.append(call(reload_daemon))
    yield from commands  # after all notes: a plan stops at the first command
    if decision is None or restart or reload:
        yield call(settled, docker, images)


def start(on: Any, verb: str, live_restore_first: bool = False) -> None:
    """Start or restart Docker, past systemd's start limit.

    Args:
        live_restore_first: reload before the restart, so that containers survive it: live-restore counts from a reload on.

    Raises:
        HostError: with dockerd's own words.
    """
    first = "systemctl reload docker.service; sleep 1; " if live_restore_first else ""
    ok, _ = execute(
        on,
        f"{first}systemctl reset-failed docker.service 2>/dev/null; systemctl {verb} docker.service",
        timeout=180,
    )
    if ok:
        return
    _, words = execute(on, _JOURNAL + ">&2")
    back, _ = execute(on, roll_back(), timeout=180)
    raise HostError(
        f"Docker does not {verb}: {mask_words(words)}"
        + (". The previous daemon.json is back and Docker runs with it" if back else ""),
        where="docker.service",
        hint="correct the docker section of the inventory" if back else "look at: journalctl -u docker -n 50",
    )


_JOURNAL = (
    "{ journalctl -u docker.service -o cat -n 200 --no-pager 2>/dev/null"
    " | grep -E 'failed to start|level=(error|fatal)|unable to configure|unknown flag|conflict' | tail -n 4; } "
)


def reload_daemon(on: Any) -> None:
    """SIGHUP. systemctl exits 0 even when dockerd refuses the file, so settled() looks at the result."""
    ok, words = execute(on, "systemctl reload docker.service", timeout=60)
    if not ok:
        raise HostError(f"reload failed: {words}", where="docker.service", hint="journalctl -u docker -n 50")


def settled(on: Any, docker: Docker, images: tuple[str, ...]) -> None:
    """Wait until the daemon answers with the settings of daemon.json in force.

    Raises:
        HostError: after 60 s it still does not.
    """
    decision, deadline = daemon_json.decide(docker, images), time.monotonic() + _UP_SECONDS
    while True:
        seen = on.get_fact(DockerFact)
        why = ["the daemon does not answer"] if seen.info is None else reload_reasons(decision, seen)
        if not why:
            refuse_logging(decision.new, seen)
            execute(on, clear())
            return
        if time.monotonic() > deadline:
            _, words = execute(on, _JOURNAL + ">&2")
            raise HostError(
                f"{'; '.join(why)}. {mask_words(words)}",
                where="docker.service",
                hint="journalctl -u docker -n 50",
            )
        time.sleep(0.5)
