"""A virtual machine: a kernel, a boot loader and a disk of its own (QEMU). Its processor is emulated, so one model is enough."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.lab.conftest import LabHost, lab, make_host

pytestmark = [pytest.mark.lab, pytest.mark.vm]


@pytest.fixture
def vm(tmp_path: Path) -> Iterator[LabHost]:
    host = make_host("t-vm", tmp_path, "--kind", "vm")
    yield host
    lab("down", host.name, check=False)


def rolled_out(host: LabHost, **sections: Any) -> None:
    """From nothing to what is declared, with one model and no documents; a second apply changes nothing."""
    host.write_inventory(ollama={"models": ["qwen2.5:7b"]}, knowledge=None, assistants=None, **sections)
    first = host.apply()
    assert first.code == 0, first.out + first.err
    again = host.apply()
    assert again.code == 0, again.out + again.err
    assert again.summary["operations"] > 20
    assert again.summary["changed"] == 0, again.would_change
    assert host.changing_commands() == []


def test_docker_ollama_and_openwebui_on_a_virtual_machine(vm: LabHost) -> None:
    rolled_out(vm, dify={"enabled": False})


@pytest.mark.slow
def test_the_whole_stack_on_a_virtual_machine(vm: LabHost) -> None:
    rolled_out(vm, dify={"models": [{"name": "qwen2.5:7b", "context_size": 4096, "default": True}]})
