"""The house keeps its shape: imports go down only, and every public thing is documented."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

LEAVES = {
    "difyfleet",
    "difyfleet.errors",
    "difyfleet.host_calls",
    "difyfleet.known_script",
    "difyfleet.light_script",
    "difyfleet.exits",
    "difyfleet.secrets",
    "difyfleet.checks",
    "difyfleet.paths",
    "difyfleet.progress",
    "difyfleet.diffs",
    "difyfleet.notes",
    "difyfleet.once",
}
# who may import whom, besides itself and the leaves (docs/architecture.md)
ALLOWED = {
    "difyfleet.cli": {"difyfleet.fleet", "difyfleet.offline", "difyfleet.report", "difyfleet.spec", "lab"},
    "roles": {
        "difyfleet.content",
        "difyfleet.operations",
        "difyfleet.facts",
        "difyfleet.clients",
        "difyfleet.remote",
        "difyfleet.spec",
        "difyfleet.stack",
    },
    "difyfleet.operations": {
        "difyfleet.content",
        "difyfleet.facts",
        "difyfleet.clients",
        "difyfleet.remote",
        "difyfleet.spec",
    },
    "difyfleet.content": {"difyfleet.facts", "difyfleet.clients", "difyfleet.remote", "difyfleet.spec"},
    "difyfleet.fleet": {
        "difyfleet.content",
        "difyfleet.spec",
        "difyfleet.remote",
        "difyfleet.facts",
        "difyfleet.clients",
        "difyfleet.stack",
    },
    "difyfleet.report": {"difyfleet.fleet"},
    "difyfleet.offline": {"difyfleet.spec", "difyfleet.remote", "difyfleet.facts", "difyfleet.fleet"},
    "difyfleet.remote": set(),
    "difyfleet.clients": set(),
    "difyfleet.facts": set(),
    "difyfleet.spec": set(),
    "difyfleet.stack": {"difyfleet.spec"},
}


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def room_of(module: str) -> str:
    parts = module.split(".")
    return ".".join(parts[:2]) if parts[0] == "difyfleet" else parts[0]


def imports_of(path: Path) -> list[str]:
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found += [name.name for name in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            found += [f"{node.module}.{name.name}" for name in node.names]
    return [name for name in found if name.split(".")[0] in ("difyfleet", "roles", "lab", "tests", "bench")]


SOURCES = sorted([*ROOT.glob("difyfleet/**/*.py"), *ROOT.glob("roles/*.py")])


@pytest.mark.parametrize("path", SOURCES, ids=module_of)
def test_imports_go_down(path: Path) -> None:
    room = room_of(module_of(path))
    if room in LEAVES:
        allowed: set[str] = set()
    else:
        allowed = ALLOWED[room]
    for name in imports_of(path):
        target = room_of(name)
        if target in LEAVES or target == room or target == "difyfleet.__version__":
            continue
        assert target in allowed, (
            f"{module_of(path)} imports {name}; {room} may only import {sorted(allowed)}"
        )


def test_reports_know_only_results() -> None:
    for path in ROOT.glob("difyfleet/report/**/*.py"):
        for name in imports_of(path):
            if room_of(name) == "difyfleet.fleet":
                assert name.startswith(("difyfleet.fleet.results", "difyfleet.fleet.streaks")), (
                    f"{path.name} imports {name}"
                )


def test_deploy_is_a_table_of_contents() -> None:
    lines = (ROOT / "deploy.py").read_text().splitlines()
    assert len(lines) < 60


@pytest.mark.parametrize("path", SOURCES, ids=module_of)
def test_public_names_have_docstrings(path: Path) -> None:
    tree = ast.parse(path.read_text())
    if path.name != "__init__.py" or tree.body:
        assert ast.get_docstring(tree), f"{path.relative_to(ROOT)} has no module docstring"
    for node in tree.body:
        if (
            isinstance(node, ast.FunctionDef | ast.ClassDef)
            and not node.name.startswith("_")
            and node.name not in ("wanted", "converge", "checks")
        ):
            long_enough = len(node.body) > 3 or isinstance(node, ast.ClassDef)
            assert ast.get_docstring(node) or not long_enough, (
                f"{path.relative_to(ROOT)}:{node.lineno} {node.name} has no docstring"
            )
