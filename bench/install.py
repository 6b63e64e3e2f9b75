"""First install through a narrow link: ours against the document's sequence, `docker compose up -d` and then `ollama pull`.

Both start from a fresh lab host with Docker and its daemon.json (made by `apply --role docker`, so the document's side does without the
document's dead mirrors), and end when Dify, Open WebUI and every model answer on the host, seen by the same probe. Ours checks in the
same command what it made, and asks each model a question; the document's side does not. The files of the document's side are those
that ours wrote on an earlier host: the same ten images, the same containers.
"""

from __future__ import annotations

import shlex
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bench import inventory, link
from bench.measure import RunFailed
from bench.table import median, number, ratios
from difyfleet.operations import dify
from lab import container
from lab.engine import LabError, run
from lab.network import Network
from lab.state import CHECKOUT, State

HOST = "first"
ROLES = ("images", "ollama", "openwebui", "dify")
PROJECTS = ("/opt/difyfleet/ollama", "/opt/difyfleet/openwebui", "/opt/dify")
_DIFYFLEET = CHECKOUT / ".venv" / "bin" / "difyfleet"
_TIMEOUT = 1800  # seconds for one install
_ANSWER_TIMEOUT = 600  # seconds after its end until everything must answer
_KEPT = "document-files.tar"  # what the document's side starts from
_FILES = ("/opt/difyfleet", "/opt/dify", "/etc/difyfleet/secrets")
# `pull_policy: never` is ours: images are there before compose is asked
_PACK = """
import io, os, sys, tarfile
with tarfile.open(fileobj=sys.stdout.buffer, mode="w|") as packed:
    for top in sys.argv[1:]:
        for folder, folders, files in os.walk(top):
            if folder == "/opt/dify":
                folders.remove("volumes")
            packed.add(folder, recursive=False)
            for name in files:
                entry = packed.gettarinfo(os.path.join(folder, name))
                content = open(os.path.join(folder, name), "rb").read()
                if name == "compose.yml":
                    content = content.replace(b"pull_policy: never", b"pull_policy: missing")
                entry.size = len(content)
                packed.addfile(entry, io.BytesIO(content))
"""


@dataclass(frozen=True)
class Install:
    """One first install.

    Attributes:
        ready: seconds until everything answered.
        command: seconds until the command (or the sequence) ended.
        traffic: what went through the link.
    """

    ready: float
    command: float
    traffic: link.Traffic


class Answered:
    """When the probe on the host succeeded; None as long as it has not."""

    at: float | None = None

    def wait(self, watcher: subprocess.Popen[bytes]) -> None:
        """Wait for it to end."""
        if watcher.wait() == 0:
            self.at = time.monotonic()


class Place:
    """The lab host that is installed, again and again from nothing."""

    def __init__(self) -> None:
        self.state = State()
        self.lab = Network(self.state)
        self.inventory = inventory.write(HOST, {HOST: None})

    def fresh(self) -> None:
        """A new host with Docker on it."""
        for verb in ("down", "up"):
            _check([sys.executable, "-m", "lab", verb, HOST])
        _check([str(_DIFYFLEET), "apply", str(self.inventory), "--yes", "--role", "docker"])

    def remove(self) -> None:
        """The host goes."""
        _check([sys.executable, "-m", "lab", "down", HOST])

    def argv(self, script: str) -> list[str]:
        """A shell script, to run on the host as root, not through SSH."""
        argv: list[str] = container.execute(self.lab, HOST, ["sh", "-ec", script])
        return argv

    def sh(self, script: str, timeout: float = 60) -> str:
        """Run it; gives its output."""
        return str(run(self.argv(script), timeout=timeout).stdout)

    def keep_files(self) -> None:
        """Keep what the document's side starts from."""
        packed = subprocess.run(
            container.execute(self.lab, HOST, ["python3", "-c", _PACK, *_FILES]),
            capture_output=True,
            timeout=60,
            check=True,
        ).stdout
        (inventory.FOLDER / _KEPT).write_bytes(packed)

    def put_files(self) -> None:
        """Put it onto a fresh host, with the data folders that its containers mount."""
        with (inventory.FOLDER / _KEPT).open("rb") as packed:
            unpack = "import sys, tarfile; tarfile.open(fileobj=sys.stdin.buffer, mode='r|').extractall('/')"
            subprocess.run(
                container.execute(self.lab, HOST, ["python3", "-c", unpack]),
                stdin=packed,
                timeout=60,
                check=True,
            )
        folders = " && ".join(
            f"mkdir -p /opt/dify/volumes/{path} && chmod {mode} /opt/dify/volumes/{path}"
            for path, (mode, _) in dify.VOLUMES.items()
        )
        self.sh(
            f"umask 022; {folders}; mkdir -p /opt/ollama /opt/open-webui; docker network create difyfleet"
        )

    def install(self, command: list[str], megabytes: float) -> Install:
        """Run a command that installs the stack, through a link of so many MB/s."""
        models = " && ".join(f"grep -q '\"{name}[\":]' $t" for name in inventory.models())
        probe = (
            "t=$(mktemp); until curl -fsS -m 2 -o $t http://127.0.0.1:11434/api/tags && "
            f"{models} && curl -fsS -m 2 -o /dev/null http://127.0.0.1:8080/health && "
            "curl -fsS -m 2 -o /dev/null http://127.0.0.1/console/api/setup; do sleep 0.5; done 2>/dev/null"
        )
        with (
            link.narrow(self.lab, self.state.host(HOST), megabytes) as traffic,
            tempfile.TemporaryFile() as said,
        ):
            started = time.monotonic()
            watcher, answered = (
                subprocess.Popen(self.argv(f"timeout {_TIMEOUT} sh -c {shlex.quote(probe)}")),
                Answered(),
            )
            note = threading.Thread(target=answered.wait, args=(watcher,), daemon=True)
            note.start()
            done = subprocess.run(
                command, stdout=said, stderr=said, cwd=CHECKOUT, timeout=_TIMEOUT, check=False
            )
            ended = time.monotonic()
            if done.returncode:
                watcher.terminate()
                said.seek(0)
                raise RunFailed(
                    f"`{' '.join(command)}` ended with {done.returncode}:\n{said.read().decode()[-3000:]}"
                )
            note.join(_ANSWER_TIMEOUT)
            if answered.at is None:
                watcher.terminate()
                raise RunFailed(f"after `{' '.join(command)}` not everything answers on {HOST}")
        return Install(answered.at - started, ended - started, traffic)


def _check(argv: list[str]) -> None:
    done = subprocess.run(argv, cwd=CHECKOUT, capture_output=True, text=True, timeout=_TIMEOUT, check=False)
    if done.returncode:
        raise LabError(
            f"`{' '.join(argv)}` ended with {done.returncode}:\n{(done.stderr or done.stdout)[-2000:]}"
        )


def ours(place: Place, megabytes: float) -> Install:
    """`difyfleet apply` of the roles that install."""
    roles = [word for role in ROLES for word in ("--role", role)]
    return place.install([str(_DIFYFLEET), "apply", str(place.inventory), "--yes", *roles], megabytes)


def documents(place: Place, megabytes: float) -> Install:
    """`docker compose up -d` in each folder, then `ollama pull` of each model."""
    place.put_files()
    steps = [f"docker compose --project-directory {folder} up -d --quiet-pull" for folder in PROJECTS]
    steps += [f"docker exec ollama ollama pull {name}" for name in inventory.models()]
    return place.install(place.argv("; ".join(steps)), megabytes)


CONTENDERS: dict[str, Callable[[Place, float], Install]] = {
    "difyfleet apply": ours,
    "docker compose up -d, then ollama pull": documents,
}


def run_pairs(pairs: int, megabytes: float, only: Sequence[str] = ()) -> dict[str, list[Install]]:
    """Install so often with each contender, each time on a fresh host; ours first, because the other needs its files.

    Raises:
        RunFailed: an install did not succeed.
        LabError: there is no lab host to be had.
    """
    place = Place()
    results: dict[str, list[Install]] = {
        name: []
        for name in CONTENDERS
        if CONTENDERS[name] is ours or not only or any(text in name for text in only)
    }
    try:
        for _ in range(pairs):
            for name in results:
                place.fresh()
                results[name].append(CONTENDERS[name](place, megabytes))
                print(f"{name}: {link.describe(results[name][-1].traffic)}", file=sys.stderr, flush=True)
                if CONTENDERS[name] is ours:
                    place.keep_files()
    finally:
        place.remove()
    return results


def render(results: dict[str, list[Install]], megabytes: float) -> str:
    """The table of this row."""
    limit = f"{megabytes:g} MB/s" if megabytes else "not limited"
    text = (
        f"| First install, link {limit} | installs | MB moved | pull phase s | of it idle s | else link busy | ready after s | command s | ready: ours / its |\n"
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n"
    )
    first = next(iter(results.values()))
    for name, installs in results.items():
        windows = [each.traffic.window() for each in installs]
        cells = [
            name,
            str(len(installs)),
            number(median(each.traffic.moved / 1e6 for each in installs), 0),
            number(median(last - start for start, last in windows), 1),
            number(median(each.traffic.idle() for each in installs), 1),
            number(median(each.traffic.busy() for each in installs)),
            number(median(each.ready for each in installs), 1),
            number(median(each.command for each in installs), 1),
            number(median(ratios([each.ready for each in first], [each.ready for each in installs]))),
        ]
        text += f"| {' | '.join(cells)} |\n"
    return text
