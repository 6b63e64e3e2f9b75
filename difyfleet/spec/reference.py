"""docs/reference/inventory.md, rendered from the models, so that it cannot say anything else than they do."""

from __future__ import annotations

import types
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from difyfleet.spec import dify_env, rollout, values
from difyfleet.spec.annotations import models
from difyfleet.spec.explain import PATTERN_WORDS
from difyfleet.spec.loader import FIELDS, FLEET_SECTIONS
from difyfleet.spec.secret_source import MEMBERS

_SOURCES = tuple(MEMBERS.values())
_WORDS = {
    str: "text",
    int: "whole number",
    float: "number",
    bool: "true or false",
    Path: "path",
    dict: "mapping",
}
_VALUE_WORDS: dict[Any, str] = {
    values.mirror_url: "mirror URL",
    values.http_url: "URL",
    values.insecure_registry: "host:port or CIDR",
    values.bridge_address: "address in CIDR form",
    values.address_pool: "{base: CIDR, size: prefix length}",
    values.bind_address: "IP address",
    values.image_reference: "image",
    values.duration: "duration (30m, 1h30m)",
    values.server_name: "host names or `_`",
    values.log_size: "size (20m)",
    rollout.share: "share (25%)",
}
_LONG = 3  # lists longer than this are shown below the table

_HEAD = """\
# The inventory, key by key

<!-- Made by `python -m difyfleet.spec` from the models in difyfleet/spec/. Edit those, not this page. -->

An inventory is one YAML file per environment. `difyfleet validate FILE` checks it without a network and reports everything
that is wrong at once, each with `file:line:col`. [inventory/example.yml](../../inventory/example.yml) is a commented example;
[difyfleet.schema.json](difyfleet.schema.json) gives completion in editors:

```yaml
# yaml-language-server: $schema=../docs/reference/difyfleet.schema.json
admin: {email: ops@example.com}
hosts:
  llm: 192.168.44.170
```

## The file

| Key | Type | Default | Meaning |
| --- | --- | --- | --- |
| `hosts` | mapping of host names | required | The hosts. Behind each name: an address, or a mapping with `address` and sections of its own, or nothing (then the name is the address, and ssh_config may say more about it). |
| `groups` | mapping of lists of host names | none | Names for sets of hosts, for `--limit`. |
| `x-...` | anything | none | Ignored: a place for YAML anchors. |
"""

_RULES = """\

A section at the top level holds for all hosts. A host may carry the same sections: mappings are merged key by key, lists and
single values are replaced. Only @FLEET@ cannot be a host's own: they concern all hosts at once.

- A path is a file **on the controller**, relative to the inventory file; `~` is the home folder. It must exist.
- Text that looks like a number is put in quotes. `true` and `false` are the only booleans.
- `NAME.lock.yml` beside `NAME.yml` is the [lock file](../lockfile.md): every image, model and engine that is declared must be in it.
- `--limit` takes host names, group names, patterns (`llm*`) and `all`, comma separated.

## Secrets

A secret itself is never written into an inventory; a *secret source* says where it comes from:

| Form | The value is |
| --- | --- |
"""

_SOURCE_RULES = """\

Left out, a secret is generated once at first apply and kept on the host, readable by root only. Values of `dify.secrets` travel in
.env files and URLs, so they are printable ASCII without blanks and without `' " \\ $ # % @ : / ` and the backquote. Secrets that upstream
projects publish as defaults are refused.
"""


def markdown() -> str:
    """The whole page."""
    parts = [_HEAD]
    for name, info in FIELDS.items():
        found = models(info.annotation)
        if found:
            meaning = f"See [{name}](#{name}). {_first_line(found[0])}"
            parts.append(
                f"| `{name}` | {_type_of(info, name)} | {'required' if info.is_required() else 'all defaults'} | {meaning} |\n"
            )
        else:
            parts.append(_row(name, info, name))
    parts.append(_RULES.replace("@FLEET@", " and ".join(f"`{name}`" for name in FLEET_SECTIONS)))
    parts += [f"| `{_form(source)}` | {_cell(source.__doc__ or '')} |\n" for source in _SOURCES]
    parts.append(_SOURCE_RULES)
    for name, info in FIELDS.items():
        annotation = info.annotation
        for model in [
            *models(annotation),
            *(one for item in _item_types(annotation) for one in models(item)),
        ]:
            parts += _section(name, model, 2)
    parts += _env_table()
    return "".join(parts)


def _section(path: str, model: type[BaseModel], level: int) -> Iterator[str]:
    """A table of the model's keys, what is too long for it, then the models below it."""
    yield f"\n{'#' * level} {path}\n\n{(model.__doc__ or '').strip()}\n\n| Key | Type | Default | Meaning |\n| --- | --- | --- | --- |\n"
    long: list[str] = []
    below: list[tuple[str, type[BaseModel]]] = []
    for name, info in model.model_fields.items():
        yield _row(name, info, f"{path}.{name}")
        default = info.get_default(call_default_factory=True) if not info.is_required() else None
        if isinstance(default, list | tuple) and len(default) > _LONG:
            long.append(
                f"\nDefault of `{name}`:\n\n```yaml\n{yaml.safe_dump(list(default), sort_keys=False, width=1000)}```\n"
            )
        below += [(f"{path}.{name}", one) for one in models(info.annotation) if one not in _SOURCES]
        below += [
            (f"{path}.{name}[]", one)
            for item in _item_types(info.annotation)
            for one in models(item)
            if one not in _SOURCES
        ]
    yield from long
    for nested, one in below:
        yield from _section(nested, one, level + 1)


def _row(name: str, info: FieldInfo, path: str) -> str:
    return f"| `{name}` | {_cell(_type_of(info, path))} | {_cell(_default_of(info))} | {_cell(info.description or '')} |\n"


def _default_of(info: FieldInfo) -> str:
    if info.is_required():
        return "required"
    default = info.get_default(call_default_factory=True)
    if default is None or default is PydanticUndefined:
        return "none"
    if isinstance(default, BaseModel):
        return "all defaults"
    if isinstance(default, list | tuple | dict):
        if not default:
            return "empty"
        if len(default) > _LONG:
            return f"{len(default)} entries, below"
    if isinstance(default, tuple):
        default = list(default)
    return f"`{yaml.safe_dump(default, default_flow_style=True, width=1000).removesuffix(chr(10)).removesuffix('...').strip()}`"


def _type_of(info: FieldInfo, path: str) -> str:
    return _words(info.annotation, info.metadata, path)


def _words(annotation: Any, metadata: list[Any], path: str) -> str:
    """A type in words: `whole number, 1 to 65535`."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _words(arguments[0], [*arguments[1:], *metadata], path)
    for one in metadata:
        if isinstance(one, FieldInfo):
            return _words(
                annotation, [*one.metadata, *(other for other in metadata if other is not one)], path
            )
        checker, pattern = getattr(one, "func", None), getattr(one, "pattern", None)
        if checker in _VALUE_WORDS:
            return _VALUE_WORDS[checker]
        if pattern in PATTERN_WORDS:
            return PATTERN_WORDS[pattern].removeprefix("an ").removeprefix("a ")
    if origin is Union or origin is types.UnionType:
        return _union(arguments, metadata, path)
    if origin is Literal:
        return (
            "one of " + ", ".join(f"`{value}`" for value in arguments)
            if len(arguments) > 1
            else f"`{arguments[0]}`"
        )
    if origin in (list, tuple):
        return f"list of {_words(arguments[0], [], path)}"
    if origin is dict:
        return "mapping" if arguments[1] is Any else f"mapping of {_words(arguments[1], [], path)}"
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return "[secret source](#secrets)" if annotation in _SOURCES else f"[{path}](#{_anchor(path)})"
    return _WORDS.get(annotation, str(annotation)) + _limits(metadata)


def _union(arguments: tuple[Any, ...], metadata: list[Any], path: str) -> str:
    words = [_words(one, metadata, path) for one in arguments if one is not type(None)]
    return " or ".join(dict.fromkeys(words))


def _limits(metadata: list[Any]) -> str:
    """`, 1 to 65535` from Field(ge=1, le=65535)."""
    bounds = {
        name: getattr(one, name)
        for one in metadata
        for name in ("ge", "gt", "le", "lt")
        if getattr(one, name, None) is not None
    }
    low = bounds.get("ge", bounds.get("gt"))
    high = bounds.get("le", bounds.get("lt"))
    if low is not None and high is not None:
        return f", {'above ' if 'gt' in bounds else ''}{low} to {high}"
    if low is not None:
        return f", {'above' if 'gt' in bounds else 'at least'} {low}"
    return f", at most {high}" if high is not None else ""


def _item_types(annotation: Any) -> Iterator[Any]:
    """The types that a list (or mapping of things) holds, through unions."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin in (list, tuple):
        yield arguments[0]
    elif origin is dict:
        yield arguments[1]
    elif origin is Annotated:
        yield from _item_types(arguments[0])
    elif origin is Union or origin is types.UnionType:
        for one in arguments:
            yield from _item_types(one)


def _env_table() -> Iterator[str]:
    yield (
        "\n## Keys of dify.env\n\nThese are set by difyfleet and refused in `dify.env`:\n\n"
        "| Key | Set by |\n| --- | --- |\n"
    )
    for key, target in dify_env.MANAGED.items():
        if target.startswith("dify."):
            yield f"| `{key}` | `{target}` |\n"
    fixed = ", ".join(
        f"`{key}`" for key, target in dify_env.MANAGED.items() if not target.startswith("dify.")
    )
    yield f"\nFixed by the compose project: {fixed}.\n\nThese have a known type; other keys are passed on as text:\n\n"
    yield "| Type | Keys |\n| --- | --- |\n"
    kinds: dict[str, list[str]] = {}
    for key, kind in dify_env.KNOWN.items():
        kinds.setdefault(kind.word, []).append(f"`{key}`")
    for word, keys in kinds.items():
        yield f"| {_cell(word)} | {', '.join(sorted(keys))} |\n"


def _form(source: type[BaseModel]) -> str:
    (name,) = source.model_fields
    example = {"env": "NAME", "file": "PATH", "command": "[PROGRAM, ARGUMENT]", "generate": "true"}[name]
    return f"{{{name}: {example}}}"


def _first_line(model: type[BaseModel]) -> str:
    return _cell((model.__doc__ or "").strip().splitlines()[0])


def _anchor(path: str) -> str:
    """GitHub's anchor of a heading."""
    return "".join(character for character in path.lower() if character.isalnum() or character in "-_")


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
