"""The wheel carries the stack (deploy.py, roles, templates) and works outside the checkout."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel's content, as an installer would lay it down."""
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", folder, ROOT],
        check=True,
        timeout=300,
    )
    (wheel,) = folder.glob("difyfleet-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


def run(site: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(site)}
    code = "import sys; from difyfleet.cli import main; main(sys.argv[1:])"
    return subprocess.run(
        [sys.executable, "-P", "-c", code, *arguments]
        if sys.version_info >= (3, 11)
        else [sys.executable, "-c", code, *arguments],
        cwd=site.parent,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_the_stack_is_inside(unpacked: Path) -> None:
    stack = unpacked / "difyfleet" / "_stack"
    assert (stack / "deploy.py").read_text() == (ROOT / "deploy.py").read_text()
    for kind in ("roles", "templates"):
        wanted = {
            path.relative_to(ROOT)
            for path in (ROOT / kind).rglob("*")
            if path.is_file() and "__pycache__" not in path.parts
        }
        assert wanted == {path.relative_to(stack) for path in (stack / kind).rglob("*") if path.is_file()}
    assert not (unpacked / "lab").exists()


def test_it_validates_and_plans_from_there(unpacked: Path) -> None:
    inventory = unpacked.parent / "one.yml"
    inventory.write_text(
        "admin: {email: ops@example.com}\nhosts: {gone: {address: 127.0.0.1, ssh: {port: 9, key: null}}}\n"
    )
    validated = run(unpacked, "validate", str(inventory))
    assert validated.returncode == 0, validated.stderr
    page = unpacked.parent / "page.html"
    planned = run(unpacked, "plan", str(inventory), "--role", "docker", "--html", str(page))
    assert planned.returncode == 1, planned.stderr
    assert "cannot connect to 127.0.0.1" in planned.stderr
    assert "cannot connect to 127.0.0.1" in page.read_text(), "the page's template is in the wheel"
    where = subprocess.run(
        [sys.executable, "-c", "from difyfleet import paths; print(paths.deploy_file())"],
        cwd=unpacked.parent,
        env={**os.environ, "PYTHONPATH": str(unpacked)},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert where.stdout.strip() == str(unpacked / "difyfleet" / "_stack" / "deploy.py")


def test_the_lab_says_that_it_needs_the_repository(unpacked: Path) -> None:
    refused = run(unpacked, "lab", "up")
    assert refused.returncode == 1
    assert "git clone" in refused.stderr
