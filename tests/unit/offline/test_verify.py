"""A bundle that was damaged on its way is found out before anything is loaded, and the file is named."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from difyfleet.offline import minisign
from difyfleet.offline.manifest import BundleError, blob_name, digest_of, parse
from difyfleet.offline.reader import open_bundle
from difyfleet.offline.tarball import header, list_of_parts, members, pack, part_name
from difyfleet.offline.verify import Verdict, verify
from tests.unit.offline.samples import PUBLIC_KEY, signer, small, write

KEY = minisign.read_public_key(PUBLIC_KEY)


def said(verdict: Verdict) -> str:
    return "\n".join(map(str, verdict.faults))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(tmp_path / "prod", signer(tmp_path))
    return tmp_path / "prod"


@pytest.fixture
def tar(folder: Path) -> Path:
    path = folder.parent / "prod.tar"
    pack(folder, path)
    return path


@pytest.fixture
def parts(folder: Path) -> Path:
    path = folder.parent / "parts" / "prod.tar"
    path.parent.mkdir()
    pack(folder, path, part_size=9000)
    return path


def test_a_whole_bundle_has_no_faults(folder: Path, tar: Path, parts: Path) -> None:
    manifest, blobs = small()
    for path in (folder, tar, parts, list_of_parts(parts)):
        verdict = verify(path, key=KEY, architecture="x86_64")
        assert said(verdict) == ""
        assert verdict.manifest == parse((folder / "bundle.json").read_bytes(), "")
        assert verdict.signed_by == str(KEY)
        assert verdict.checked == sum(map(len, blobs.values()))
    assert manifest.environment == "prod"


def test_anybody_can_prove_it_by_hand(folder: Path, tar: Path, parts: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        ["sha256sum", "--strict", "-c", "SHA256SUMS"], cwd=folder, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0
    assert done.stdout.count(": OK") == len(list(folder.rglob("*"))) - len(
        ("SUMS", "SIGNATURE", "blobs", "sha256")
    )
    done = subprocess.run(
        ["sha256sum", "--strict", "-c", "prod.tar.parts"], cwd=parts.parent, capture_output=True, timeout=60
    )
    assert done.returncode == 0
    joined = b"".join(file.read_bytes() for file in sorted(parts.parent.glob("prod.tar.0*")))
    assert joined == tar.read_bytes()
    (tmp_path / "out").mkdir()
    subprocess.run(["tar", "-xf", tar, "-C", tmp_path / "out"], check=True, timeout=60)
    assert said(verify(tmp_path / "out", key=KEY)) == ""


def test_the_documents_lines_give_wheels_and_documents_their_names(folder: Path) -> None:
    page = (Path(__file__).parents[3] / "docs" / "bundles.md").read_text()
    code = page.partition("```python\n")[2].partition("```")[0]
    subprocess.run([sys.executable, "-c", code], cwd=folder, check=True, timeout=60)
    assert (folder / "files" / "document" / "handbook" / "假期.md").read_text() == "# 假期\n十天\n"
    assert (folder / "files" / "wheel" / "click-8.1.8-py3-none-any.whl").is_file()


def test_the_same_content_gives_the_same_bytes(tar: Path, tmp_path: Path) -> None:
    other = tmp_path / "later"
    other.mkdir(mode=0o700)
    write(other / "prod", signer(tmp_path))
    pack(other / "prod", other / "prod.tar")
    assert (other / "prod.tar").read_bytes() == tar.read_bytes()


def flipped(data: bytes, at: int, generator: random.Random) -> bytes:
    changed = bytearray(data)
    changed[at] ^= 1 << generator.randrange(8)
    return bytes(changed)


def test_a_flipped_bit_at_any_of_200_places_is_found_and_its_file_named(tar: Path) -> None:
    data, generator = tar.read_bytes(), random.Random(5)
    with tar.open("rb") as file:
        spans = [(member.offset, member.offset + member.size, member.name) for member in members(file, "")]
    for _ in range(200):
        at = generator.randrange(len(data))
        tar.write_bytes(flipped(data, at, generator))
        words = said(verify(tar, key=KEY))
        name = next((name for start, end, name in spans if start <= at < end), tar.name)
        assert name in words, f"byte {at} of {name}: {words or 'nothing found'}"


def test_a_flipped_bit_in_every_file_of_a_folder_is_found_and_the_file_named(folder: Path) -> None:
    generator = random.Random(5)
    for path in sorted(file for file in folder.rglob("*") if file.is_file()):
        data = path.read_bytes()
        name = str(path.relative_to(folder))
        places = generator.sample(range(len(data)), min(len(data), 12))
        for at in places:
            path.write_bytes(flipped(data, at, generator))
            words = said(verify(folder, key=KEY))
            assert name in words, f"byte {at} of {name}: {words or 'nothing found'}"
        path.write_bytes(data)
    assert said(verify(folder, key=KEY)) == ""


def test_every_byte_of_the_list_of_parts(parts: Path) -> None:
    path, generator = list_of_parts(parts), random.Random(5)
    data = path.read_bytes()
    for at in range(len(data)):
        path.write_bytes(flipped(data, at, generator))
        assert verify(parts, key=KEY).faults, at


def test_a_flipped_bit_in_a_part_names_the_part(parts: Path) -> None:
    part = parts.with_name(part_name(parts.name, 1))
    part.write_bytes(flipped(part.read_bytes(), 4000, random.Random(1)))
    assert str(part) in said(verify(parts))
    assert "copy this part anew" in said(verify(parts))


def test_a_missing_part_is_named(parts: Path) -> None:
    part = parts.with_name(part_name(parts.name, 1))
    part.unlink()
    assert f"{part}: this part of the bundle is missing" in said(verify(parts))
    list_of_parts(parts).unlink()
    assert f"{list_of_parts(parts)}: the list of parts is missing" in said(verify(parts))


@pytest.mark.parametrize("cut", [1, 600, 1025, 5000, 20000, 34000])
def test_a_truncated_tar(tar: Path, cut: int) -> None:
    tar.write_bytes(tar.read_bytes()[:-cut])
    words = said(verify(tar))
    assert str(tar) in words
    assert "truncated" in words or "does not end where it should" in words


def test_an_empty_tar_and_none(tmp_path: Path) -> None:
    (tmp_path / "x.tar").write_bytes(b"")
    assert "does not end where it should" in said(verify(tmp_path / "x.tar"))
    assert "there is no such bundle" in said(verify(tmp_path / "y.tar"))
    assert "bundle.json: is not in the bundle" in said(verify(tmp_path))


def test_something_behind_the_end(tar: Path) -> None:
    tar.write_bytes(tar.read_bytes() + b"\0" * 512)
    assert "does not end where it should" in said(verify(tar))


def test_a_file_twice_in_the_tar(tar: Path) -> None:
    extra = header("bundle.json", 512) + b"x" * 512
    tar.write_bytes(tar.read_bytes()[:-1024] + extra + bytes(1024))
    assert "bundle.json: stands in the bundle twice" in said(verify(tar))


def test_a_missing_a_truncated_and_a_strange_blob_are_all_told(folder: Path) -> None:
    manifest, _ = small()
    gone, cut = manifest.models[0].layers[1], manifest.images[0].layers[0]
    (folder / blob_name(gone)).unlink()
    (folder / blob_name(cut)).write_bytes((folder / blob_name(cut)).read_bytes()[:-7])
    (folder / "blobs" / "virus.exe").write_bytes(b"x")
    words = said(verify(folder, key=KEY))
    assert f"{blob_name(gone)}: is missing (of model qwen2.5:7b)" in words
    assert f"{blob_name(cut)}: truncated: " in words
    assert "(of image ghcr.io/open-webui/open-webui:0.4.7, image nginx:1.27.3)" in words
    assert "virus.exe: does not belong" in words


def test_the_wrong_architecture(folder: Path) -> None:
    assert "bundle.json: the bundle is for amd64, this machine is arm64" in said(
        verify(folder, architecture="aarch64")
    )


def test_images_for_another_architecture_than_the_manifest_says(tmp_path: Path) -> None:
    manifest = write(tmp_path / "prod", architecture="arm64")
    text = (
        (tmp_path / "prod" / "bundle.json")
        .read_bytes()
        .replace(b'"architecture": "arm64"', b'"architecture": "amd64"')
    )
    from difyfleet.offline.layout import small_files

    for name, data in small_files(parse(text, ""), text).items():
        (tmp_path / "prod" / name).write_bytes(data)
    words = said(verify(tmp_path / "prod"))
    assert (
        f"{blob_name(manifest.images[0].id)}: image nginx:1.27.3 is for linux/arm64, the bundle for linux/amd64"
        in words
    )


@pytest.mark.parametrize("version", [0, 2])
def test_a_manifest_of_another_version(folder: Path, version: int) -> None:
    path = folder / "bundle.json"
    path.write_text(path.read_text().replace('"version": 1\n', f'"version": {version}\n'))
    assert f"{path}: is of format version {version}; this difyfleet reads version 1" in said(verify(folder))


def test_signatures(folder: Path, tmp_path: Path) -> None:
    other = minisign.PublicKey(b"another!", KEY.key)
    assert "is by the key 31A4112C10E8B784, not by" in said(verify(folder, key=other))
    forged = minisign.PublicKey(KEY.id, bytes(31) + b"\1")
    assert "SHA256SUMS.minisig: does not fit SHA256SUMS" in said(verify(folder, key=forged))
    (folder / "SHA256SUMS.minisig").unlink()
    assert verify(folder).faults == ()
    assert "SHA256SUMS.minisig: is missing: the bundle is not signed" in said(verify(folder, key=KEY))


def test_a_forger_who_makes_all_hashes_fit_fails_at_the_signature(folder: Path) -> None:
    from difyfleet.offline.layout import SUMS, small_files

    manifest, _ = small()
    document = next(file for file in manifest.files if file.kind == "document")
    (folder / blob_name(document.digest)).unlink()
    evil = b"# all your base\n"
    (folder / blob_name(digest_of(evil))).write_bytes(evil)
    plain = json.loads((folder / "bundle.json").read_text().replace(document.digest, digest_of(evil)))
    plain["blobs"][digest_of(evil)] = len(evil)
    from difyfleet.offline.manifest import canonical_json

    text = canonical_json(plain)
    for name, data in small_files(parse(text, ""), text).items():
        (folder / name).write_bytes(data)
    assert verify(folder).faults == ()  # without the key nobody can know
    assert said(verify(folder, key=KEY)).startswith(f"{folder / SUMS}.minisig: does not fit SHA256SUMS")


def test_any_stretch_of_any_file_can_be_read(folder: Path, parts: Path) -> None:
    with open_bundle(parts) as bundle, open_bundle(folder) as plain:
        assert sorted(bundle.names()) == plain.names()
        for name in plain.names():
            assert bundle.read(name) == plain.read(name)
            with bundle.open(name) as file:
                file.seek(bundle.size(name) // 2)
                assert file.read(100) == plain.read(name)[bundle.size(name) // 2 :][:100]
        with pytest.raises(BundleError, match="not in the bundle"):
            bundle.open("nothing")


def test_a_size_that_octal_digits_cannot_hold() -> None:
    large = 40 << 30
    assert len(header("blobs/x", large)) == 512
    import tarfile

    assert tarfile.TarInfo.frombuf(header("blobs/x", large), "utf-8", "strict").size == large


def test_tar_and_folder_are_the_same_after_a_copy_by_cp(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "usb")
    assert verify(tmp_path / "usb", key=KEY).faults == ()
