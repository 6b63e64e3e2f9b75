"""The verbs of the lab: ``python -m lab VERB``, and the same through ``difyfleet lab VERB``."""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import os
import re
import shutil
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

from lab import cache, container, debian, engine, hosts, packages, pki
from lab.engine import LabError
from lab.network import Network
from lab.state import State

DEFAULT_HOST = "llm"
_HOST_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?")
_CONTAINER_TOOLS = (
    "ip",
    "iptables",
    "nsenter",
    "openssl",
    "ssh",
    "mmdebstrap",
    "rpmbuild",
    "createrepo_c",
    "dpkg-deb",
)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _optional(module: str) -> Any | None:
    """A part of the lab that a host can do without (images, registries), or ``None`` if this checkout lacks it."""
    return importlib.import_module(module) if importlib.util.find_spec(module) else None


def _build(kind: str, hosts_only: bool, own_image: bool = False) -> None:
    """Bring every cached step up to date; independent ones beside each other."""
    engine.ensure(*_CONTAINER_TOOLS)
    engine.ensure_keyring(debian.KEYRING)
    engine.ensure_docker()
    pki.ca()
    steps: list[Callable[[], object]] = [container.image, packages.repository, packages.static_bundle]
    images = None if hosts_only else _optional("lab.images")
    with ThreadPoolExecutor(2) as pool:
        for future in [pool.submit(step) for step in steps]:
            future.result()
    if kind == "vm" and not own_image:
        vm = importlib.import_module("lab.vm")
        vm.saved_state()
    if images is not None:
        images.build()
        importlib.import_module("lab.models").build()


def build(arguments: argparse.Namespace) -> int:
    started = time.monotonic()
    _build(arguments.kind, arguments.hosts_only)
    _say(f"lab: everything is built ({time.monotonic() - started:.1f} s), cache: {cache.root()}")
    return 0


def _start_network(lab: Network) -> None:
    static = packages.static_bundle()
    lab.publish("rpm", packages.repository())
    lab.publish("static", static)
    shutil.copyfile(static / "SHA256SUMS", lab.state.path("SHA256SUMS"))
    shutil.copyfile(pki.ca() / "ca.crt", lab.state.path("ca.crt"))
    lab.up()


def _start_registries(lab: Network) -> None:
    registries = _optional("lab.registries")
    if registries is None:
        _say("lab: this checkout has no lab.registries: no images can be pulled")
        return
    stores = (
        f"{importlib.import_module('lab.images').build()}\n{importlib.import_module('lab.models').build()}\n"
    )
    served = lab.state.path("served")
    current = (
        served.is_file() and served.read_text() == stores
    )  # images built anew need servers on the new store
    if not current or not lab.state.alive("registries"):
        lab.state.stop("registries")  # of several servers only one may have died; the others hold their ports
        registries.start(lab, lab.state.folder)
        served.write_text(stores)


def up(arguments: argparse.Namespace) -> int:
    names = arguments.names or [DEFAULT_HOST]
    for name in names:
        if not _HOST_NAME.fullmatch(name):
            raise LabError(f"{name!r} is no host name: lower-case letters, digits and dashes, at most 32")
    if arguments.image is not None:
        arguments.kind = "vm"
        if not arguments.image.is_file():
            raise LabError(f"--image: no file {arguments.image}")
    state = State()
    lab = Network(state)
    with state.locked():
        _build(arguments.kind, arguments.hosts_only, arguments.image is not None)
        started = time.monotonic()
        hosts.ensure_key(state)
        _start_network(lab)
        if not arguments.hosts_only:
            _start_registries(lab)
        present = {host.name: host for host in state.hosts()}
        for name in names:
            if name in present:
                if hosts.alive(lab, present[name]):
                    _say(f"lab: {name} is up already")
                    continue
                _say(f"lab: {name} has died; making it afresh")
                hosts.remove(lab, name, present[name].kind)
            began = time.monotonic()
            host = hosts.make(lab, name, arguments.kind, arguments.image)
            _say(
                f"lab: {name} ({host.kind}, {host.address}) answers SSH after {time.monotonic() - began:.1f} s"
            )
    _say(
        f"lab: up in {time.monotonic() - started:.1f} s; log in: ssh -F {state.path('ssh_config')} {names[0]}"
    )
    return 0


def down(arguments: argparse.Namespace) -> int:
    state = State()
    lab = Network(state)
    with state.locked():
        known = {host.name: host for host in state.hosts()}
        if any(host.kind == "container" for host in known.values()):
            engine.ensure_docker()  # after a restart of the machine: the containers are still there to be removed
        for name in arguments.names:
            if name not in known:
                _say(f"lab: {name} is not up")
        for name in arguments.names or list(known):
            if name in known:
                hosts.remove(lab, name, known[name].kind)
        if not arguments.names:
            if engine.missing(["docker"]) == []:
                container.remove_all(lab)
            lab.down()
            for leftover in ("hosts.json", "ssh_config", "known_hosts", "dns.json", "dhcp.json", "pids"):
                state.path(leftover).unlink(missing_ok=True)
            _say("lab: down")
    return 0


def status(arguments: argparse.Namespace) -> int:
    state = State()
    lab = Network(state)
    if not lab.exists():
        print("no lab is up in this checkout")
        return 1
    print(f"namespace {lab.name}")
    for host in state.hosts():
        try:
            hosts.wait_for_ssh(host.ssh_port, 3, host.name)
            ssh = "answers"
        except LabError:
            ssh = "does not answer"
        fields = " ".join(f"{key}={value}" for key, value in asdict(host).items() if key != "name")
        print(f"host {host.name} {fields} ssh: {ssh}")
    for entry in state.processes():
        print(f"process {entry['pid']} {entry['what']}: {'runs' if state.alive(entry['what']) else 'ended'}")
    return 0


def ssh(arguments: argparse.Namespace) -> int:
    host = State().host(arguments.host)
    os.execvp("ssh", ["ssh", "-F", str(State().path("ssh_config")), host.name, *_command(arguments)])  # noqa: S606


def execute(arguments: argparse.Namespace) -> int:
    state = State()
    command = _command(arguments) or ["bash"]
    tty = command == ["bash"] and sys.stdin.isatty()
    return hosts.execute(Network(state), state.host(arguments.name), command, tty=tty)


def reboot(arguments: argparse.Namespace) -> int:
    state = State()
    with state.locked():
        seconds = hosts.restart(Network(state), state.host(arguments.host))
    _say(f"lab: {arguments.host} answers SSH again after {seconds:.1f} s")
    return 0


def net(arguments: argparse.Namespace) -> int:
    return Network(State()).run(_command(arguments) or ["bash"])


def demo(arguments: argparse.Namespace) -> int:
    return int(importlib.import_module("lab.demo").run(arguments.kind))


def _command(arguments: argparse.Namespace) -> list[str]:
    words: list[str] = arguments.command
    return words[1:] if words[:1] == ["--"] else words


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="lab", description="Disposable openEuler 22.03 SP3 look-alike hosts."
    )
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")

    def verb(name: str, action: Callable[[argparse.Namespace], int], text: str) -> argparse.ArgumentParser:
        sub = verbs.add_parser(name, help=text, description=text)
        sub.set_defaults(action=action)
        return sub

    def buildable(sub: argparse.ArgumentParser) -> None:
        sub.add_argument(
            "--kind", choices=["container", "vm"], default="container", help="default: container"
        )
        sub.add_argument("--hosts-only", action="store_true", help="no images, registries and models")

    buildable(verb("build", build, "Build everything that a lab needs; what is built already is looked up."))
    sub = verb("up", up, "Start the lab and make the hosts that are not up yet.")
    sub.add_argument("names", nargs="*", metavar="NAME", help=f"hosts (default: {DEFAULT_HOST})")
    buildable(sub)
    sub.add_argument(
        "--image", type=Path, metavar="FILE", help="your own openEuler qcow2, booted by its own boot loader"
    )
    sub = verb("down", down, "Remove these hosts, or the whole lab.")
    sub.add_argument("names", nargs="*", metavar="NAME")
    verb("status", status, "What is up.")
    sub = verb("ssh", ssh, "Log in to a host as user openeuler.")
    sub.add_argument("host", nargs="?", default=DEFAULT_HOST, metavar="HOST")
    sub.add_argument("command", nargs=argparse.REMAINDER, metavar="-- CMD")
    sub = verb("exec", execute, "Run a command as root in a host, without SSH.")
    sub.add_argument("name", metavar="NAME")
    sub.add_argument("command", nargs=argparse.REMAINDER, metavar="-- CMD")
    sub = verb("reboot", reboot, "Restart a host and wait until it answers SSH.")
    sub.add_argument("host", metavar="HOST")
    sub = verb("net", net, "Run a command inside the lab's network, as another machine on the LAN.")
    sub.add_argument("command", nargs=argparse.REMAINDER, metavar="-- CMD")
    sub = verb("demo", demo, "A fresh host with the whole stack applied to it and verified.")
    sub.add_argument("--kind", choices=["container", "vm"], default="container", help="default: container")
    return parser


def main(argv: list[str]) -> int:
    """Run one verb; returns the exit status."""
    arguments = _parser().parse_args(argv)
    try:
        if arguments.verb in ("build", "up", "down", "reboot", "net", "demo"):
            engine.require_root()
        return int(arguments.action(arguments))
    except (LabError, KeyError) as error:
        _say(f"lab: {error.args[0] if isinstance(error, KeyError) else error}")
        return 1
    except KeyboardInterrupt:
        return 130
