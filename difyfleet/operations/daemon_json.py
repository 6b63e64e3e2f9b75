"""/etc/docker/daemon.json: what it has to be, and putting it there so that a bad setting never reaches a restart.

Keys that are found in the file before difyfleet has written it are kept. From then on the file is difyfleet's: what is
edited or added by hand is drift and goes back (the edited file stays beside it as daemon.json.difyfleet-backup-TIME); settings
of one's own belong under docker.daemon of the inventory.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Generator, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pyinfra import host

from difyfleet.diffs import unified
from difyfleet.errors import HostError
from difyfleet.facts.docker import Docker as DockerFact
from difyfleet.facts.docker import DockerService
from difyfleet.facts.engine import parse_json
from difyfleet.facts.files import FileState, PathState
from difyfleet.facts.mirrors import RECORD as MIRROR_RECORD
from difyfleet.operations import mirrors as registry_mirrors
from difyfleet.operations.base import Change, call, declaring, operation, shell
from difyfleet.operations.daemon_json_guards import PATH, mask_words, refuse_logging, shown, trial
from difyfleet.operations.files import attribute_changes
from difyfleet.operations.onhost import execute
from difyfleet.operations.render import render
from difyfleet.spec.models import Docker
from difyfleet.spec.values import mirror_url

RECORD = "/etc/difyfleet/daemon.json"  # what was there before difyfleet, and the hash of what difyfleet wrote
DEFAULT_ROOT = "/var/lib/docker"
_NOT_IN_THE_FILE = ("method", "version", "compose_version", "bundle", "rpm")  # keys of the docker section
_SCRIPT = Path(__file__).with_name("daemon_json_script.sh")

# Settings that dockerd takes over on SIGHUP (20.10 to 29, daemon/reload.go). Everything else wants a restart.
RELOADABLE = frozenset(
    (
        "debug", "labels", "live-restore", "registry-mirrors", "insecure-registries", "max-concurrent-downloads",
        "max-concurrent-uploads", "max-download-attempts", "default-runtime", "runtimes", "default-shm-size",
        "default-ipc-mode", "default-cgroupns-mode", "shutdown-timeout", "features", "network-diagnostic-port",
        "authorization-plugins",
    )
)  # fmt: skip
# Deleted from the file, these keep their old value over a reload, so deleting them wants a restart. registry-mirrors is always
# written, if need be as an empty list.
_RESET_BY_RELOAD = frozenset(("max-concurrent-downloads", "max-concurrent-uploads", "max-download-attempts"))


@dataclass(frozen=True)
class Decision:
    """What has to happen to daemon.json."""

    state: FileState | None  # the file as it is
    old: Mapping[str, Any] | None  # its settings; None = absent or not JSON
    new: Mapping[str, Any]
    kept: Mapping[str, Any]  # settings that were there before difyfleet
    recorded: Mapping[str, Any]
    mirrors: registry_mirrors.Mirrors

    @property
    def text(self) -> str:
        return json.dumps(self.new, indent=2) + "\n"

    @property
    def differs(self) -> bool:
        """Whether the settings differ. Blanks and the order of keys do not count."""
        return self.old != self.new

    @property
    def changed(self) -> tuple[str, ...]:
        old = self.old or {}
        return tuple(
            key for key in {**old, **self.new} if old.get(key, _ABSENT) != self.new.get(key, _ABSENT)
        )

    @property
    def restart(self) -> tuple[str, ...]:
        """Changed settings that only a restart brings into force."""
        return tuple(
            key
            for key in self.changed
            if key not in RELOADABLE or (key not in self.new and key not in _RESET_BY_RELOAD)
        )

    @property
    def by_hand(self) -> bool:
        """Whether the present file is not what difyfleet wrote last."""
        return self.state is not None and self.state.sha256 != self.recorded.get("written")

    @property
    def record(self) -> dict[str, Any]:
        return {"kept": dict(self.kept), "written": hashlib.sha256(self.text.encode()).hexdigest()}


_ABSENT = object()


def decide(docker: Docker, images: Iterable[str]) -> Decision:
    """Compare the host's daemon.json with what the inventory wants. Reads only.

    Raises:
        HostError: a mirror given through docker.daemon would keep dockerd from starting.
    """
    found = registry_mirrors.known(docker, images)
    state = host.get_fact(PathState, path=PATH)
    old = parse_json(state.text) if state is not None and state.text else None
    if state is not None and state.text is not None and not state.text.strip():
        old = {}
    recorded = _recorded(host.get_fact(PathState, path=RECORD))
    ours = wanted(docker, found.alive)
    kept = recorded.get("kept") if isinstance(recorded.get("kept"), dict) else dict(old or {})
    kept = {key: value for key, value in (kept or {}).items() if key not in ours}
    return Decision(state, old, {**kept, **ours}, kept, recorded, found)


def _recorded(state: FileState | None) -> Mapping[str, Any]:
    return (parse_json(state.text) if state is not None and state.text else None) or {}


def wanted(docker: Docker, mirrors: Iterable[str]) -> dict[str, Any]:
    """Our settings: the template's, with docker.daemon on top.

    Raises:
        HostError: see decide().
    """
    ours: dict[str, Any] = json.loads(render("docker/daemon.json.j2", docker=docker, mirrors=list(mirrors)))
    if docker.daemon.get("log-driver", "json-file") not in ("json-file", "local"):
        del ours["log-opts"]  # options of json-file, refused by other drivers
    ours.update(docker.daemon)
    for url in registry_mirrors.entry(ours["registry-mirrors"]):
        try:
            mirror_url(url)
        except ValueError as error:
            raise HostError(
                f"registry mirror {url}: {error}", where="docker.daemon: registry-mirrors"
            ) from None
    return ours


def canonical(decision: Decision) -> str | None:
    """The present file in the form in which ours is written, so that a diff shows settings and not blanks."""
    if decision.state is None:
        return None
    if decision.old is None:
        return decision.state.text or ""
    order = [key for key in decision.new if key in decision.old] + [
        key for key in decision.old if key not in decision.new
    ]
    return json.dumps({key: decision.old[key] for key in order}, indent=2) + "\n"


def notes(decision: Decision) -> list[Change]:
    """The plan's words."""
    found = [Change(line) for line in registry_mirrors.as_lines(decision.mirrors)]
    if decision.differs:
        diff = unified(shown(canonical(decision)), shown(decision.text), PATH)
        found.append(Change(f"{PATH}: {_what_differs(decision)}", diff))
    elif decision.state is not None:
        found += [
            Change(why)
            for why in attribute_changes(PATH, decision.state, mode="0644", owner="root", group="root")
        ]
    return found


def _what_differs(decision: Decision) -> str:
    if decision.state is None:
        return "absent"
    if decision.old is None:
        return "not valid JSON, replaced (a copy is kept)"
    foreign = [key for key in decision.old if key not in decision.new]
    words = f"{', '.join(decision.changed)} {'differs' if len(decision.changed) == 1 else 'differ'}"
    if foreign and decision.recorded:
        words += (
            f"; {', '.join(foreign)} would go (to keep it, write it under docker.daemon in the inventory)"
        )
    return words


def refuse_move(decision: Decision, service: DockerService, present: FileState | None) -> None:
    """Raise HostError where data_root would change under existing containers and images."""
    old = service.info.root if service.info else str((decision.old or {}).get("data-root", DEFAULT_ROOT))
    new = str(decision.new.get("data-root", DEFAULT_ROOT))
    if old.rstrip("/") == new.rstrip("/") or (service.info is None and present is None):
        return
    if service.info is not None and service.info.containers == 0:
        return
    raise HostError(
        f"docker.data_root would move from {old} to {new}, but there are containers in {old}",
        where=PATH,
        hint=f"set docker.data_root: {old}, or stop Docker, copy the folder (rsync -aHAX {old}/ {new}/), edit daemon.json and start it",
    )


def containers_folder(decision: Decision) -> str:
    """A folder that exists once containers were made below the present data root."""
    return f"{str((decision.old or {}).get('data-root', DEFAULT_ROOT)).rstrip('/')}/containers"


@operation
@declaring(lambda docker, images: {key: value for key, value in docker if key not in _NOT_IN_THE_FILE})
def configured(docker: Docker, images: tuple[str, ...]) -> Generator[Any, None, None]:
    """daemon.json as the inventory wants it, with the mirrors that are alive.

    The new file is judged by `dockerd --validate`, and where a running daemon would have to be restarted for it, by a trial start
    beside that daemon; only then does it replace the old one. The restart or reload itself is operations.service's.

    Raises:
        HostError: dockerd refuses the settings (its own words); data_root would move under existing containers.
    """
    decision = decide(docker, images)
    found = notes(decision)
    if not found:
        if (
            decision.by_hand
        ):  # same settings in other words, or the record is lost: nothing to do but to remember
            yield Change(f"{RECORD}: does not match {PATH}")
            yield call(_remember, decision)
        return
    service = host.get_fact(DockerFact)
    refuse_move(decision, service, host.get_fact(PathState, path=containers_folder(decision)))
    refuse_logging(decision.new, service)
    yield from found
    yield shell("umask 022; mkdir -p /etc/docker /etc/difyfleet && chmod 0755 /etc/docker /etc/difyfleet")
    yield call(
        _put,
        decision,
        bool(service.info and decision.restart),
        service.info.root if service.info else DEFAULT_ROOT,
    )


def _put(on: Any, decision: Decision, with_trial: bool, root: str) -> None:
    """Hand the new file to the script that judges it and puts it in place.

    Raises:
        HostError: with dockerd's own words; the old file is untouched.
    """
    parts = (
        decision.text,
        trial(decision.new, root) if with_trial else "",
        json.dumps(decision.record) + "\n",
        registry_mirrors.record_text(decision.mirrors) if decision.mirrors.fresh else "",
        f"daemon.json: {', '.join(decision.restart)}" if decision.restart else "",
        "by hand" if decision.by_hand else "",
    )
    stdin = "".join(base64.b64encode(part.encode()).decode() + "\n" for part in parts)
    script = (
        _SCRIPT.read_text().replace("@MIRRORS@", MIRROR_RECORD).replace("@TRIAL@", f"{root}/difyfleet-trial")
    )
    ok, words = execute(on, script, stdin=stdin, timeout=120)
    if not ok:
        raise HostError(
            f"dockerd refuses the new settings: {mask_words(words)}",
            where=PATH,
            hint="correct docker.daemon (or the docker section) in the inventory; the old file is in place and Docker runs on",
        )


def _remember(on: Any, decision: Decision) -> None:
    """Write the record for a file that is right as it is."""
    record = {**decision.record, "written": decision.state.sha256 if decision.state else None}
    temp = f"{RECORD}.difyfleet-new"
    script = f"umask 022; mkdir -p /etc/difyfleet && cat > {temp} && mv -fT {temp} {RECORD}"
    ok, words = execute(on, script, stdin=json.dumps(record) + "\n")
    if not ok:
        raise HostError(f"could not write the record: {words}", where=RECORD)
