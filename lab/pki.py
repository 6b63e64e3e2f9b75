"""The lab's certificate authority: made once, cached, and trusted by lab hosts only.

It signs the public names that the lab's DNS answers with lab addresses (registry.ollama.ai, ghcr.io, ...), so that the
default inventory works unmodified. Its key never leaves the cache folder of the user who made it.
"""

from __future__ import annotations

import ipaddress
import subprocess
from collections.abc import Sequence
from pathlib import Path

from lab import cache

_DAYS = "3650"
_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")


def _openssl(*args: str) -> None:
    done = subprocess.run(["openssl", *args], capture_output=True, text=True, timeout=60)
    if done.returncode:
        raise RuntimeError(f"lab pki: openssl {args[0]} failed: {done.stderr.strip()}")


def _build_ca(folder: Path) -> None:
    # CA:TRUE comes from openssl's default config; addext would double it on some versions, so the config is our own.
    config = folder / "ca.cnf"
    config.write_text(
        "[req]\ndistinguished_name=dn\nx509_extensions=ext\nprompt=no\n"
        "[dn]\nCN=difyfleet lab CA (trusted by lab hosts only)\n"
        "[ext]\nbasicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign,cRLSign\nsubjectKeyIdentifier=hash\n"
    )
    _openssl(
        "req", "-x509", *_KEY, "-days", _DAYS, "-config", str(config),
        "-keyout", str(folder / "ca.key"), "-out", str(folder / "ca.crt"),
    )  # fmt: skip
    (folder / "ca.key").chmod(0o600)
    (folder / "ca.crt").chmod(0o644)


def ca() -> Path:
    """Folder with ``ca.crt`` and ``ca.key`` (PEM)."""
    return cache.step("ca", ["1"], _build_ca, by_script=False)


def subject_alt_name(names: Sequence[str]) -> str:
    """The subjectAltName line for host names and addresses: ``DNS:ghcr.io,IP:10.0.2.4``."""

    def entry(name: str) -> str:
        try:
            return f"IP:{ipaddress.ip_address(name)}"
        except ValueError:
            return f"DNS:{name}"

    return ",".join(entry(name) for name in names)


def issue(names: Sequence[str]) -> tuple[Path, Path]:
    """A server certificate of the lab's CA.

    :param names: host names or addresses; the first one is also the common name.
    :returns: paths of the certificate (with the CA appended, as a TLS server wants it) and of its key, both PEM.
    """
    authority = ca()

    def build(folder: Path) -> None:
        extensions = folder / "ext.cnf"
        extensions.write_text(
            f"basicConstraints=CA:FALSE\nextendedKeyUsage=serverAuth\nsubjectAltName={subject_alt_name(names)}\n"
        )
        request, key, certificate = folder / "request.pem", folder / "tls.key", folder / "tls.crt"
        _openssl("req", "-new", *_KEY, "-subj", f"/CN={names[0]}", "-keyout", str(key), "-out", str(request))
        _openssl(
            "x509", "-req", "-in", str(request), "-days", _DAYS, "-extfile", str(extensions), "-CAcreateserial",
            "-CA", str(authority / "ca.crt"), "-CAkey", str(authority / "ca.key"), "-CAserial", str(folder / "serial"),
            "-out", str(certificate),
        )  # fmt: skip
        certificate.write_text(certificate.read_text() + (authority / "ca.crt").read_text())
        key.chmod(0o600)

    folder = cache.step("certificate", [authority / "ca.crt", *names], build, by_script=False)
    return folder / "tls.crt", folder / "tls.key"
