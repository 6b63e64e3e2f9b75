"""Inventories as text, and what loading them says."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from difyfleet.spec import load
from difyfleet.spec.models import Environment
from difyfleet.spec.problems import SpecErrors

Load = Callable[[str], Environment]
Errors = Callable[[str], list[str]]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder, so that positions read `inv.yml:LINE:COLUMN`."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return tmp_path


@pytest.fixture
def inventory(folder: Path) -> Load:
    """Load a text as an inventory."""

    def loaded(text: str) -> Environment:
        Path("inv.yml").write_text(textwrap.dedent(text), encoding="utf-8")
        return load("inv.yml")

    return loaded


@pytest.fixture
def errors(inventory: Load) -> Errors:
    """All errors of a text, one string each; the folder's own path is written as DIR."""

    def found(text: str) -> list[str]:
        with pytest.raises(SpecErrors) as caught:
            inventory(text)
        return str(caught.value).replace(str(Path.cwd()), "DIR").splitlines()

    return found


@pytest.fixture
def host_with(inventory: Load) -> Load:
    """Load sections for one host with an admin."""
    return lambda text: inventory("admin: {email: a@b.cd}\nhosts: {llm: 10.9.9.9}\n" + textwrap.dedent(text))


@pytest.fixture
def section_errors(errors: Errors) -> Errors:
    """Errors of sections for one host with an admin; the text begins at line 3."""
    return lambda text: errors("admin: {email: a@b.cd}\nhosts: {llm: 10.9.9.9}\n" + textwrap.dedent(text))
