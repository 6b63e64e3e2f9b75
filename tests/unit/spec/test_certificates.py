"""Certificates and keys, made here with the dates and names each case needs."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import NameOID

from tests.unit.spec.conftest import Errors, Load

NOW = datetime.now(timezone.utc)


def make(
    name: str,
    *,
    days: tuple[int, int] = (-1, 90),
    names: tuple[str, ...] = ("dify.example.com",),
    passphrase: str = "",
) -> None:
    """Write NAME.crt and NAME.key, valid from and until `days` from now."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(NOW + timedelta(days=days[0]))
        .not_valid_after(NOW + timedelta(days=days[1]))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(one) for one in names]), critical=False)
        .sign(key, hashes.SHA256())
    )
    encryption: KeySerializationEncryption = (
        BestAvailableEncryption(passphrase.encode()) if passphrase else NoEncryption()
    )
    Path(f"{name}.crt").write_bytes(certificate.public_bytes(Encoding.PEM))
    Path(f"{name}.key").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption))
    Path(f"{name}.key").chmod(0o600)


def section(certificate: str, key: str, more: str = "") -> str:
    return f"dify:\n  https: {{enabled: true, certificate: {certificate}, key: {key}}}\n{more}"


def test_a_good_pair(host_with: Load) -> None:
    make("good")
    environment = host_with(section("good.crt", "good.key", "  server_name: dify.example.com\n"))
    assert environment.warnings == ()
    assert environment.hosts[0].dify.https.certificate == Path.cwd() / "good.crt"


def test_the_servers_certificate_comes_before_its_chain(host_with: Load, section_errors: Errors) -> None:
    make("leaf")
    make("authority")
    leaf, authority = Path("leaf.crt").read_text(), Path("authority.crt").read_text()
    Path("chain.crt").write_text(leaf + authority)
    assert host_with(section("chain.crt", "leaf.key")).warnings == ()
    Path("chain.crt").write_text(authority + leaf)
    assert section_errors(section("chain.crt", "leaf.key")) == [
        "inv.yml:4:55: dify.https.key: DIR/leaf.key is not the key of DIR/chain.crt; the first certificate in that file must be the server's own"
    ]


@pytest.mark.parametrize(
    ("days", "text"),
    [((-90, -3), "expired on {end:%Y-%m-%d}"), ((3, 90), "is not valid before {start:%Y-%m-%d}")],
)
def test_not_valid_today(section_errors: Errors, days: tuple[int, int], text: str) -> None:
    make("x", days=days)
    dates = {"start": NOW + timedelta(days=days[0]), "end": NOW + timedelta(days=days[1])}
    assert section_errors(section("x.crt", "x.key")) == [
        f"inv.yml:4:39: dify.https.certificate: DIR/x.crt {text.format(**dates)}"
    ]


def test_expires_soon_is_a_warning(host_with: Load) -> None:
    make("x", days=(-60, 10))
    (warning,) = host_with(section("x.crt", "x.key")).warnings
    assert warning.where == "inv.yml:4:39"
    assert f"expires on {NOW + timedelta(days=10):%Y-%m-%d}" in warning.what


def test_files_that_are_something_else(section_errors: Errors) -> None:
    make("x")
    assert section_errors(section("x.key", "x.crt")) == [
        "inv.yml:4:39: dify.https.certificate: DIR/x.key holds no PEM certificate (it begins with -----BEGIN CERTIFICATE-----)",
        "inv.yml:4:51: dify.https.key: DIR/x.crt holds no PEM private key",
    ]


def test_a_key_with_a_passphrase(section_errors: Errors) -> None:
    make("x", passphrase="open sesame")
    (error,) = section_errors(section("x.crt", "x.key"))
    assert error.startswith(
        "inv.yml:4:51: dify.https.key: DIR/x.key has a passphrase; nginx would wait for it: openssl pkey"
    )


def test_a_folder_is_no_certificate(section_errors: Errors) -> None:
    make("x")
    Path("folder").mkdir()
    assert section_errors(section("folder", "x.key")) == [
        "inv.yml:4:39: dify.https.certificate: cannot read DIR/folder: Is a directory"
    ]


def test_a_key_that_others_read_is_a_warning(host_with: Load) -> None:
    make("x")
    Path("x.key").chmod(0o644)
    (warning,) = host_with(section("x.crt", "x.key")).warnings
    assert warning.what.endswith(f"can be read by others (mode 0644): chmod 600 {Path.cwd() / 'x.key'}")


@pytest.mark.parametrize(
    ("names", "server_name", "fits"),
    [
        (("dify.example.com",), "dify.example.com", True),
        (("*.example.com",), "dify.example.com", True),
        (("*.example.com",), "a.dify.example.com", False),
        (("*.example.com",), "example.com", False),
        (("other.example.com",), "dify.example.com", False),
        (("other.example.com",), "_", True),
    ],
)
def test_server_name(host_with: Load, names: tuple[str, ...], server_name: str, fits: bool) -> None:
    make("x", names=names)
    warnings = host_with(section("x.crt", "x.key", f"  server_name: {server_name}\n")).warnings
    assert [warning.what.endswith(f"not for server_name {server_name}") for warning in warnings] == (
        [] if fits else [True]
    )


def test_a_certificate_that_is_not_used(host_with: Load) -> None:
    make("x")
    (warning,) = host_with("dify: {https: {certificate: x.crt, key: x.key}}\n").warnings
    assert str(warning) == "inv.yml:3:29: dify.https.certificate: HTTPS stays off until https.enabled is true"
