"""minisign's formats: what it wrote is read, what we write it verifies."""

from __future__ import annotations

import base64
import hashlib
import shutil
import subprocess
from pathlib import Path

import pytest

from difyfleet.errors import FleetError
from difyfleet.offline import minisign
from difyfleet.secrets import Secret
from tests.unit.offline.samples import PUBLIC_KEY, SECRET_KEY, SIGNATURE_OF_HELLO, signer

KEY = minisign.read_public_key(PUBLIC_KEY)


def test_a_signature_by_minisign_itself() -> None:
    assert str(KEY) == "31A4112C10E8B784"  # as minisign named it
    assert minisign.check(b"hello\n", SIGNATURE_OF_HELLO, KEY) == ""
    assert "one of the two was changed" in minisign.check(b"hello!\n", SIGNATURE_OF_HELLO, KEY)
    assert minisign.signer(SIGNATURE_OF_HELLO) == str(KEY)


def test_every_changed_byte_of_a_signature_is_seen(tmp_path: Path) -> None:
    for signature in (SIGNATURE_OF_HELLO, signer(tmp_path)(b"hello\n")):
        assert minisign.check(b"hello\n", signature, KEY) == ""
        for at in range(len(signature)):
            for bit in (1, 2, 64):
                changed = bytearray(signature)
                changed[at] ^= bit
                assert minisign.check(b"hello\n", bytes(changed), KEY) != "", at


def test_signing_is_deterministic(tmp_path: Path) -> None:
    sign = signer(tmp_path)
    assert sign(b"hello\n") == sign(b"hello\n")


def sealed(password: str, opslimit: int = 32768, memlimit: int = 16 << 20) -> str:
    """SECRET_KEY under a password, in minisign's form but with limits that take no time."""
    raw = base64.b64decode(SECRET_KEY.splitlines()[1])
    salt = bytes(range(32))
    limits = opslimit.to_bytes(8, "little") + memlimit.to_bytes(8, "little")
    checksum = hashlib.blake2b(raw[:2] + raw[54:126], digest_size=32).digest()
    # N and r of libsodium's pickparams() for these limits, written out
    stream = hashlib.scrypt(password.encode(), salt=salt, n=1 << 10, r=8, p=1, dklen=104)
    body = bytes(a ^ b for a, b in zip(raw[54:126] + checksum, stream, strict=True))
    whole = b"EdScB2" + salt + limits + body
    return f"untrusted comment: minisign encrypted secret key\n{base64.b64encode(whole).decode()}\n"


def test_a_key_under_a_password(tmp_path: Path) -> None:
    path = tmp_path / "sealed.key"
    path.write_text(sealed("a-passw0rd"))
    with pytest.raises(minisign.NeedsPassword):
        minisign.read_secret_key(path)
    with pytest.raises(FleetError, match="the password is wrong"):
        minisign.read_secret_key(path, Secret("another-passw0rd"))
    key = minisign.read_secret_key(path, Secret("a-passw0rd"))
    assert minisign.check(b"x", minisign.sign(b"x", key, "y"), KEY) == ""
    assert "31A4112C10E8B784" in repr(key)
    assert key.seed.hex() not in repr(key)


def test_what_is_no_key(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_text("ssh-ed25519 AAAA\n")
    with pytest.raises(FleetError, match="not a minisign public key"):
        minisign.read_public_key(str(path))
    with pytest.raises(FleetError, match="not a minisign secret key"):
        minisign.read_secret_key(path)
    with pytest.raises(FleetError, match="cannot be read"):
        minisign.read_secret_key(tmp_path / "none")


@pytest.mark.skipif(shutil.which("minisign") is None, reason="minisign is not installed")
def test_minisign_verifies_ours_and_we_verify_its(tmp_path: Path) -> None:
    (tmp_path / "SHA256SUMS").write_bytes(b"00  bundle.json\n")
    (tmp_path / "SHA256SUMS.minisig").write_bytes(signer(tmp_path)(b"00  bundle.json\n"))
    done = subprocess.run(
        ["minisign", "-V", "-P", PUBLIC_KEY, "-m", "SHA256SUMS"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert "Signature and comment signature verified" in done.stdout, done.stderr
    assert "Trusted comment: difyfleet bundle of prod" in done.stdout
    (tmp_path / "SHA256SUMS.minisig").unlink()
    subprocess.run(
        ["minisign", "-S", "-s", "test.key", "-m", "SHA256SUMS"],
        cwd=tmp_path,
        check=True,
        capture_output=True,
        timeout=60,
    )
    assert minisign.check(b"00  bundle.json\n", (tmp_path / "SHA256SUMS.minisig").read_bytes(), KEY) == ""
