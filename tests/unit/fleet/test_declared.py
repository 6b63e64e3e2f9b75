"""Corrective or intentional: digests of declarations, and what is remembered of them."""

from __future__ import annotations

import json
import stat
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml

from difyfleet.fleet.declared import Memory, controller_key, digest, plain
from difyfleet.fleet.results import (
    CHANGED,
    CORRECTIVE,
    FAILED,
    INTENTIONAL,
    UNCHANGED,
    WOULD_CHANGE,
    OperationResult,
)
from difyfleet.operations.base import declaration
from difyfleet.operations.config_set import ConfigFile
from difyfleet.paths import state_dir
from difyfleet.secrets import Secret
from difyfleet.spec import load
from difyfleet.spec.drift import RoleName
from difyfleet.spec.models import Environment, HostSpec
from difyfleet.spec.secret_source import FromEnv
from difyfleet.spec.secret_values import forget
from difyfleet.stack import Part

ROOT = Path(__file__).resolve().parents[3]
KEY = b"k" * 32
ROLES = sorted(path.stem for path in (ROOT / "roles").glob("*.py") if not path.stem.startswith("_"))


def inventory(tmp_path: Path, **sections: Any) -> Environment:
    path = tmp_path / "prod.yml"
    path.write_text(yaml.safe_dump({"admin": {"email": "a@b.cd"}, "hosts": {"llm": "10.0.0.1"}, **sections}))
    return load(path)


# -- digests ---------------------------------------------------------------------------------------------------


def test_equal_declarations_have_equal_digests_whatever_the_order_of_keys() -> None:
    assert digest({"a": 1, "b": (1, 2)}, KEY) == digest({"b": [1, 2], "a": 1}, KEY)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (1, "1"),
        (None, ""),
        (True, 1.5),
        ([1, 2], [2, 1]),
        (b"a", "a"),
        (Secret("hunter22"), Secret("hunter23")),
        (Secret("hunter22"), "hunter22"),
        (ConfigFile("a"), ConfigFile("a", mode="0600")),
        ({"a": None}, {}),
    ],
)
def test_different_declarations_have_different_digests(one: Any, other: Any) -> None:
    assert digest(one, KEY) != digest(other, KEY)


def test_a_digest_says_nothing_without_the_key() -> None:
    assert digest(Secret("hunter22"), KEY) != digest(Secret("hunter22"), b"x" * 32)


def test_a_file_counts_by_its_content(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("one")
    before = digest(path, KEY)
    path.write_text("two, longer")
    assert digest(path, KEY) != before
    path.write_text("one")
    assert digest(path, KEY) == before


def test_a_folder_counts_by_all_files_in_it(tmp_path: Path) -> None:
    (tmp_path / "d" / "e").mkdir(parents=True)
    before = digest(tmp_path / "d", KEY)
    (tmp_path / "d" / "e" / "new.md").write_text("x")
    assert digest(tmp_path / "d", KEY) != before


def test_a_secret_source_counts_by_its_value(monkeypatch: pytest.MonkeyPatch) -> None:
    forget()
    monkeypatch.setenv("A_SECRET", "hunter22")
    monkeypatch.setenv("ANOTHER_NAME", "hunter22")
    assert digest(FromEnv(env="A_SECRET"), KEY) == digest(FromEnv(env="ANOTHER_NAME"), KEY)
    before = digest(FromEnv(env="A_SECRET"), KEY)
    forget()
    monkeypatch.setenv("A_SECRET", "hunter23")
    assert digest(FromEnv(env="A_SECRET"), KEY) != before
    forget()


def test_a_new_release_is_another_declaration(monkeypatch: pytest.MonkeyPatch) -> None:
    before = digest("x", KEY)
    monkeypatch.setattr("difyfleet.fleet.declared.__version__", "99.0")
    assert digest("x", KEY) != before


def test_what_has_no_identity_is_refused() -> None:
    with pytest.raises(TypeError, match="function"):
        plain([lambda: None])


def test_the_key_is_private_and_stays() -> None:
    assert controller_key() == controller_key()
    assert stat.S_IMODE((state_dir() / "declared.key").stat().st_mode) == 0o600


# -- what is remembered ----------------------------------------------------------------------------------------


def run(
    environment: Environment, states: dict[str, str], declared: dict[str, Any], role: str = "docker"
) -> list[str | None]:
    """One run that found (or left) the operations so; the kinds that it told."""
    memory = Memory(environment)
    operations = [OperationResult(role, name, state) for name, state in states.items()]
    memory.judge("llm", operations, [declared[name] for name in states])
    memory.settle("llm", operations)
    memory.save()
    return [operation.kind for operation in operations]


def test_nothing_remembered_nothing_said(tmp_path: Path) -> None:
    environment = inventory(tmp_path)
    assert run(environment, {"a": WOULD_CHANGE}, {"a": 1}) == [None]


def test_a_changed_host_is_corrective_and_a_changed_inventory_intentional(tmp_path: Path) -> None:
    environment = inventory(tmp_path)
    run(environment, {"a": CHANGED, "b": UNCHANGED}, {"a": 1, "b": 1})
    assert run(environment, {"a": WOULD_CHANGE, "b": WOULD_CHANGE}, {"a": 1, "b": 2}) == [
        CORRECTIVE,
        INTENTIONAL,
    ]
    assert run(environment, {"a": WOULD_CHANGE, "b": WOULD_CHANGE}, {"a": 1, "b": 2}) == [
        CORRECTIVE,
        INTENTIONAL,
    ]
    assert run(environment, {"a": CHANGED, "b": CHANGED}, {"a": 1, "b": 2}) == [CORRECTIVE, INTENTIONAL]
    assert run(environment, {"a": UNCHANGED, "b": WOULD_CHANGE}, {"a": 1, "b": 2}) == [None, CORRECTIVE]


def test_an_operation_that_was_never_clean_is_not_known_and_stays_so(tmp_path: Path) -> None:
    environment = inventory(tmp_path)
    for _ in range(2):
        assert run(environment, {"a": UNCHANGED, "b": WOULD_CHANGE}, {"a": 1, "b": 1}) == [None, None]
    run(environment, {"a": UNCHANGED, "b": FAILED}, {"a": 1, "b": 1})
    assert run(environment, {"a": UNCHANGED, "b": WOULD_CHANGE}, {"a": 1, "b": 1}) == [None, None]


def test_a_new_operation_of_a_known_role_is_intentional_until_it_is_done(tmp_path: Path) -> None:
    environment = inventory(tmp_path)
    run(environment, {"a": UNCHANGED}, {"a": 1})
    for _ in range(2):
        assert run(environment, {"a": UNCHANGED, "new": WOULD_CHANGE}, {"a": 1, "new": 1}) == [
            None,
            INTENTIONAL,
        ]
    run(environment, {"a": UNCHANGED, "new": CHANGED}, {"a": 1, "new": 1})
    assert run(environment, {"a": UNCHANGED, "new": WOULD_CHANGE}, {"a": 1, "new": 1}) == [None, CORRECTIVE]


def test_an_operation_that_was_renamed_and_back_is_new_again(tmp_path: Path) -> None:
    """`9 images` becomes `10 images` and `9 images` again."""
    environment = inventory(tmp_path)
    run(environment, {"9": UNCHANGED}, {"9": 1})
    assert run(environment, {"10": WOULD_CHANGE}, {"10": 2}) == [INTENTIONAL]
    run(environment, {"10": CHANGED}, {"10": 2})
    assert run(environment, {"9": WOULD_CHANGE}, {"9": 1}) == [INTENTIONAL]


def test_roles_that_a_run_left_out_are_not_forgotten(tmp_path: Path) -> None:
    environment = inventory(tmp_path)
    run(environment, {"a": UNCHANGED}, {"a": 1})
    run(environment, {"x": UNCHANGED}, {"x": 1}, role="ollama")
    assert run(environment, {"a": WOULD_CHANGE}, {"a": 1}) == [CORRECTIVE]


def test_a_host_that_left_the_inventory_is_forgotten(tmp_path: Path) -> None:
    run(inventory(tmp_path, hosts={"llm": "10.0.0.1", "gone": "10.0.0.2"}), {"a": UNCHANGED}, {"a": 1})
    (file,) = (tmp_path / "state" / "environments").glob("prod-*/declared.json")
    entries = json.loads(file.read_text())
    entries["hosts"]["gone"] = entries["hosts"]["llm"]
    file.write_text(json.dumps(entries))
    run(inventory(tmp_path), {"a": UNCHANGED}, {"a": 2})
    assert list(json.loads(file.read_text())["hosts"]) == ["llm"]


def test_a_file_that_is_broken_counts_as_nothing_remembered(tmp_path: Path) -> None:
    environment = inventory(tmp_path)
    run(environment, {"a": UNCHANGED}, {"a": 1})
    (file,) = (tmp_path / "state" / "environments").glob("prod-*/declared.json")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    file.write_text('{"version": 1, "ho')
    assert run(environment, {"a": WOULD_CHANGE}, {"a": 1}) == [None]


def test_two_inventories_of_one_name_are_two_environments(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    run(inventory(tmp_path), {"a": UNCHANGED}, {"a": 1})
    assert run(inventory(tmp_path / "x"), {"a": WOULD_CHANGE}, {"a": 1}) == [None]


def test_no_secret_is_in_the_file(tmp_path: Path) -> None:
    run(inventory(tmp_path), {"a": UNCHANGED}, {"a": {"password": Secret("hunter22"), "text": "canary-text"}})
    text = "".join(path.read_text() for path in (tmp_path / "state").rglob("*") if path.is_file())
    assert "hunter22" not in text
    assert "canary-text" not in text


# -- what the roles declare ------------------------------------------------------------------------------------

FULL: dict[str, Any] = {
    "docker": {"mirrors": ["https://a.example"]},
    "ollama": {"models": ["qwen2.5:7b", "bge-m3"], "remove_undeclared_models": True},
    "openwebui": {"admin": {"password": {"env": "WEBUI_PASSWORD"}}},
    "dify": {"secrets": {"db_password": {"env": "DB_PASSWORD"}}, "upload_limit_mb": 20},
    "knowledge": {"handbook": {"documents": "documents"}, "faq": {"description": "short"}},
    "assistants": {"helper": {"knowledge": ["handbook"], "prompt": "Answer."}},
}


@pytest.fixture
def secrets_given(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    forget()
    monkeypatch.setenv("WEBUI_PASSWORD", "hunter22-webui")
    monkeypatch.setenv("DB_PASSWORD", "hunter22-db")
    yield
    forget()


def declared_by(spec: HostSpec, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """role | operation -> digest, of every operation that the roles call for a host. No host is asked anything."""
    found: dict[str, str] = {}
    current = [""]

    def recorder(function: Any) -> Any:
        def record(*args: Any, **kwargs: Any) -> None:
            name = f"{current[0]} | {kwargs['name']}"
            assert name not in found, f"two operations of one name: {name}"
            found[name] = digest(declaration(function, args, kwargs), KEY)

        record.steps = function  # type: ignore[attr-defined]
        return record

    names = [
        path.stem for path in (ROOT / "difyfleet" / "operations").glob("*.py") if path.stem != "__init__"
    ]
    modules = [
        import_module(f"difyfleet.operations.{name}") for name in names if not name.endswith("_script")
    ]
    modules += [import_module(f"roles.{role}") for role in ROLES]
    with monkeypatch.context() as patch:
        for module in modules:
            for name, value in vars(module).copy().items():
                steps = getattr(value, "steps", None)
                if callable(value) and steps is not None:
                    patch.setattr(module, name, recorder(steps))
        for role in ROLES:
            module = import_module(f"roles.{role}")
            if role != "preflight" and module.wanted(spec):
                current[0] = role
                for part in (module, *(each for each in vars(module).values() if isinstance(each, Part))):
                    part.converge(spec)
    return found


def write_documents(tmp_path: Path, text: str = "# Holidays\nThirty days.\n") -> None:
    (tmp_path / "documents").mkdir(exist_ok=True)
    (tmp_path / "documents" / "handbook.md").write_text(text)


def changed_by(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, **sections: Any) -> set[str]:
    """Operations whose declaration another inventory changes, of those that both have."""
    before = declared_by(inventory(tmp_path, **FULL).hosts[0], monkeypatch)
    after = declared_by(inventory(tmp_path, **{**FULL, **sections}).hosts[0], monkeypatch)
    return {name for name in before.keys() & after.keys() if before[name] != after[name]}


@pytest.mark.usefixtures("secrets_given")
def test_every_operation_of_every_role_declares_the_same_each_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_documents(tmp_path)
    found = declared_by(inventory(tmp_path, **FULL).hosts[0], monkeypatch)
    assert {name.split(" | ")[0] for name in found} == set(ROLES) - {"preflight"}
    assert len(found) > 40
    assert changed_by(tmp_path, monkeypatch) == set()


@pytest.mark.usefixtures("secrets_given")
@pytest.mark.parametrize(
    ("sections", "expected"),
    [
        (
            {"docker": {"mirrors": ["https://b.example"]}},
            {
                "docker | daemon.json with the mirrors that answer",
                "docker | Docker running with these settings",
            },
        ),
        (
            {"assistants": {"helper": {"knowledge": ["handbook"], "prompt": "Answer shortly."}}},
            {"assistants | assistant helper"},
        ),
        (
            {
                "assistants": {
                    "helper": {
                        **FULL["assistants"]["helper"],
                        "golden": [{"ask": "How many days?", "contains": ["thirty"]}],
                    }
                }
            },
            set(),
        ),
        (
            {"knowledge": {"handbook": {"documents": "documents"}, "faq": {"description": "long"}}},
            {"knowledge | knowledge base faq"},
        ),
        ({"ollama": {**FULL["ollama"], "keep_alive": "1h"}}, {"ollama | compose.yml", "ollama | container"}),
    ],
    ids=["mirrors", "a prompt", "a golden question", "a description", "keep_alive"],
)
def test_an_edit_of_the_inventory_is_an_edit_of_what_it_concerns_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sections: dict[str, Any], expected: set[str]
) -> None:
    write_documents(tmp_path)
    assert changed_by(tmp_path, monkeypatch, **sections) == expected


def test_every_role_can_have_a_policy() -> None:
    assert set(get_args(RoleName)) == set(ROLES) - {"preflight"}


@pytest.mark.usefixtures("secrets_given")
def test_a_changed_document_concerns_the_documents_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_documents(tmp_path)
    before = declared_by(inventory(tmp_path, **FULL).hosts[0], monkeypatch)
    write_documents(tmp_path, "# Holidays\nThirty-one days.\n")
    after = declared_by(inventory(tmp_path, **FULL).hosts[0], monkeypatch)
    assert {name for name in before if before[name] != after[name]} == {"knowledge | documents of handbook"}


@pytest.mark.usefixtures("secrets_given")
def test_a_rotated_secret_concerns_what_holds_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_documents(tmp_path)
    before = declared_by(inventory(tmp_path, **FULL).hosts[0], monkeypatch)
    monkeypatch.setenv("DB_PASSWORD", "hunter23-db")
    forget()
    after = declared_by(inventory(tmp_path, **FULL).hosts[0], monkeypatch)
    changed = {name for name in before if before[name] != after[name]}
    assert {"dify | secrets", "dify | .env", "dify | containers"} <= changed
    assert {name.split(" | ")[0] for name in changed} == {"dify"}
