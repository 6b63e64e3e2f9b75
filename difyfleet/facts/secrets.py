"""Secrets kept on the host: one root-only file each under /etc/difyfleet/secrets."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from pyinfra.api import FactBase

from difyfleet.host_calls import Command
from difyfleet.secrets import Secret

SECRETS_DIR = "/etc/difyfleet/secrets"


@dataclass(frozen=True)
class KeptSecret:
    """A secret file: its value, mode and owner."""

    value: Secret
    mode: str
    owner: str


class HostSecrets(FactBase[dict[str, KeptSecret]]):
    """All kept secrets by name. Values leave the host only through SSH and are `Secret` from the first moment."""

    def command(self) -> Command:
        text = (
            f'export LC_ALL=C; for f in {SECRETS_DIR}/*; do [ -f "$f" ] || continue; '
            'printf \'%s|%s|%s\\n\' "${f##*/}" "$(stat -c \'%a|%U:%G\' "$f")" "$(cat "$f")"; done; true'
        )
        return Command(text, "difyfleet.facts.files_script", "secrets", SECRETS_DIR)

    @staticmethod
    def default() -> dict[str, KeptSecret]:
        return {}

    def process(self, output: Iterable[str]) -> dict[str, KeptSecret]:
        found = {}
        for line in output:
            name, mode, owner, value = line.split("|", 3)
            found[name] = KeptSecret(Secret(value), mode.rjust(4, "0"), owner)
        return found
