"""Is this certificate fit to serve? Checked on the controller, before nginx on a host would refuse it."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta, timezone
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING

from difyfleet.spec.local_files import readable_by_others
from difyfleet.spec.problems import Position, Problems

if TYPE_CHECKING:
    from cryptography import x509

SOON = timedelta(days=30)


def check_certificate(
    certificate: Path,
    key: Path,
    server_name: str,
    certificate_at: tuple[Position, str],
    key_at: tuple[Position, str],
    problems: Problems,
    *,
    now: datetime | None = None,
) -> None:
    """Both files parse, belong together, and the certificate is valid today.

    Args:
        certificate: PEM file, the server's own certificate first.
        key: PEM file without passphrase.
        server_name: nginx's server_name; `_` = any.
        certificate_at, key_at: positions and key paths for what is found.
    """
    now = now or datetime.now(timezone.utc)
    leaf = _leaf(certificate, certificate_at, problems)
    public = _public_key(key, key_at, problems)
    if public is not None and (reason := readable_by_others(key)):
        problems.warn(*key_at, reason)
    if leaf is None:
        return
    if leaf.not_valid_after_utc <= now:
        problems.error(*certificate_at, f"{certificate} expired on {leaf.not_valid_after_utc:%Y-%m-%d}")
    elif leaf.not_valid_before_utc > now:
        problems.error(
            *certificate_at, f"{certificate} is not valid before {leaf.not_valid_before_utc:%Y-%m-%d}"
        )
    elif leaf.not_valid_after_utc <= now + SOON:
        problems.warn(*certificate_at, f"{certificate} expires on {leaf.not_valid_after_utc:%Y-%m-%d}")
    if public is not None and _der(leaf.public_key()) != public:
        problems.error(
            *key_at,
            f"{key} is not the key of {certificate}; the first certificate in that file must be the server's own",
        )
    names = _names(leaf)
    if server_name != "_" and not any(
        _covers(name, wanted) for wanted in server_name.split() for name in names
    ):
        shown = ", ".join(names) or "no name"
        problems.warn(*certificate_at, f"{certificate} is for {shown}, not for server_name {server_name}")


def _leaf(path: Path, at: tuple[Position, str], problems: Problems) -> x509.Certificate | None:
    from cryptography import x509

    try:
        return x509.load_pem_x509_certificates(path.read_bytes())[0]
    except OSError as error:
        problems.error(*at, f"cannot read {path}: {error.strerror}")
    except ValueError:
        problems.error(*at, f"{path} holds no PEM certificate (it begins with -----BEGIN CERTIFICATE-----)")
    return None


def _public_key(path: Path, at: tuple[Position, str], problems: Problems) -> bytes | None:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        return _der(load_pem_private_key(path.read_bytes(), password=None).public_key())
    except OSError as error:
        problems.error(*at, f"cannot read {path}: {error.strerror}")
    except TypeError:
        problems.error(
            *at, f"{path} has a passphrase; nginx would wait for it: openssl pkey -in {path} -out plain.key"
        )
    except (ValueError, UnsupportedAlgorithm):
        problems.error(*at, f"{path} holds no PEM private key")
    return None


def _der(public_key: object) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    encoded: bytes = public_key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)  # type: ignore[attr-defined]
    return encoded


def _names(leaf: x509.Certificate) -> list[str]:
    from cryptography import x509

    try:
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        return []
    values: Iterable[object] = [
        *names.get_values_for_type(x509.DNSName),
        *names.get_values_for_type(x509.IPAddress),
    ]
    return [str(value) for value in values]


def _covers(name: str, wanted: str) -> bool:
    """Whether a certificate's name fits a host name: a star stands for one label (RFC 6125)."""
    return fnmatchcase(wanted.lower(), name.lower()) and wanted.count(".") == name.count(".")
