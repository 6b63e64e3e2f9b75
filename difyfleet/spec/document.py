"""YAML read so that every value keeps its line and column.

PyYAML's composer gives nodes with positions; the values are resolved here by YAML 1.2's core rules. So `no`, `on` and `22:30`
are text (YAML 1.1 makes booleans and base-60 numbers of them), and a host may be called `no`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

import yaml

from difyfleet.spec.problems import Position, Problems

_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_NODE_LIMIT = 500_000  # aliases of aliases can make a few lines expand without end

# What PyYAML resolves plain values to, and !!str and the like written out. Anything else would need code to build it.
_TAGS = frozenset(
    f"tag:yaml.org,2002:{name}"
    for name in ("null", "bool", "int", "float", "str", "seq", "map", "timestamp", "value", "merge")
)

_NULL = re.compile(r"~|null|Null|NULL|")
_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]*)")
_HEX = re.compile(r"0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?([0-9]+\.[0-9]*|\.[0-9]+|[0-9]+(?=[eE]))([eE][-+]?[0-9]+)?")

Scalar = str | int | float | bool | None


@dataclass(slots=True)
class Node:
    """One value of the file.

    Args:
        kind: mapping, list or scalar.
        at: where the value begins.
        key_at: where its key begins (the value itself for list items and the root).
        path: key path as people write it, `hosts.llm.docker.mirrors[3]`.
    """

    kind: Literal["mapping", "list", "scalar"]
    at: Position
    key_at: Position
    path: str
    value: Scalar = None
    entries: dict[str, Node] = field(default_factory=dict)
    items: list[Node] = field(default_factory=list)

    @property
    def is_null(self) -> bool:
        return self.kind == "scalar" and self.value is None

    def plain(self) -> Any:
        """The value as JSON types."""
        if self.kind == "mapping":
            return {key: child.plain() for key, child in self.entries.items()}
        if self.kind == "list":
            return [child.plain() for child in self.items]
        return self.value

    def child(self, step: str | int) -> Node | None:
        if isinstance(step, int):
            return self.items[step] if self.kind == "list" and step < len(self.items) else None
        return self.entries.get(step)

    def find(self, *steps: str | int) -> Node | None:
        """The node below these keys and indices, or None."""
        node: Node | None = self
        for step in steps:
            node = node.child(step) if node else None
        return node

    def walk(self) -> Iterator[Node]:
        yield self
        for child in (*self.entries.values(), *self.items):
            yield from child.walk()


def join(path: str, key: str) -> str:
    """A key path grown by one key; keys that hold a dot are quoted so that the path stays readable."""
    if not re.fullmatch(r"[\w-]+", key):
        return f'{path}["{key}"]'
    return f"{path}.{key}" if path else key


def merge(base: Node | None, override: Node | None) -> Node | None:
    """Deep merge of two values: mappings key by key, everything else (lists too) replaced. Positions stay those of the origin."""
    if base is None or override is None:
        return override or base
    if base.kind != "mapping" or override.kind != "mapping":
        return override
    merged = Node("mapping", override.at, override.key_at, override.path)
    merged.entries = dict(base.entries)
    for key, value in override.entries.items():
        merged.entries[key] = merge(base.entries.get(key), value) or value
    return merged


def read(text: str, file: str, problems: Problems) -> Node | None:
    """Parse one YAML document.

    Args:
        text: the file's content.
        file: name to show in positions.
        problems: takes syntax errors and duplicate keys; reading goes on after a duplicate key.

    Returns: the root value; None when the file is empty or not YAML.
    """
    try:
        root = yaml.compose(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        at = Position(mark.line + 1, mark.column + 1, file) if mark else Position(1, 1, file)
        problems.error(at, "", f"not valid YAML: {_syntax(error, text)}")
        return None
    except RecursionError:
        problems.error(Position(1, 1, file), "", "nested too deeply to be an inventory")
        return None
    except yaml.YAMLError as error:
        problems.error(Position(1, 1, file), "", f"not valid YAML: {str(error).splitlines()[0]}")
        return None
    return _Builder(file, problems).build(root, "", None) if root is not None else None


def _syntax(error: yaml.MarkedYAMLError, text: str) -> str:
    problem = " ".join(part for part in (error.context, error.problem) if part)
    mark = error.problem_mark
    lines = text.splitlines()
    if mark and mark.line < len(lines) and "\t" in lines[mark.line][: mark.column + 1]:
        problem += "; indent with spaces, not tabs"
    return problem


class _Builder:
    def __init__(self, file: str, problems: Problems) -> None:
        self._file = file
        self._problems = problems
        self._open: set[int] = set()
        self._count = 0

    def build(self, source: yaml.Node, path: str, key_at: Position | None) -> Node:
        at = Position(source.start_mark.line + 1, source.start_mark.column + 1, self._file)
        node = Node("scalar", at, key_at or at, path)
        self._count += 1
        if id(source) in self._open:
            self._problems.error(node.key_at, path, "the alias refers to a value that contains it")
            return node
        if self._count > _NODE_LIMIT:
            if self._count == _NODE_LIMIT + 1:
                self._problems.error(
                    node.key_at, path, f"more than {_NODE_LIMIT} values; aliases expand without end?"
                )
            return node
        if source.tag not in _TAGS:
            self._problems.error(node.key_at, path, f"the tag {source.tag} is not known here")
            return node
        self._open.add(id(source))
        if isinstance(source, yaml.MappingNode):
            node.kind = "mapping"
            self._entries(source, node)
        elif isinstance(source, yaml.SequenceNode):
            node.kind = "list"
            node.items = [self.build(item, f"{path}[{i}]", None) for i, item in enumerate(source.value)]
        else:
            node.value = _scalar(source)
        self._open.discard(id(source))
        return node

    def _entries(self, source: yaml.MappingNode, node: Node) -> None:
        inherited: dict[str, Node] = {}
        for key, value in source.value:
            at = Position(key.start_mark.line + 1, key.start_mark.column + 1, self._file)
            if not isinstance(key, yaml.ScalarNode):
                self._problems.error(at, node.path, "a key must be a single word")
                continue
            name = str(key.value)
            if key.tag == "tag:yaml.org,2002:merge":
                inherited = {**self._merged(value, node.path, at), **inherited}
                continue
            earlier = node.entries.get(name)
            if earlier is not None:
                self._problems.error(
                    at, join(node.path, name), f"this key is already there, at {earlier.key_at}"
                )
                continue
            node.entries[name] = self.build(value, join(node.path, name), at)
        for name, child in inherited.items():
            node.entries.setdefault(name, child)

    def _merged(self, source: yaml.Node, path: str, at: Position) -> dict[str, Node]:
        """The entries that `<<: *anchor` (or a list of anchors, the first one wins) brings in."""
        sources = source.value if isinstance(source, yaml.SequenceNode) else [source]
        entries: dict[str, Node] = {}
        for one in sources:
            built = self.build(one, path, None)
            if built.kind != "mapping":
                self._problems.error(at, path, "<< takes a mapping")
            entries = {**built.entries, **entries}
        return entries


def _scalar(source: Any) -> Scalar:
    text = str(source.value)
    # Quoted, or PyYAML found no YAML 1.1 meaning either. Very long digits are text too: int() refuses them.
    if source.style in ("'", '"', "|", ">") or source.tag == "tag:yaml.org,2002:str" or len(text) > 300:
        return text
    if _NULL.fullmatch(text):
        return None
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    if _INTEGER.fullmatch(text):
        return int(text)
    if _HEX.fullmatch(text):
        return int(text, 16)
    if _FLOAT.fullmatch(text) and math.isfinite(float(text)):
        return float(text)
    return text
