"""An inventory file, read, checked and resolved: `load(path) -> Environment`.

All that is wrong in a file is reported at once (SpecErrors), each with file:line:col and its key path. Nothing is contacted.
"""

from __future__ import annotations

import ipaddress
import json
import os
import re
from operator import getitem
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, TypeAdapter, ValidationError

from difyfleet.errors import SpecError
from difyfleet.spec.annotations import without_empty_sections
from difyfleet.spec.content_checks import check_content
from difyfleet.spec.document import Node, join, merge, read
from difyfleet.spec.explain import did_you_mean, explain, given, unknown_key
from difyfleet.spec.host_checks import check_duplicate_hosts, check_host
from difyfleet.spec.local_files import LoadContext
from difyfleet.spec.lock import Lock, lock_path
from difyfleet.spec.models import Environment, HostSpec
from difyfleet.spec.offline import check_offline, resolved
from difyfleet.spec.pins import hold, read_lock, warn_of_leftovers
from difyfleet.spec.problems import Problems
from difyfleet.spec.secret_source import MEMBERS, Place
from difyfleet.spec.section_checks import check_section, check_variables

SECTIONS = tuple(
    name for name in HostSpec.model_fields if name not in ("name", "address", "groups", "locked_images")
)
FLEET_SECTIONS = (
    "drift",
    "rollout",
)  # of Environment: they concern all hosts at once, so no host can have its own
FIELDS = {name: HostSpec.model_fields[name] for name in SECTIONS} | {
    name: Environment.model_fields[name] for name in FLEET_SECTIONS
}

_HOST_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?")
_SOURCES = tuple(MEMBERS.values())
_ADAPTERS: dict[str, TypeAdapter[Any]] = {}


def load(path: str | Path, *, locked: bool = True) -> Environment:
    """Read an inventory file, and the lock file beside it if there is one.

    Args:
        path: YAML file. Paths in it are relative to its folder.
        locked: hold the hosts to the lock file; False = it is about to be written, leave it alone.

    Raises:
        SpecError: the file cannot be read at all.
        SpecErrors: everything that is wrong in it.
    """
    file = Path(path)
    problems = Problems()
    root = read(_text(file), str(path), problems)
    if root is None or root.kind != "mapping":
        problems.raise_if_any()
        what = f"should hold a mapping with the key hosts, not {given(root)}" if root else "is empty"
        raise SpecError(
            what,
            where=str(path),
            hint="inventory/example.yml shows all of it, inventory/minimal.yml the least",
        )
    return _Loading(file, root, problems, locked).environment()


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise SpecError("there is no such inventory file", where=str(file)) from None
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise SpecError("is not UTF-8 text", where=f"{file}:{line}") from None
    except OSError as error:
        raise SpecError(f"cannot be read: {error.strerror}", where=str(file)) from None


class _Loading:
    """One file on its way to an Environment. A section that several hosts share is validated and checked once."""

    def __init__(self, file: Path, root: Node, problems: Problems, locked: bool) -> None:
        self._file = file
        self._locked = locked and lock_path(file).exists()
        self._root = root
        self._problems = problems
        self._context = LoadContext(Path(os.path.abspath(file)).parent)
        self._built: dict[tuple[str, int], tuple[Any, Node | None]] = {}

    def environment(self) -> Environment:
        self._top_level_keys()
        entries = self._host_entries()
        groups = self._groups(entries)
        specs: list[tuple[HostSpec, Node]] = []
        for name, node in entries.items():
            spec = self._host(name, node, tuple(group for group, names in groups.items() if name in names))
            if spec is not None:
                specs.append((spec, node))
        check_duplicate_hosts(specs, self._problems)
        if not entries:  # no host uses the sections; their errors are worth knowing all the same
            for section in SECTIONS:
                self._section(section, None)
        fleet = {section: self._section(section, None)[0] for section in FLEET_SECTIONS}
        self._problems.raise_if_any()
        hosts, lock = self._held(specs) if self._locked else (tuple(spec for spec, _ in specs), None)
        return Environment(
            name=self._file.stem,
            path=Path(os.path.abspath(self._file)),
            hosts=hosts,
            lock=lock,
            groups=groups,
            warnings=self._problems.warnings(),
            **fleet,
        )

    def _held(self, specs: list[tuple[HostSpec, Node]]) -> tuple[tuple[HostSpec, ...], Lock | None]:
        """The hosts, held to the lock file where there is one."""
        hosts = tuple(spec for spec, _ in specs)
        found = read_lock(lock_path(self._file), self._problems)
        self._problems.raise_if_any()
        if found is None:
            return hosts, None
        lock, root = found
        warn_of_leftovers(hosts, lock, root, str(self._file), self._problems)
        held = tuple(
            hold(spec, self._nodes(node), node, lock, str(self._file), self._problems) for spec, node in specs
        )
        self._problems.raise_if_any()
        return held, lock

    def _nodes(self, host: Node) -> dict[str, Node | None]:
        own = host.entries if host.kind == "mapping" else {}
        return {section: self._section(section, own.get(section))[1] for section in SECTIONS}

    def _top_level_keys(self) -> None:
        for key, node in self._root.entries.items():
            if key not in (*FIELDS, "hosts", "groups") and not key.startswith("x-"):
                self._problems.error(node.key_at, key, unknown_key(key, others=("hosts", "groups", *FIELDS)))

    def _host_entries(self) -> dict[str, Node]:
        hosts = self._root.child("hosts")
        if hosts is None:
            self._problems.error(self._root.at, "hosts", "is missing; write `hosts: {NAME: ADDRESS}`")
            return {}
        if hosts.kind != "mapping" or not hosts.entries:
            self._problems.error(
                hosts.at,
                "hosts",
                f"should be a mapping of host names, as in `llm: 192.168.44.170`, not {given(hosts)}",
            )
            return {}
        return hosts.entries

    def _groups(self, hosts: dict[str, Node]) -> dict[str, tuple[str, ...]]:
        node = self._root.child("groups")
        groups: dict[str, tuple[str, ...]] = {}
        if node is None or node.is_null:
            return groups
        if node.kind != "mapping":
            self._problems.error(
                node.at, "groups", f"should be a mapping, as in `dify: [a, b]`, not {given(node)}"
            )
            return groups
        for name, members in node.entries.items():
            if name in hosts or name == "all":
                what = "every host" if name == "all" else f"a host ({hosts[name].key_at})"
                self._problems.error(members.key_at, members.path, f"the name already means {what}")
            if members.kind != "list":
                self._problems.error(
                    members.at, members.path, f"should be a list of host names, not {given(members)}"
                )
                continue
            for item in members.items:
                if str(item.value) not in hosts:
                    text = f"there is no host {given(item)}{did_you_mean(item.value, hosts)}"
                    self._problems.error(item.at, item.path, text)
            groups[name] = tuple(dict.fromkeys(str(item.value) for item in members.items))
        return groups

    def _host(self, name: str, node: Node, groups: tuple[str, ...]) -> HostSpec | None:
        if not _HOST_NAME.fullmatch(name):
            self._problems.error(
                node.key_at, node.path, "a host name has letters, digits, dots, - and _ only"
            )
        own = node.entries if node.kind == "mapping" else {}
        for key, child in own.items():
            if key in FLEET_SECTIONS:
                self._problems.error(
                    child.key_at, child.path, f"concerns all hosts: move {key} to the top level of the file"
                )
            elif key not in ("address", *SECTIONS):
                self._problems.error(
                    child.key_at, child.path, unknown_key(key, others=("address", *SECTIONS))
                )
        address = self._address(name, node)
        values: dict[str, Any] = {}
        nodes: dict[str, Node | None] = {}
        for section in SECTIONS:
            values[section], nodes[section] = self._section(section, own.get(section))
        failed = {section for section, value in values.items() if value is _FAILED}
        parts = {"name": name, "address": address or name, "groups": groups, **values}
        if failed:  # what is wrong between the sections that are well is worth knowing in the same run
            defaults = {
                section: HostSpec.model_fields[section].get_default(call_default_factory=True)
                for section in failed
            }
            spec = HostSpec.model_construct(**{**parts, **defaults})
        else:
            try:
                spec = HostSpec(**parts)
            except ValidationError as error:
                whole = Node("mapping", node.at, node.key_at, node.path)
                whole.entries = {section: below for section, below in nodes.items() if below is not None}
                explain(error, HostSpec, whole, self._problems)
                return None
        check_host(spec, nodes, node, failed, self._problems)
        check_content(spec, nodes, node, failed, self._problems)
        check_offline(spec, nodes, node, self._problems)
        return None if "ssh" in failed else resolved(spec)

    def _address(self, name: str, node: Node) -> str | None:
        """The address as written, or None: then the name is the address (and ssh_config may know more of it)."""
        written = node.child("address") if node.kind == "mapping" else node
        if written is None or written.is_null:
            return None
        if written.kind != "scalar":
            self._problems.error(
                written.at,
                written.path,
                f"should be an address or a mapping with address and sections, not {given(written)}",
            )
            return None
        if not isinstance(written.value, str):
            self._problems.error(written.at, written.path, f"should be an address, not {given(written)}")
            return None
        reason = _no_address(written.value)
        if reason:
            self._problems.error(written.at, written.path, reason)
        return written.value

    def _section(self, name: str, own: Node | None) -> tuple[Any, Node | None]:
        """A section's value (or _FAILED) and its merged node. `own` is what the host says, on top of the file's top level."""
        if own is not None and own.is_null:
            own = None
        key = (name, id(own) if own is not None else 0)
        if key not in self._built:
            shared = self._root.child(name)
            merged = merge(None if shared is None or shared.is_null else shared, own)
            self._built[key] = (self._validated(name, merged), merged)
        return self._built[key]

    def _validated(self, name: str, node: Node | None) -> Any:
        info = FIELDS[name]
        if node is None:
            if info.is_required():
                self._problems.error(
                    self._root.at, name, f"is missing; write `{name}: {_EXAMPLES.get(name, '...')}`"
                )
                return _FAILED
            return info.get_default(call_default_factory=True)
        if name not in _NAMED:  # there a key `env` is somebody's name
            check_variables(name, node, self._problems)
        plain = without_empty_sections(node, info.annotation)
        try:
            value = _adapter(name).validate_json(json.dumps(plain), strict=True, context=self._context)
        except ValidationError as error:
            explain(error, info.annotation, node, self._problems)
            return _FAILED
        _place_sources(value, node, name)
        check_section(name, value, node, self._problems, locked=self._locked)
        return value


_FAILED = object()
_NAMED = ("knowledge", "assistants")  # sections that hold things by key
_EXAMPLES = {"admin": "{email: you@example.com}"}


def _adapter(section: str) -> TypeAdapter[Any]:
    if section not in _ADAPTERS:
        info = FIELDS[section]
        annotation: Any = info.annotation
        if info.metadata:
            annotation = getitem(Annotated, (annotation, *info.metadata))
        _ADAPTERS[section] = TypeAdapter(annotation)
    return _ADAPTERS[section]


def _no_address(text: str) -> str | None:
    if "://" in text or "/" in text or re.search(r"\s", text) or not text:
        return f"{text!r} is not a host name or IP address"
    if "@" in text:
        return f"{text!r} is not an address; the login name is ssh.user"
    if ":" in text:
        try:
            ipaddress.ip_address(text)
        except ValueError:
            return f"{text!r} is not an address; the port is ssh.port"
    return None


def _place_sources(value: Any, node: Node, field: str) -> None:
    """Tell every secret source where it was declared, so that a missing value can be reported with its position."""
    if isinstance(value, _SOURCES):
        value.declared_at(Place(str(node.at), node.path, field))
    elif isinstance(value, BaseModel) and node.kind == "mapping":
        for key, child in node.entries.items():
            _place_sources(getattr(value, key, None), child, join(field, key))
    elif isinstance(value, list | tuple) and node.kind == "list":
        for i, (one, child) in enumerate(zip(value, node.items, strict=False)):
            _place_sources(one, child, f"{field}[{i}]")
    elif isinstance(value, dict) and node.kind == "mapping":
        for key, child in node.entries.items():
            _place_sources(value.get(key), child, join(field, key))
