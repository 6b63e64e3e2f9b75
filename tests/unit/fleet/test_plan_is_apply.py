"""What a plan says is what an apply does: for any state of a host, and read off the host itself.

The operations, facts and shell commands are the real ones; the host is a folder (sandbox.py). A start state is a host as a former
run left it, or a bare one, with random damage.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from difyfleet.fleet import verbs
from difyfleet.fleet.results import CHANGED, WOULD_CHANGE, RunResult
from difyfleet.operations import config_set, daemon_json, files, secrets, service
from difyfleet.operations.base import Change, operation, shell
from difyfleet.operations.config_set import ConfigFile
from difyfleet.secrets import Secret
from difyfleet.spec.models import HostSpec
from tests.unit.fleet import stand_ins
from tests.unit.fleet.sandbox import Sandbox, role, sandbox, spec

EXAMPLES = int(os.environ.get("DIFYFLEET_EXAMPLES", "0"))  # a long run: DIFYFLEET_EXAMPLES=1000
QUICK = settings(
    max_examples=EXAMPLES or 8,
    derandomize=not EXAMPLES,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    database=None,
)
MIRRORS = ["https://one.example.com", "https://two.example.com"]


def snapshot(root: Path) -> dict[str, Any]:
    """Every path of a host: kind, mode, owner, time of change, content."""
    found = {}
    for path in sorted(root.rglob("*")):
        seen = path.lstat()
        content = path.read_bytes() if path.is_file() and not path.is_symlink() else None
        found[str(path.relative_to(root))] = (seen.st_mode, seen.st_uid, seen.st_mtime_ns, content)
    return found


def in_state(result: RunResult, state: str) -> set[tuple[str, str]]:
    (host,) = result.hosts
    assert host.error is None, host.error
    assert [each.error for each in host.operations if each.error] == []
    return {(each.role, each.name) for each in host.operations if each.state == state}


def plan_is_apply(box: Sandbox, wanted: HostSpec) -> set[tuple[str, str]]:
    """The property. Returns what was changed."""
    before = snapshot(box.host("llm"))
    plan = verbs.plan([wanted])
    assert plan.summary()["changing_commands"] == 0, "a plan ran a changing command"
    assert snapshot(box.host("llm")) == before, "a plan changed the host"
    applied = verbs.apply([wanted])
    changed = in_state(applied, CHANGED)
    assert changed == in_state(plan, WOULD_CHANGE), "planned and applied differ"
    assert (applied.summary()["changing_commands"] > 0) == bool(changed)
    again = verbs.plan([wanted])
    assert in_state(again, WOULD_CHANGE) == set(), "a second plan finds something"
    return changed


# -- files, folders, secrets, configuration sets ---------------------------------------------------------------


@dataclass(frozen=True)
class Declared:
    """What the role of the first property wants; drawn anew for every example."""

    folder_mode: str
    text: str
    mode: str
    opaque: bool
    secret: str | None
    config: str


def converge_files(_: HostSpec) -> None:
    wanted = DECLARED[-1]
    files.directory("/opt/app", mode=wanted.folder_mode, name="folder")
    files.put("/opt/app/text", wanted.text, mode=wanted.mode, opaque=wanted.opaque, name="text")
    files.absent("/opt/app/old", name="old file")
    files.directory("/etc/difyfleet/secrets", mode="0700", name="secrets folder")
    secrets.keep({"made": None, "given": Secret(wanted.secret) if wanted.secret else None}, name="secrets")
    config_set.config_set(
        "/opt/app/nginx",
        {"nginx.conf": ConfigFile(wanted.config), "conf.d/key": ConfigFile("a key", "0600", opaque=True)},
        "nginx:1.27.3",
        "/etc/nginx",
        ["nginx", "-t"],
        name="configuration",
    )


DECLARED: list[Declared] = []
texts = st.sampled_from(["", "one\n", "two\n", "PASSWORD=a-secret-value\n", "ümlaut\n"])
modes = st.sampled_from(["0600", "0640", "0644", "0755"])
declared = st.builds(
    Declared,
    folder_mode=st.sampled_from(["0700", "0755"]),
    text=texts,
    mode=modes,
    opaque=st.booleans(),
    secret=st.sampled_from([None, "given-by-inventory-1", "given-by-inventory-2"]),
    config=st.sampled_from(["worker_processes 1;\n", "worker_processes 2;\n"]),
)
FILES = (
    "opt/app/text",
    "opt/app/old",
    "etc/difyfleet/secrets/made",
    "etc/difyfleet/secrets/given",
    "opt/app/nginx/nginx.conf",
    "opt/app/nginx/conf.d/key",
)
damages = st.lists(
    st.tuples(st.sampled_from(FILES), st.one_of(st.none(), st.tuples(texts, modes))), max_size=4
)


def damage(root: Path, changes: list[tuple[str, tuple[str, str] | None]]) -> None:
    """Files removed (None), or written with a text and a mode."""
    for name, change in changes:
        path = root / name
        if change is None:
            path.unlink(missing_ok=True)
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(change[0] or "x")
        path.chmod(int(change[1], 8))


@given(was=st.one_of(st.none(), declared), now=declared, changes=damages)
@QUICK
def test_files_folders_and_secrets(was: Declared | None, now: Declared, changes: list[Any]) -> None:
    """`was`: what a former run had declared; None = a bare host."""
    with tempfile.TemporaryDirectory() as folder, sandbox(Path(folder), role(converge_files)) as box:
        box.program("docker", "exit 0")  # nginx -t in its image: accepts everything
        if was is not None:
            DECLARED.append(was)
            verbs.apply([spec()])
        damage(box.host("llm"), changes)
        DECLARED.append(now)
        plan_is_apply(box, spec())


# -- Docker's unit, daemon.json, start, reload, restart ----------------------------------------------------------


def converge_docker(wanted: HostSpec) -> None:
    service.forwarding(name="IPv4 forwarding")
    service.unit(name="docker.service")
    daemon_json.configured(wanted.docker, (), name="daemon.json")
    service.running(wanted.docker, (), name="Docker running")


def edit(key: str, value: Any) -> Callable[[Path], None]:
    """One setting of daemon.json by hand; None takes it out."""

    def change(root: Path) -> None:
        path = root / "etc/docker/daemon.json"
        settings_now = json.loads(path.read_text())
        settings_now.pop(key, None)
        path.write_text(json.dumps(settings_now | ({key: value} if value is not None else {})))

    change.__name__ = f"{key} = {value}"
    return change


def write(name: str, text: str) -> Callable[[Path], None]:
    def change(root: Path) -> None:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)

    change.__name__ = f"{name}: {text[:20]!r}"
    return change


def remove(name: str) -> Callable[[Path], None]:
    def change(root: Path) -> None:
        (root / name).unlink(missing_ok=True)

    change.__name__ = f"{name} removed"
    return change


BY_HAND = (
    edit("registry-mirrors", ["https://other.example.com"]),
    edit("live-restore", False),
    edit("log-driver", "local"),
    edit("bip", "10.9.0.1/24"),
    edit("debug", True),
    edit("max-concurrent-downloads", None),
    write("etc/systemd/system/docker.service", "[Service]\nExecStart=/usr/bin/dockerd\n"),
    remove("etc/difyfleet/daemon.json"),
    remove("etc/sysctl.d/99-zz-difyfleet.conf"),
    write("etc/sysctl.conf", "net.ipv4.ip_forward = 0\n"),
    write("proc/sys/net/ipv4/ip_forward", "0\n"),
    write("run/difyfleet/docker.restart", "a reason of a run that was cut\n"),
    remove("run/stand-in/enabled"),
)
LAST = (lambda root: None, remove("run/stand-in/active"), remove("etc/docker/daemon.json"))


def docker_spec(mirrors: list[str], live_restore: bool, log_max_size: str) -> HostSpec:
    return spec(
        docker={
            "mirrors": mirrors,
            "mirror_probe": False,
            "live_restore": live_restore,
            "log_max_size": log_max_size,
        }
    )


docker_specs = st.builds(
    docker_spec, st.sampled_from([[], MIRRORS, MIRRORS[:1]]), st.booleans(), st.sampled_from(["20m", "50m"])
)


@pytest.fixture(scope="module")
def left_by_a_run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A host on which Docker was set up."""
    with pytest.MonkeyPatch.context() as patched:
        # the engine's files are another operation's; here they are as they should be
        patched.setattr(service.engine, "restart_reasons", lambda docker: [])
        root = tmp_path_factory.mktemp("docker")
        with sandbox(root, role(converge_docker)) as box:
            stand_ins.install(box)
            assert len(plan_is_apply(box, docker_spec(MIRRORS, True, "20m"))) == 4
        yield root / "llm"


@given(
    wanted=docker_specs,
    changes=st.lists(st.sampled_from(BY_HAND), max_size=3, unique=True),
    last=st.sampled_from(LAST),
)
@QUICK
def test_docker_service(left_by_a_run: Path, wanted: HostSpec, changes: list[Any], last: Any) -> None:
    with tempfile.TemporaryDirectory() as folder, sandbox(Path(folder), role(converge_docker)) as box:
        root = shutil.copytree(left_by_a_run, Path(folder) / "llm")
        for change in [*changes, last]:
            change(root)
        plan_is_apply(box, wanted)


# -- the property can fail ------------------------------------------------------------------------------------------


@operation
def _forgetful() -> Iterator[Any]:
    """Does in an apply what its plan did not say: it looks at what an earlier operation makes."""
    from pyinfra import host

    from difyfleet.facts.files import PathState

    if host.get_fact(PathState, path="/opt/app") is not None:
        yield Change("/opt/app/more: always written")
        yield shell("touch /opt/app/more")


@pytest.mark.parametrize(
    ("folder_first", "said"), [(True, "planned and applied differ"), (False, "a second plan finds something")]
)
def test_an_operation_that_lies_is_caught(tmp_path: Path, folder_first: bool, said: str) -> None:
    def converge(_: HostSpec) -> None:
        files.directory("/opt/app", name="folder")
        _forgetful(name="forgetful")

    with sandbox(tmp_path, role(converge)) as box:
        if not folder_first:
            (box.host("llm") / "opt/app").mkdir(mode=0o700)
        with pytest.raises(AssertionError, match=said):
            plan_is_apply(box, spec())
