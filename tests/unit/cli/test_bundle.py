"""bundle: exit codes, what goes to standard output, and what is asked for before any work begins."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from difyfleet.cli import run
from difyfleet.offline import sources
from difyfleet.offline.manifest import blob_name
from difyfleet.offline.tarball import pack
from tests.unit.offline.fakesource import COMPOSE, ENGINE, FakeSource, environment
from tests.unit.offline.samples import PUBLIC_KEY, SECRET_KEY, signer, small, write


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(tmp_path / "prod", signer(tmp_path))
    return tmp_path / "prod"


@pytest.fixture
def inventory(tmp_path: Path) -> Path:
    (tmp_path / "engine.tgz").write_bytes(ENGINE)
    (tmp_path / "compose").write_bytes(COMPOSE)
    environment(tmp_path)
    text = (tmp_path / "prod.yml").read_text()
    (tmp_path / "prod.yml").write_text(
        text.replace("bundle: {", "bundle: {file: engine.tgz, compose_file: compose, ")
    )
    return tmp_path / "prod.yml"


def answer(capsys: pytest.CaptureFixture[str]) -> Any:
    return json.loads(capsys.readouterr().out)


def make(inventory: Path, output: Path, *more: str) -> int:
    argv = ["bundle", "make", str(inventory), str(output), "--wheels", "none", "--from-docker"]
    return run([*argv, "--ollama-dir", str(inventory.parent), "--json", *more])


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "Here", lambda folder: FakeSource(engine_there=False, downloads=True))


@pytest.mark.usefixtures("here")
def test_make_verify_inspect(inventory: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "sign.key").write_text(SECRET_KEY)
    assert (
        make(inventory, tmp_path / "out.tar", "--part-size=4M", "--sign-key", str(tmp_path / "sign.key")) == 0
    )
    made = answer(capsys)
    assert made["verb"] == "bundle make"
    assert made["files"] == [str(tmp_path / f"out.tar.00{i}") for i in range(len(made["files"]))]
    assert len(made["files"]) > 2
    path = str(tmp_path / "out.tar.parts")
    assert (
        run(["bundle", "verify", path, "--public-key", PUBLIC_KEY, "--architecture", "x86_64", "--json"]) == 0
    )
    assert answer(capsys) == {
        "version": 1,
        "verb": "bundle verify",
        "faults": [],
        "bytes": made["bytes"],
        "signed_by": "31A4112C10E8B784",
    }
    assert run(["bundle", "inspect", path, "--json"]) == 0
    shown = answer(capsys)
    assert (shown["digest"], shown["bytes"]) == (made["digest"], made["bytes"])
    assert run(["bundle", "inspect", path]) == 0
    assert "ollama/ollama:0.4.7" in capsys.readouterr().out


@pytest.mark.usefixtures("here")
def test_a_delta_of_itself_is_empty(
    inventory: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert make(inventory, tmp_path / "one") == 0
    capsys.readouterr()
    assert make(inventory, tmp_path / "two", "--against", str(tmp_path / "one" / "bundle.json")) == 0
    assert answer(capsys)["bytes"] == 0


@pytest.mark.usefixtures("here")
def test_the_base_of_a_delta_is_not_overwritten(
    inventory: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for base in ("one", "one/bundle.json"):
        assert make(inventory, tmp_path / "one") == 0
        assert make(inventory, tmp_path / "one", "--against", str(tmp_path / base)) == 64
        assert "would be overwritten" in capsys.readouterr().err
        assert run(["bundle", "verify", str(tmp_path / "one")]) == 0


def test_verify_fails_with_5_and_names_the_file(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    blob = blob_name(small()[0].models[0].layers[1])
    (folder / blob).write_bytes(b"x" * (folder / blob).stat().st_size)
    assert run(["bundle", "verify", str(folder)]) == 5
    assert (
        f"wrong {folder / blob}: does not have the hash in its name (of model qwen2.5:7b)"
        in capsys.readouterr().err
    )
    assert run(["bundle", "verify", str(folder), "--json"]) == 5
    (fault,) = answer(capsys)["faults"]
    assert fault["where"] == str(folder / blob)
    assert "copy the bundle anew" in fault["hint"]


def test_what_is_no_bundle(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["bundle", "inspect", str(tmp_path / "none.tar")]) == 1
    assert "there is no such bundle" in capsys.readouterr().err
    assert run(["bundle", "verify", str(tmp_path / "none.tar")]) == 5
    assert run(["bundle", "verify", str(tmp_path), "--public-key", "nonsense"]) == 1


def test_inspect_reads_no_blob(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pack(folder, tmp_path / "prod.tar")
    data = bytearray((tmp_path / "prod.tar").read_bytes())
    data[-2000] ^= 1
    (tmp_path / "prod.tar").write_bytes(data)
    assert run(["bundle", "inspect", str(tmp_path / "prod.tar")]) == 0
    out = capsys.readouterr().out
    assert "claims to be by key 31A4112C10E8B784" in out
    assert "qwen2.5:7b" in out


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--part-size=0M"], "not a size"),
        (["--part-size=big"], "not a size"),
        (["--from-docker"], "needs --ollama-dir"),
    ],
)
def test_usage(
    inventory: Path, tmp_path: Path, options: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["bundle", "make", str(inventory), str(tmp_path / "x.tar"), *options]) == 64
    assert words in capsys.readouterr().err
    assert not (tmp_path / "x.tar.unfinished").exists()


def test_a_key_without_its_password(
    inventory: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from tests.unit.offline.test_minisign import sealed

    (tmp_path / "sealed.key").write_text(sealed("a-passw0rd"))
    assert make(inventory, tmp_path / "x", "--sign-key", str(tmp_path / "sealed.key")) == 64
    assert "set DIFYFLEET_SIGN_PASSWORD" in capsys.readouterr().err


@pytest.mark.usefixtures("here")
def test_a_password_from_the_environment_is_not_shown(
    inventory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from tests.unit.offline.test_minisign import sealed

    (tmp_path / "sealed.key").write_text(sealed("a-passw0rd"))
    monkeypatch.setenv("DIFYFLEET_SIGN_PASSWORD", "a-passw0rd")
    assert make(inventory, tmp_path / "x", "--sign-key", str(tmp_path / "sealed.key")) == 0
    said = capsys.readouterr()
    assert "a-passw0rd" not in said.out + said.err
    assert run(["bundle", "verify", str(tmp_path / "x"), "--public-key", PUBLIC_KEY]) == 0
