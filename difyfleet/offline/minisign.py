"""minisign's signatures: Ed25519 over BLAKE2b-512 of the data (`ED`), with a trusted comment under a second signature.

Format: https://jedisct1.github.io/minisign/ ("Signature format", "Secret key format"). Tested against minisign itself.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from difyfleet.errors import FleetError
from difyfleet.secrets import Secret

_COMMENT = "untrusted comment: "
_TRUSTED = "trusted comment: "
# These lines stand under no signature, so that nothing may hide in them only two texts are taken: ours, and that of `minisign -S`.
_OURS = "untrusted comment: signature from difyfleet"
_KNOWN = (_OURS, "untrusted comment: signature from minisign secret key")


@dataclass(frozen=True)
class PublicKey:
    """A public key and the 8 bytes by which signatures name it."""

    id: bytes
    key: bytes

    def __str__(self) -> str:
        return self.id[::-1].hex().upper()  # as minisign prints it


@dataclass(frozen=True)
class SecretKey:
    """An opened secret key."""

    id: bytes
    seed: bytes

    def __repr__(self) -> str:
        return f"SecretKey({self.id[::-1].hex().upper()})"


def read_public_key(given: str) -> PublicKey:
    """A public key: the file that minisign wrote, or its second line itself (RW...).

    Raises:
        FleetError: it is neither.
    """
    path = Path(given)
    text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else given
    raw = _decoded(text.strip().splitlines()[-1] if text.strip() else "")
    if raw is None or len(raw) != 42 or raw[:2] != b"Ed":
        raise FleetError(
            "is not a minisign public key", where=given, hint="name the .pub file, or its line RW..."
        )
    return PublicKey(raw[2:10], raw[10:])


def read_secret_key(path: Path, password: Secret | None = None) -> SecretKey:
    """A secret key file of minisign.

    Raises:
        NeedsPassword: it is encrypted and no password was given.
        FleetError: it cannot be read, or the password is wrong.
    """
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError as error:
        raise FleetError(f"cannot be read: {error.strerror}", where=str(path)) from None
    raw = _decoded(lines[1]) if len(lines) > 1 and lines[0].startswith(_COMMENT) else None
    if raw is None or len(raw) != 158 or raw[:2] != b"Ed" or raw[4:6] != b"B2":
        raise FleetError(
            "is not a minisign secret key", where=str(path), hint="minisign -G makes a pair of keys"
        )
    kdf, salt, sealed = raw[2:4], raw[6:38], raw[54:]
    if kdf == b"Sc":
        if password is None:
            raise NeedsPassword("needs its password", where=str(path))
        opslimit, memlimit = int.from_bytes(raw[38:46], "little"), int.from_bytes(raw[46:54], "little")
        stream = _scrypt(password.reveal().encode(), salt, opslimit, memlimit)
        sealed = bytes(a ^ b for a, b in zip(sealed, stream, strict=True))
    key_id, pair, checksum = sealed[:8], sealed[8:72], sealed[72:]
    # an unencrypted key (minisign -G -W) has no checksum; but its public half stands in it too
    right = hashlib.blake2b(raw[:2] + key_id + pair, digest_size=32).digest() if kdf == b"Sc" else checksum
    if right != checksum or _public(pair[:32]) != pair[32:]:
        raise FleetError("the password is wrong, or the file is damaged", where=str(path))
    return SecretKey(key_id, pair[:32])


def _public(seed: bytes) -> bytes:
    return Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()


class NeedsPassword(FleetError):
    """A secret key is encrypted."""


def _scrypt(password: bytes, salt: bytes, opslimit: int, memlimit: int) -> bytes:
    """libsodium's crypto_pwhash_scryptsalsa208sha256, 104 bytes of it; N, r and p follow from the limits as in its pickparams()."""
    opslimit, r = max(opslimit, 32768), 8
    if opslimit < memlimit // 32:
        bits, p = _log2(opslimit // (r * 4)), 1
    else:
        bits = _log2(memlimit // (r * 128))
        p = min(opslimit // 4 >> bits, 0x3FFFFFFF) // r
    room = 128 * r * ((1 << bits) + p + 2) + (1 << 20)
    return hashlib.scrypt(password, salt=salt, n=1 << bits, r=r, p=p, maxmem=room, dklen=104)


def _log2(limit: int) -> int:
    return next(bits for bits in range(1, 64) if 1 << bits > limit // 2)


def sign(data: bytes, key: SecretKey, trusted: str) -> bytes:
    """A signature as `minisign -S` writes it; always the same for the same data.

    Args:
        trusted: the trusted comment, one line.
    """
    private = Ed25519PrivateKey.from_private_bytes(key.seed)
    signature = private.sign(hashlib.blake2b(data).digest())
    both = private.sign(signature + trusted.encode())
    lines = [_OURS, _encoded(b"ED" + key.id + signature), f"{_TRUSTED}{trusted}", _encoded(both)]
    return ("\n".join(lines) + "\n").encode()


def check(data: bytes, signature: bytes, key: PublicKey | None) -> str:
    """What is wrong with a signature; "" = nothing.

    Args:
        key: None = there is no key to check it with; then only its form is looked at.
    """
    parts = _parts(signature)
    if parts is None:
        return "is not in minisign's form"
    head, own, trusted, both = parts
    if head not in _KNOWN:
        return f"its first line is neither {_KNOWN[0]!r} nor {_KNOWN[1]!r}"
    if key is None:
        return ""
    if own[2:10] != key.id:
        return f"is by the key {own[2:10][::-1].hex().upper()}, not by {key}"
    try:
        public = Ed25519PublicKey.from_public_bytes(key.key)
        public.verify(own[10:], hashlib.blake2b(data).digest())
        public.verify(both, own[10:] + trusted)
    except InvalidSignature:
        return "does not fit SHA256SUMS: one of the two was changed"
    return ""


def signer(signature: bytes) -> str | None:
    """The ID of the key that a signature claims to be by; None where it is in no form that says so."""
    parts = _parts(signature)
    return parts[1][2:10][::-1].hex().upper() if parts else None


def _parts(signature: bytes) -> tuple[str, bytes, bytes, bytes] | None:
    try:
        lines = signature.decode().split("\n")
    except UnicodeDecodeError:
        return None
    if len(lines) != 5 or lines[4] or not lines[2].startswith(_TRUSTED):
        return None
    own, both = _decoded(lines[1]), _decoded(lines[3])
    if own is None or both is None or len(own) != 74 or own[:2] != b"ED" or len(both) != 64:
        return None
    return lines[0], own, lines[2][len(_TRUSTED) :].encode(), both


def _encoded(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


def _decoded(text: str) -> bytes | None:
    """Base64 in its one form: a changed bit in the last, unused ones counts as another text."""
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    return raw if _encoded(raw) == text else None
