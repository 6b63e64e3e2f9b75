"""The generated files say what the models say; the schema accepts what the loader accepts."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from difyfleet.spec import __main__ as generator
from difyfleet.spec import load
from difyfleet.spec.annotations import models
from difyfleet.spec.loader import SECTIONS
from difyfleet.spec.lock import Lock, LockedImage, LockedModel, render
from difyfleet.spec.models import HostSpec
from difyfleet.spec.schema import file_schema, lock_schema
from tests.unit.spec.conftest import Load

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize("path", list(generator.generated()), ids=lambda path: path.name)
def test_committed_files_are_current(path: Path) -> None:
    assert path.read_text(encoding="utf-8") == generator.generated()[path], "run: python -m difyfleet.spec"


def test_check_finds_a_stale_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(generator, "stack_root", lambda: tmp_path)
    assert generator.main(["--check"]) == 1
    assert "inventory.md is out of date" in capsys.readouterr().err
    assert generator.main([]) == 0
    assert generator.main(["--check"]) == 0


def test_every_key_is_in_the_reference() -> None:
    text = (ROOT / "docs" / "reference" / "inventory.md").read_text()
    for section in SECTIONS:
        for model in models(HostSpec.model_fields[section].annotation):
            part = text.split(f"\n## {section}\n")[1].split("\n## ")[0]
            for name in model.model_fields:
                assert f"| `{name}` |" in part


def test_links_inside_the_reference_lead_somewhere() -> None:
    text = (ROOT / "docs" / "reference" / "inventory.md").read_text()
    headings = {
        re.sub(r"[^\w-]", "", line.lstrip("# ").lower().replace(" ", "-"))
        for line in text.splitlines()
        if line.startswith("#")
    }
    assert set(re.findall(r"\]\(#([^)]+)\)", text)) <= headings


def fits(value: Any, schema: dict[str, Any], root: dict[str, Any]) -> bool:
    """The part of JSON Schema (draft 7) that the file schema uses. An unknown keyword is an error, so that none is skipped."""
    if "$ref" in schema:
        return fits(value, root["$defs"][schema["$ref"].removeprefix("#/$defs/")], root)
    return all(_keyword(word, argument, value, schema, root) for word, argument in schema.items())


_TYPES: dict[str, Any] = {"string": str, "object": dict, "array": list, "null": type(None), "boolean": bool}


def _is_a(name: str, value: Any) -> bool:
    if name in ("integer", "number"):
        return not isinstance(value, bool) and isinstance(value, int if name == "integer" else int | float)
    return isinstance(value, _TYPES[name])


def _keyword(word: str, argument: Any, value: Any, schema: dict[str, Any], root: dict[str, Any]) -> bool:
    match word:
        case "type":
            return any(_is_a(name, value) for name in ([argument] if isinstance(argument, str) else argument))
        case "anyOf":
            return any(fits(value, one, root) for one in argument)
        case "oneOf":
            return sum(fits(value, one, root) for one in argument) == 1
        case "enum":
            return value in argument
        case "const":
            return bool(value == argument)
        case "pattern":
            return not isinstance(value, str) or re.search(argument, value) is not None
        case "minLength" | "minItems" | "minProperties":
            return not isinstance(value, str | list | dict) or len(value) >= argument
        case "maxLength" | "maxItems":
            return not isinstance(value, str | list) or len(value) <= argument
        case "minimum" | "exclusiveMinimum":
            return not isinstance(value, int | float) or (
                value >= argument if word == "minimum" else value > argument
            )
        case "maximum":
            return not isinstance(value, int | float) or value <= argument
        case "items":
            return not isinstance(value, list) or all(fits(one, argument, root) for one in value)
        case "required":
            return not isinstance(value, dict) or set(argument) <= set(value)
        case "propertyNames":
            return not isinstance(value, dict) or all(fits(key, argument, root) for key in value)
        case "properties":
            return not isinstance(value, dict) or all(
                fits(value[key], argument[key], root) for key in argument if key in value
            )
        case "patternProperties":
            return not isinstance(value, dict) or all(
                fits(value[key], below, root)
                for pattern, below in argument.items()
                for key in value
                if re.search(pattern, key)
            )
        case "additionalProperties":
            if not isinstance(value, dict) or argument is True:
                return True
            rest = [
                one
                for key, one in value.items()
                if key not in schema.get("properties", {})
                and not any(re.search(pattern, key) for pattern in schema.get("patternProperties", {}))
            ]
            return not rest if argument is False else all(fits(one, argument, root) for one in rest)
        case "$schema" | "$defs" | "title" | "description" | "default" | "format":
            return True
    raise AssertionError(f"the test does not know the keyword {word}")


def accepted(text: str) -> bool:
    schema = file_schema()
    return fits(yaml.safe_load(text), schema, schema)


@pytest.mark.parametrize("name", ["example.yml", "minimal.yml"])
def test_schema_accepts_the_inventories_of_the_project(name: str) -> None:
    assert accepted((ROOT / "inventory" / name).read_text())


GOOD = [
    "hosts: {a: , b: 10.0.0.1, c: {address: , docker: }}",
    "hosts: {a: }\ndocker:\ndify: {https: , secrets: {db_password: {env: A}}}",
    "x-common: {any: thing}\nhosts: {a: }\ngroups: {g: [a]}",
    "hosts: {a: {admin: {name: x}}}",
    "hosts: {a: }\nollama: {models: [a, {name: b}], keep_alive: '-1'}",
    "hosts: {a: }\nadmin: {password: {command: [pass, show]}}\nssh: {port: 2222}\ndocker: {bip: null, mirror_timeout: 2}",
    "hosts: {a: }\ndify: {env: {A: 1, B: x, C: true}}",
]


@pytest.mark.parametrize("text", GOOD)
def test_the_loader_and_the_schema_accept_it(inventory: Load, text: str) -> None:
    assert accepted(text)
    whole = text if "admin: {password" in text else f"{text}\n"
    if "\nadmin:" in whole:
        whole = whole.replace("admin: {", "admin: {email: a@b.cd, ")
    else:
        whole += "admin: {email: a@b.cd}\n"
    assert inventory(whole).hosts[0].name == "a"


@pytest.mark.parametrize(
    "text",
    [
        "{}",
        "hosts: {}",
        "hosts: [a]",
        "hosts: {a: }\ndockr: {}",
        "hosts: {a: {adress: x}}",
        "hosts: {a: {dify: {http_port: '80'}}}",
        "hosts: {a: }\ndify: {http_port: 0}",
        "hosts: {a: }\ndify: {https: {enabld: true}}",
        "hosts: {a: }\ndify: {log_level: info}",
        "hosts: {a: }\nadmin: {password: hunter2}",
        "hosts: {a: }\nadmin: {password: {env: A, file: b}}",
        "hosts: {a: }\nollama: {models: [{digest: 0123456789ab}]}",
        "hosts: {a/b: }",
        "hosts: {a: }\ngroups: {g: a}",
    ],
)
def test_schema_refuses(text: str) -> None:
    assert not accepted(text)


def test_the_lock_files_schema_accepts_what_is_written_and_no_more() -> None:
    digest = "sha256:" + "a" * 64
    entries = {("image", "nginx:1"): LockedImage(id=digest), ("engine", "29.0"): digest}
    model = LockedModel(digest=digest, blobs={digest: 7})
    written = yaml.safe_load(render(Lock.of({**entries, ("model", "a:b"): model}), "prod.yml"))
    schema = lock_schema()
    assert fits(written, schema, schema)
    for wrong in (
        {**written, "version": 2},
        {"images": {}},
        {**written, "images": {"nginx:1": {}}},
        {**written, "images": {"nginx:1": {"id": "a"}}},
        {**written, "models": {"a:b": {"digest": digest, "blobs": {digest: -1}}}},
        {**written, "models": {"a:b": {"digest": digest, "blobs": {"sha1:2": 1}}}},
        {**written, "image": {}},
    ):
        assert not fits(wrong, schema, schema), wrong


def test_the_schema_holds_nothing_of_ours() -> None:
    text = json.dumps(file_schema())
    assert "may_be_missing" not in text
    assert "HostSpec" not in text


def test_importing_the_package_is_cheap() -> None:
    code = "import sys, difyfleet.spec; print([name for name in ('pydantic', 'yaml', 'cryptography') if name in sys.modules])"
    assert (
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
        ).stdout
        == "[]\n"
    )


def test_two_hundred_hosts_in_under_a_second(folder: Path) -> None:
    lines = ["admin: {email: a@b.cd}", "docker: {mirrors: [https://a.example]}", "hosts:"]
    for i in range(200):
        lines += [
            f"  h{i}:",
            f"    address: 192.168.{i // 100}.{i % 100 + 1}",
            "    ollama: {models: [a, b, {name: c}]}",
            "    dify: {env: {UPLOAD_IMAGE_FILE_SIZE_LIMIT: 3}, https: {enabled: false}}",
            "    docker: {mirrors: [" + ", ".join(f"https://m{j}.example" for j in range(10)) + "]}",
        ]
    (folder / "big.yml").write_text("\n".join(lines))
    start = time.process_time()
    assert len(load("big.yml").hosts) == 200
    assert time.process_time() - start < 1.0
