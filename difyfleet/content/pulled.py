"""What `pull` found, as the text of an inventory and as files of documents."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from difyfleet.errors import HostError


class _Dumper(yaml.SafeDumper):
    """Texts of several lines as a person would write them."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)

    def text(self, value: str) -> yaml.ScalarNode:
        """A prompt as a block, a separator in quotes."""
        style = None
        if "\n" in value:
            style = "|" if value.strip() and not re.search(r"[ \t]\n|\t", value) else '"'
        return self.represent_scalar("tag:yaml.org,2002:str", value, style=style)


_Dumper.add_representer(str, _Dumper.text)


@dataclass
class Pulled:
    """Sections of an inventory, and what could not be said in them.

    Args:
        files: document contents to write, by path below the documents' folder.
    """

    models: list[dict[str, Any]] = field(default_factory=list)
    ollama_url: str | None = None
    knowledge: dict[str, dict[str, Any]] = field(default_factory=dict)
    assistants: dict[str, dict[str, Any]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    files: dict[str, bytes] = field(default_factory=dict)

    def yaml(self, host: str) -> str:
        """The text to add to an inventory."""
        dify: dict[str, Any] = {"models": self.models}
        if self.ollama_url:
            dify = {"ollama_url": self.ollama_url, **dify}
        sections = {"dify": dify, "knowledge": self.knowledge, "assistants": self.assistants}
        text = yaml.dump(
            {name: value for name, value in sections.items() if value},
            Dumper=_Dumper,
            allow_unicode=True,
            sort_keys=False,
            width=120,
        )
        head = [
            f"# What is in Dify on {host}, as difyfleet pull found it. Put it into the host's entry or at the top level."
        ]
        return "\n".join([*head, *(f"# {note}" for note in self.notes), text])


def write_files(pulled: Pulled, folder: Path) -> None:
    """Write the documents below a folder that must not hold others of the same names.

    Raises:
        HostError: a file is there already, with another content.
    """
    for name, content in pulled.files.items():
        path = folder / name
        if path.exists() and path.read_bytes() != content:
            raise HostError(
                f"{path} is there already, with another content",
                where="--documents",
                hint="give an empty folder",
            )
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
