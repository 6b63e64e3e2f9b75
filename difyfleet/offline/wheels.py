"""difyfleet's own wheel and those of everything it needs, so that a controller without a network can install it."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from email.parser import HeaderParser
from importlib.metadata import distributions
from pathlib import Path

from difyfleet import __version__
from difyfleet.errors import FleetError
from difyfleet.paths import package_root

_TIMEOUT = 900  # seconds for pip


def collect(folder: Path) -> list[Path]:
    """Bring the wheels into a folder: this difyfleet's, and those of the very versions that it runs with here.

    Raises:
        FleetError: pip is not here or failed, or this difyfleet does not run from a checkout.
    """
    checkout = package_root().parent
    if not (checkout / "pyproject.toml").is_file():  # an index may have another project under this name
        raise FleetError(
            f"this difyfleet {__version__} was installed from a wheel, which is no longer here",
            where="wheels",
            hint="name a folder that holds it and what it needs (--wheels FOLDER), or leave them out (--wheels none)",
        )
    constraints = folder / "constraints.txt"
    versions = {one.metadata["Name"]: one.version for one in distributions() if one.metadata["Name"]}
    versions.pop("difyfleet", None)
    constraints.write_text("".join(f"{name}=={versions[name]}\n" for name in sorted(versions)))
    _pip("wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder), str(checkout))
    (own,) = folder.glob("difyfleet-*.whl")
    options = ("--quiet", "--only-binary", ":all:", "--constraint", str(constraints), "--dest", str(folder))
    _pip("download", *options, str(own))
    return found(folder)


def _pip(*arguments: str) -> None:
    argv = [sys.executable, "-m", "pip", "--disable-pip-version-check", *arguments]
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=_TIMEOUT, check=False)
    except subprocess.TimeoutExpired:
        raise FleetError(f"pip {arguments[0]} did not end within {_TIMEOUT // 60} minutes") from None
    if done.returncode != 0:
        words = (done.stderr.strip().splitlines() or ["no words"])[-1]
        raise FleetError(
            f"pip {arguments[0]} failed: {words}",
            where="wheels",
            hint="name a folder that holds them (--wheels FOLDER), or leave them out (--wheels none)",
        )


def found(folder: Path) -> list[Path]:
    """The wheels in a folder.

    Raises:
        FleetError: difyfleet's own is not among them.
    """
    wheels = sorted(folder.glob("*.whl"))
    if not any(file.name.startswith("difyfleet-") for file in wheels):
        raise FleetError(
            "holds no wheel of difyfleet", where=str(folder), hint="pip wheel -w FOLDER CHECKOUT makes them"
        )
    return wheels


def version_and_license(wheel: Path) -> tuple[str, str | None]:
    """What a wheel's METADATA says of it. The licence is an SPDX expression where the project gives one, else its own words."""
    with zipfile.ZipFile(wheel) as archive:
        name = next(one for one in archive.namelist() if one.endswith(".dist-info/METADATA"))
        metadata = HeaderParser().parsestr(archive.read(name).decode())
    classifiers = [
        line.rpartition(":: ")[2]
        for line in metadata.get_all("Classifier", [])
        if line.startswith("License ::")
    ]
    given = [metadata.get("License-Expression"), *classifiers, metadata.get("License")]
    words = next((str(one) for one in given if one and str(one).strip()), "")
    return str(metadata["Version"]), words.splitlines()[0][:100] if words else None
