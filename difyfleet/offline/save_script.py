"""Runs WHERE THE IMAGES ARE (python3 >= 3.7, nothing but the standard library): `docker save` without the layers that are known already.

    python3 - IMAGE... < digests, one a line (sha256:HEX)

From Docker 25 on an archive's members are named by their digests. Older engines' are not: there everything is sent.
"""

from __future__ import annotations

import subprocess
import sys
import tarfile


def main() -> int:
    """Pass the archive on; the exit code is Docker's."""
    known = {line.strip().partition(":")[2] for line in sys.stdin}
    saving = subprocess.Popen(["docker", "save", *sys.argv[1:]], stdout=subprocess.PIPE, bufsize=1 << 20)
    with tarfile.open(
        fileobj=sys.stdout.buffer, mode="w|", bufsize=1 << 20, format=tarfile.GNU_FORMAT
    ) as out:
        try:
            with tarfile.open(fileobj=saving.stdout, mode="r|", bufsize=1 << 20) as archive:
                for member in archive:
                    if not (member.isfile() and member.name.rpartition("/")[2] in known):
                        out.addfile(member, archive.extractfile(member) if member.isfile() else None)
        except tarfile.ReadError:
            pass  # Docker said why on standard error, and its exit code tells
    return saving.wait()


if __name__ == "__main__":
    sys.exit(main())
