"""Canaries: a value for every secret that an inventory can give, and where they must not show."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator

from tests.lab.conftest import ROOT, LabHost, lab

SECRETS = (
    "secret_key",
    "db_password",
    "redis_password",
    "weaviate_api_key",
    "sandbox_api_key",
    "init_password",
)
CANARIES = {
    **{f"CANARY_{name.upper()}": f"canary{number}x{'abcdef'[number] * 12}" for number, name in enumerate(SECRETS)},
    "CANARY_OPENWEBUI": "canary8xgggggggggg1A",
    "CANARY_SUDO": "lab-operator-1",
}  # fmt: skip
# what an inventory says under dify.secrets
OF_DIFY = {name: {"env": f"CANARY_{name.upper()}"} for name in SECRETS}
EDITED = "canary9xedited0000"
VALUES = [*CANARIES.values(), EDITED]
EDIT = """
printf 's/^DB_PASSWORD=.*/DB_PASSWORD=canary9%s/' xedited0000 > /run/edit
sed -i -f /run/edit /opt/dify/.env; rm /run/edit
"""
# the words are read from a file: an argument of grep would be found by itself
WATCH = """
umask 077; cat > /run/watched-words; touch /run/watching
while [ -e /run/watching ]; do ps axww -o args | grep -F -f /run/watched-words; sleep 0.3; done
rm /run/watched-words
"""


@contextlib.contextmanager
def watching_argv(name: str, seen: list[str]) -> Iterator[None]:
    """Meanwhile, collect every command line on the host that holds a canary."""
    watch = subprocess.Popen(
        [sys.executable, "-m", "lab", "exec", name, "--", "sh", "-c", WATCH],
        cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert watch.stdin
    watch.stdin.write("\n".join(VALUES) + "\n")
    watch.stdin.close()
    watch.stdin = None
    try:
        yield
    finally:
        lab("exec", name, "--", "rm", "/run/watching")
        seen += watch.communicate(timeout=60)[0].splitlines()


def files_open_to_others(host: LabHost) -> list[str]:
    """The files on the host that hold a canary and that user nobody can read."""
    words = "\n".join(VALUES)
    folders = "/etc /opt/dify /opt/difyfleet /opt/open-webui /var/lib/difyfleet /tmp /run"
    holding = host.sh(
        f"grep -rlF --binary-files=text -e '{words}' {folders} 2>/dev/null", check=False
    ).split()
    assert any(path.startswith("/etc/difyfleet/secrets/") for path in holding)
    readable = "cat '$f' >/dev/null 2>&1"
    return host.sh(
        f'for f in {" ".join(holding)}; do su -s /bin/sh nobody -c "{readable}" && echo "$f"; done; true'
    ).split()
