"""What difyfleet remembers on the host about what it made in Dify: ids and content hashes, in one root-only file.

Names find things where nothing is remembered (the file was lost, or the thing was made by hand), so the file may be deleted at any time.
It is written after each step, so that a run that was cut knows what the cut one did.
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass, field
from typing import Any

from pyinfra.api import StringCommand

from difyfleet.errors import HostError
from difyfleet.facts.dify_state import STATE_PATH, JsonFile

_CACHED = "difyfleet.dify_state"
_VERSION = 1


@dataclass
class KnownDocument:
    """One document that difyfleet put into Dify.

    Args:
        id: of the document.
        file_id: of the upload it was made of; another one means that somebody replaced it.
        sha256: of the content that was sent.
        rule: fingerprint of the segmentation that was declared when it was sent, or found and taken as it is.
        rule_id: of that segmentation in Dify; another one means that somebody cut it anew.
    """

    id: str
    file_id: str
    sha256: str
    rule: str = ""
    rule_id: str = ""


@dataclass
class KnownKnowledge:
    """One knowledge base."""

    id: str
    documents: dict[str, KnownDocument] = field(default_factory=dict)


@dataclass
class KnownAssistant:
    """One app, and the key that is ours among its keys."""

    id: str
    key_id: str = ""


@dataclass
class DifyState:
    """Everything remembered, by key of the inventory (`dimensions` by embedding model)."""

    knowledge: dict[str, KnownKnowledge] = field(default_factory=dict)
    assistants: dict[str, KnownAssistant] = field(default_factory=dict)
    dimensions: dict[str, int] = field(default_factory=dict)

    def to_json(self) -> str:
        """The file's text; the same state gives the same text."""
        body = {
            "version": _VERSION,
            "dimensions": self.dimensions,
            "knowledge": {
                key: {"id": each.id, "documents": {name: vars(doc) for name, doc in each.documents.items()}}
                for key, each in self.knowledge.items()
            },
            "assistants": {key: vars(each) for key, each in self.assistants.items()},
        }
        return json.dumps(body, ensure_ascii=False, indent=1, sort_keys=True) + "\n"


def parse(data: dict[str, Any] | None) -> DifyState:
    """The state from the file's content. What has another form than expected is forgotten: it is found again by name."""
    state = DifyState()
    if not data or data.get("version") != _VERSION:
        return state
    try:
        for key, each in data["knowledge"].items():
            documents = {name: KnownDocument(**document) for name, document in each["documents"].items()}
            state.knowledge[key] = KnownKnowledge(each["id"], documents)
        state.assistants = {key: KnownAssistant(**each) for key, each in data["assistants"].items()}
        state.dimensions = {name: int(size) for name, size in data["dimensions"].items()}
    except (KeyError, TypeError, AttributeError, ValueError):
        return DifyState()
    return state


def load(on: Any) -> DifyState:
    """The host's state. Read once, and once more when the run has taken the host's lease: until then another run may write it."""
    lease = _lease(on)
    known = on.connector_data.get(_CACHED)
    if known is None or known[0] is not lease:
        known = on.connector_data[_CACHED] = (lease, parse(on.get_fact(JsonFile, path=STATE_PATH)))
    return known[1]  # type: ignore[no-any-return]


def _lease(on: Any) -> Any:
    return getattr(on.connector, "lease", None)


def save(on: Any, state: DifyState) -> None:
    """Write the state file (0600, atomically).

    Raises:
        HostError: it could not be written.
    """
    on.connector_data[_CACHED] = (_lease(on), state)
    write_file(on, STATE_PATH, state.to_json())


def write_file(on: Any, path: str, text: str) -> None:
    """A root-only file with this text, by rename.

    Raises:
        HostError: it could not be written.
    """
    script = (
        f"umask 077; mkdir -p -m 0755 {path.rsplit('/', 1)[0]} && base64 -d > {path}.difyfleet-new "
        f"&& chown root:root {path}.difyfleet-new && mv -fT {path}.difyfleet-new {path}"
    )
    run(on, script, path, stdin=base64.b64encode(text.encode()).decode() + "\n")


def remove_file(on: Any, path: str) -> None:
    """No such file any more.

    Raises:
        HostError: it could not be removed.
    """
    run(on, f"rm -f {path}", path)


def run(on: Any, script: str, where: str, *, stdin: str = "", timeout: int = 120) -> list[str]:
    """A shell script on the host as root; its output lines, error lines last.

    Args:
        where: what it is about, for messages.
        stdin: the place for anything that must not stand in argv.

    Raises:
        HostError: it did not exit 0.
    """
    arguments: dict[str, Any] = {"_sudo": bool(on.data.get("_sudo")), "_timeout": timeout}
    if stdin:
        arguments["_stdin"] = stdin
    ok, output = on.run_shell_command(StringCommand(script), **arguments)
    lines = [*output.stdout_lines, *output.stderr_lines]
    if not ok:
        words = [line for line in lines if line.strip()][-4:]
        raise HostError("; ".join(words) or "the command failed without a word", where=where)
    return lines
