"""Uploads as Dify's database knows them. No call of its API tells a content hash; the table `upload_files` does."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable
from dataclasses import dataclass

from pyinfra.api import FactBase

_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


@dataclass(frozen=True)
class StoredUpload:
    """One uploaded file.

    Args:
        sha3: hex SHA3-256 of its content (Dify's own choice).
        key: path below the storage folder.
    """

    size: int
    sha3: str
    key: str


class DifyUploads(FactBase[dict[str, StoredUpload]]):
    """Uploads by id; those that the database does not know, and all of them where it does not answer, are left out.

    Args:
        project: compose project name.
        ids: upload ids; anything that is no UUID is ignored.
    """

    def command(self, project: str, ids: tuple[str, ...]) -> str:
        wanted = ", ".join(f"'{each}'" for each in ids if _UUID.fullmatch(each))
        if not wanted:
            return "true"
        query = f"select id, size, hash, key from upload_files where id in ({wanted});"  # noqa: S608 - UUIDs only
        psql = 'exec psql -U "${PGUSER:-postgres}" -d "${POSTGRES_DB:-dify}" -XAtq -F "|"'
        container = shlex.quote(f"{project}-db-1")
        return (
            "command -v docker >/dev/null || exit 0; "
            f"printf %s {shlex.quote(query)} | timeout 60 docker exec -i {container} sh -c {shlex.quote(psql)} 2>/dev/null; true"
        )

    @staticmethod
    def default() -> dict[str, StoredUpload]:
        return {}

    def process(self, output: Iterable[str]) -> dict[str, StoredUpload]:
        found = {}
        for line in output:
            parts = line.split("|")
            if len(parts) == 4 and _UUID.fullmatch(parts[0]):
                found[parts[0]] = StoredUpload(int(parts[1] or 0), parts[2], parts[3])
        return found
