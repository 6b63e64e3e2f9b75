"""Walks through the models' annotations: which model or type stands at a key path."""

from __future__ import annotations

import types
from collections.abc import Iterator
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel

from difyfleet.spec.document import Node
from difyfleet.spec.secret_source import MEMBERS


def members(annotation: Any) -> Iterator[Any]:
    """The alternatives of a type: unions taken apart, Annotated removed."""
    origin = get_origin(annotation)
    if origin is Annotated:
        yield from members(get_args(annotation)[0])
    elif origin is Union or origin is types.UnionType:
        for one in get_args(annotation):
            yield from members(one)
    else:
        yield annotation


def models(annotation: Any) -> list[type[BaseModel]]:
    return [one for one in members(annotation) if isinstance(one, type) and issubclass(one, BaseModel)]


def step(annotation: Any, key: str | int) -> Any:
    """The type below `annotation` at a key, an index, or the tag that pydantic puts in an error's location for a union's member."""
    if isinstance(key, str) and key in MEMBERS:
        return MEMBERS[key]
    for one in members(annotation):
        if isinstance(one, type) and issubclass(one, BaseModel):
            if key in one.model_fields:
                return one.model_fields[str(key)].annotation
            if key == one.__name__:
                return one
        elif get_args(one) and isinstance(key, int) and get_origin(one) in (list, tuple):
            return get_args(one)[0]
        elif get_args(one) and isinstance(key, str) and get_origin(one) is dict:
            return get_args(one)[1]
    return annotation


def without_empty_sections(node: Node, annotation: Any) -> Any:
    """The node's value as JSON types; a section written without a value (`https:`) counts as not written."""
    if node.kind == "list":
        return [without_empty_sections(item, step(annotation, i)) for i, item in enumerate(node.items)]
    if node.kind != "mapping":
        return node.value
    found = models(annotation)
    plain: dict[str, Any] = {}
    for key, child in node.entries.items():
        known = any(key in model.model_fields for model in found)
        below = step(annotation, key) if known or not found else Any
        if child.is_null and models(below) and type(None) not in members(below):
            if not known:  # a thing by key, of which nothing is said: all defaults
                plain[key] = {}
            continue
        plain[key] = without_empty_sections(child, below)
    return plain
