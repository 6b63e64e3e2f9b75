"""The state of a lab host after an apply, and what differs between two of them: the judge of the crash matrix.

Everything is read behind difyfleet's back: files, containers, images, networks, volumes and units as root on the host, Dify's objects
through the port that a browser would use.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import requests

from difyfleet.clients.dify import Dify
from difyfleet.secrets import Secret
from lab.state import State

_SCRIPT = Path(__file__).with_name("hoststate_script.py")
ROOT = Path(__file__).resolve().parents[2]
_LINGER = (
    180.0  # seconds after which no process of a run may be left: TCP tells a host of a cut network that late
)
EMAIL = "admin@example.com"
RESIDUE = "residue"  # what a cut may leave and why that is no fault: see docs/reliability.md


def _argv(name: str, *command: str) -> list[str]:
    return [sys.executable, "-m", "lab", "exec", name, "--", *command]


def shell_of(name: str, script: str) -> list[str]:
    """The argv of a shell script as root on a lab host, not through SSH."""
    return _argv(name, "bash", "-c", script)


def execute(name: str, *command: str, stdin: str = "", timeout: int = 300) -> str:
    """A command as root on a lab host, not through SSH; its standard output.

    Raises:
        AssertionError: it did not exit 0.
    """
    done = subprocess.run(
        _argv(name, *command),
        cwd=ROOT, input=stdin, timeout=timeout, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode != 0:
        raise AssertionError(
            f"{command} on {name}: exit {done.returncode}\n{done.stdout[-2000:]}{done.stderr[-2000:]}"
        )
    return done.stdout


def take(name: str) -> dict[str, Any]:
    """The state of a host, comparable with that of another host or another time."""
    host = State().host(name)
    job = json.dumps({"names": {name: "<host>", host.address: "<address>"}})
    deadline = time.monotonic() + _LINGER
    while True:
        state: dict[str, Any] = json.loads(execute(name, "python3", "-", job, stdin=_SCRIPT.read_text()))
        if not state["left-over commands"] or time.monotonic() > deadline:
            break
        time.sleep(5)
    state["dify"] = dify_objects(name)
    return state


def console(name: str) -> Dify:
    """A logged-in client of the host's Dify."""
    session = requests.Session()
    session.trust_env = False
    client = Dify(session, f"http://127.0.0.1:{State().host(name).http_port}")
    client.session.login(
        EMAIL, Secret(execute(name, "cat", "/etc/difyfleet/secrets/dify_admin_password").strip())
    )
    return client


def dify_objects(name: str) -> dict[str, Any]:
    """What the console shows, by name; lists, so that something doubled shows."""
    dify = console(name)
    datasets = sorted(dify.datasets.all(), key=lambda each: each.name)
    apps = sorted(dify.apps.all(), key=lambda each: each.name)
    return {
        "set up": dify.setup.status().finished,
        "models": sorted(f"{each.type} {each.name} {each.status}" for each in dify.models.all()),
        "default models": {kind: str(dify.models.default(kind)) for kind in ("llm", "text-embedding")},
        "knowledge bases": [
            [each.name, each.description, each.indexing_technique, each.embedding_model, str(each.retrieval)]
            for each in datasets
        ],
        "documents": sorted(
            f"{each.name}: {document.name}: {document.indexing_status}, {'on' if document.enabled else 'off'}"
            for each in datasets
            for document in dify.documents.all(each.id)
        ),
        "apps": [each.name for each in apps],
        "app settings": [app_settings(dify, each.id, {one.id: one.name for one in datasets}) for each in apps],
        "keys": [f"{each.name}: {len(dify.keys.all(each.id))}" for each in apps],
    }  # fmt: skip


def app_settings(dify: Dify, identity: str, datasets: Mapping[str, str]) -> str:
    """An app as it answers, with the names of its knowledge bases."""
    app = dify.apps.get(identity)
    text = f"{app.description} {app.icon} {app.config.settings() if app.config else 'no configuration'}"
    for each, name in datasets.items():
        text = text.replace(each, f"<{name}>")
    return text


def residue(state: Mapping[str, Any]) -> dict[str, int]:
    """Rows that cuts may leave in Dify's database and that nobody sees there: uploads that no document uses, configurations of before."""
    return dict(state["database"][RESIDUE])


def differences(wanted: Any, found: Any, where: str = "") -> list[str]:
    """What differs between two states, one line each; empty = equal. Residue is not compared."""
    return list(_differences(wanted, found, where))


def _differences(wanted: Any, found: Any, where: str) -> Iterator[str]:
    if isinstance(wanted, Mapping) and isinstance(found, Mapping):
        for key in sorted({*wanted, *found}):
            if key == RESIDUE:
                continue
            place = f"{where}: {key}" if where else str(key)
            if key not in found:
                yield f"{place}: missing"
            elif key not in wanted:
                yield f"{place}: surplus, {_short(found[key])}"
            else:
                yield from _differences(wanted[key], found[key], place)
    elif wanted != found:
        yield f"{where}: {_first_difference(wanted, found)}"


def _first_difference(wanted: Any, found: Any) -> str:
    """Two values, or of two long texts or lists only where they part."""
    one, other = _lines(wanted), _lines(found)
    if len(one) + len(other) > 2:
        gone = [line for line in one if one.count(line) > other.count(line)]
        new = [line for line in other if other.count(line) > one.count(line)]
        return f"lacks {gone[:3]}, has {new[:3]}" if gone or new else "the same lines in another order"
    return f"{_short(found)}, wanted {_short(wanted)}"


def _lines(value: Any) -> list[str]:
    items = value if isinstance(value, list) else [value]
    return [line for item in items for line in str(item).splitlines()]


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 200 else f"{text[:200]}..."
