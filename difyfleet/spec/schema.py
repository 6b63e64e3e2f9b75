"""JSON Schema of the inventory FILE, for editors (completion and errors while one types), and of the lock file.

It is looser than the loader (which also checks files, ports and values against each other), never stricter.
"""

from __future__ import annotations

from typing import Any

from pydantic.json_schema import models_json_schema

from difyfleet.spec.annotations import models
from difyfleet.spec.loader import FIELDS, FLEET_SECTIONS, SECTIONS
from difyfleet.spec.lock import Lock
from difyfleet.spec.models import Environment, HostSpec
from difyfleet.spec.section import MAY_BE_MISSING

_REF = "#/$defs/"
_NOT_IN_FILES = (
    "HostSpec",
    "Environment",
    "Warning_",
    "Position",
    "Lock",
    "LockedDocker",
    "LockedImage",
    "LockedModel",
)


def file_schema() -> dict[str, Any]:
    """The schema, draft 7 (what yaml-language-server reads) with `$defs`."""
    _, collected = models_json_schema(
        [(HostSpec, "validation"), (Environment, "validation")], ref_template=_REF + "{model}"
    )
    definitions: dict[str, Any] = collected["$defs"]
    host = definitions["HostSpec"]
    whole = definitions["Environment"]
    sections = {name: _or_nothing(_plain(host["properties"][name])) for name in SECTIONS}
    fleet_sections = {name: _or_nothing(_plain(whole["properties"][name])) for name in FLEET_SECTIONS}
    for info in FIELDS.values():
        for model in models(info.annotation):
            # A host may add to what the top level says, so no single place must hold all of a section.
            definitions[model.__name__].pop("required", None)
    for name in _NOT_IN_FILES:
        definitions.pop(name, None)
    definitions["Host"] = {
        "title": "Host",
        "description": "A host: its address, or a mapping with the address and sections of its own. Nothing = the name is the address.",
        "anyOf": [
            {"type": "null"},
            {"type": "string"},
            {
                "type": "object",
                "additionalProperties": False,
                "properties": {
                    "address": {
                        "type": ["string", "null"],
                        "description": "Host name or IP address. Default: the host's name.",
                    },
                    **sections,
                },
            },
        ],
    }
    schema: dict[str, Any] = _tidy(
        {
            "$schema": "http://json-schema.org/draft-07/schema#",
            "title": "difyfleet inventory",
            "type": "object",
            "additionalProperties": False,
            "required": ["hosts"],
            "patternProperties": {"^x-": {"description": "Ignored; a place for YAML anchors."}},
            "properties": {
                "hosts": {
                    "type": "object",
                    "minProperties": 1,
                    "description": "The hosts by name.",
                    "propertyNames": {"pattern": "^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$"},
                    "additionalProperties": {"$ref": _REF + "Host"},
                },
                "groups": {
                    "type": ["object", "null"],
                    "description": "Names for sets of hosts, for --limit.",
                    "additionalProperties": {"type": "array", "items": {"type": "string"}},
                },
                **sections,
                **fleet_sections,
            },
            "$defs": definitions,
        }
    )
    return schema


def lock_schema() -> dict[str, Any]:
    """The schema of a lock file, for whoever reads one with another program."""
    schema: dict[str, Any] = _tidy(
        {
            "$schema": "http://json-schema.org/draft-07/schema#",
            **Lock.model_json_schema(ref_template=_REF + "{model}"),
            "title": "difyfleet lock file",
        }
    )
    schema["$defs"]["LockedImage"]["minProperties"] = 1
    schema["$defs"]["LockedModel"]["properties"]["blobs"]["additionalProperties"] = (
        False  # no key but a digest
    )
    return schema


def _plain(schema: dict[str, Any]) -> dict[str, Any]:
    """A section's schema without its default: a default of a whole section only repeats those of its keys."""
    return {key: value for key, value in schema.items() if key != "default"}


def _or_nothing(schema: dict[str, Any]) -> dict[str, Any]:
    """A section may be written without a value (`docker:`)."""
    described = {key: schema[key] for key in ("description",) if key in schema}
    bare = {key: value for key, value in schema.items() if key not in described}
    return {"anyOf": [bare, {"type": "null"}], **described}


def _tidy(value: Any) -> Any:
    """Drop what editors only show as noise: generated titles, and keys of our own."""
    if isinstance(value, list):
        return [_tidy(one) for one in value]
    if not isinstance(value, dict):
        return value
    if (
        "$ref" in value and len(value) > 1
    ):  # draft 7 looks at nothing beside a $ref; and a nested section may be empty too
        value = _or_nothing(_plain(value))
    kept = {key: one for key, one in value.items() if key not in (MAY_BE_MISSING, "discriminator")}
    if isinstance(kept.get("title"), str) and "type" in kept and kept.get("type") != "object":
        del kept["title"]
    if isinstance(kept.get("title"), str) and ("anyOf" in kept or "$ref" in kept) and "enum" not in kept:
        del kept["title"]
    return {key: _tidy(one) for key, one in kept.items()}
